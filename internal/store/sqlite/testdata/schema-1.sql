-- A database as the first version of the schema had it.
CREATE TABLE jobs (
	account TEXT NOT NULL, request_id TEXT NOT NULL, sequence INTEGER NOT NULL,
	api TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL, error_code TEXT NOT NULL,
	labels TEXT, audio_seconds REAL NOT NULL,
	first_seen TEXT NOT NULL, submitted_at TEXT, last_observed TEXT, finished_at TEXT,
	detection_window_seconds REAL NOT NULL, statistics TEXT,
	PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE departed (
	account TEXT NOT NULL, request_id TEXT NOT NULL, until TEXT NOT NULL, removed INTEGER NOT NULL,
	PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE totals (
	account TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
	PRIMARY KEY (account, name)) WITHOUT ROWID, STRICT;
CREATE TABLE requests (
	account TEXT NOT NULL, unix_second INTEGER NOT NULL, requests INTEGER NOT NULL,
	PRIMARY KEY (account, unix_second)) WITHOUT ROWID, STRICT;
PRAGMA user_version = 1;
INSERT INTO jobs VALUES
	('a', 'one', 1, 'asr', 'http', 'failed', 'code', '{"team":"x"}', 1.5,
		'2026-11-23T18:00:00.123456789Z', NULL, NULL, '2026-11-23T18:00:00.123456789Z', 90, '{"Words":3}'),
	('a', 'two', 2, '', 'file', 'pending', '', NULL, 0, '2026-11-23T18:00:00.123456789Z', NULL, NULL, NULL, 0, NULL);
INSERT INTO departed VALUES ('a', 'left', '2026-11-23T18:00:00.123456789Z', 1);
INSERT INTO totals VALUES ('a', 'words', '2');
INSERT INTO requests VALUES ('a', 200, 5);
