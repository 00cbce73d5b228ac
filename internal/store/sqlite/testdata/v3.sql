PRAGMA user_version = 3;
CREATE TABLE meta (name TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (name)) WITHOUT ROWID, STRICT;
CREATE TABLE jobs (account TEXT NOT NULL, request_id TEXT NOT NULL, sequence INTEGER NOT NULL, api TEXT, source TEXT, state TEXT, error_code TEXT, labels TEXT, audio_seconds REAL, priority REAL, first_seen TEXT, submitted_at TEXT, last_observed TEXT, finished_at TEXT, detection_window_seconds REAL, statistics TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE departed (account TEXT NOT NULL, request_id TEXT NOT NULL, until TEXT, removed INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE totals (account TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, name, labels)) WITHOUT ROWID, STRICT;
CREATE TABLE requests (account TEXT NOT NULL, unix_second INTEGER NOT NULL, requests INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, unix_second)) WITHOUT ROWID, STRICT;
CREATE TABLE learnt (account TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account)) WITHOUT ROWID, STRICT;
CREATE TABLE timings (account TEXT NOT NULL, request_id TEXT NOT NULL, packed BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE state_changes (account TEXT NOT NULL, number INTEGER NOT NULL, request_id TEXT, state TEXT, at TEXT, job TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (account, number)) WITHOUT ROWID, STRICT;

meta
  name 'schema'
  value '3'
  checksum 1469923109

jobs
  account 'a'
  request_id 'bare'
  sequence 2
  api NULL
  source NULL
  state NULL
  error_code NULL
  labels NULL
  audio_seconds NULL
  priority NULL
  first_seen NULL
  submitted_at NULL
  last_observed NULL
  finished_at NULL
  detection_window_seconds NULL
  statistics NULL
  checksum 2581991527

jobs
  account 'a'
  request_id 'full'
  sequence 1
  api 'asr'
  source 'http'
  state 'failed'
  error_code 'api_error'
  labels '{"site":"\"Zürich\"","team":"x"}'
  audio_seconds 1.5
  priority 2
  first_seen '2026-11-23T18:00:00.123456789Z'
  submitted_at '2026-11-23T17:00:00.123456789Z'
  last_observed '2026-11-23T19:00:00.123456789Z'
  finished_at '2026-11-23T20:00:00.123456789Z'
  detection_window_seconds 12.119107264
  statistics '{"words":3,"anomalies":{"out_of_order":1}}'
  checksum 4202544845

departed
  account 'a'
  request_id 'gone'
  until NULL
  removed 0
  checksum 3746527303

departed
  account 'a'
  request_id 'removed'
  until '2026-11-23T18:00:00.123456789Z'
  removed 1
  checksum 1223024740

totals
  account 'a'
  name 'created'
  labels '{}'
  value '"2026-11-23T18:00:00Z"'
  checksum 2208869418

totals
  account 'a'
  name 'jobs_finished_total'
  labels '{"result":"completed"}'
  value '1'
  checksum 1078518596

totals
  account 'a'
  name 'jobs_finished_total'
  labels '{"result":"failed"}'
  value '2'
  checksum 3280699722

totals
  account 'a'
  name 'speech_seconds_total'
  labels '{}'
  value '1.25'
  checksum 479058687

totals
  account 'a'
  name 'transcript_speakers'
  labels '{}'
  value '{"sum":2,"bounds":[1,2],"counts":[0,1,0],"native":{"schema":3,"zero_count":0,"offset":8,"counts":[1]},"exemplars":[{"bound":2,"value":2,"request_id":"full","at":"2026-11-23T20:00:00Z"}]}'
  checksum 3292806549

requests
  account 'a'
  unix_second 1795456800
  requests 1
  checksum 3873673649

requests
  account 'a'
  unix_second 1795456801
  requests 30
  checksum 1677201759

learnt
  account 'a'
  value '{"version":1}'
  checksum 1170738648

timings
  account 'a'
  request_id 'empty'
  packed x''
  checksum 1950137991

timings
  account 'a'
  request_id 'full'
  packed x'0100c8016401'
  checksum 706981110

state_changes
  account 'a'
  number 1
  request_id 'full'
  state 'running'
  at '2026-11-23T18:00:00.123456789Z'
  job '{"source":"http"}'
  checksum 2217777451

state_changes
  account 'a'
  number 2
  request_id 'full'
  state 'failed'
  at '2026-11-23T18:00:00.12345679Z'
  job '{"api":"asr"}'
  checksum 1395036111

state_changes
  account 'a'
  number 3
  request_id NULL
  state NULL
  at NULL
  job NULL
  checksum 2036012596
