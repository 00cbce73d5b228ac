PRAGMA user_version = 4;
CREATE TABLE meta (name TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (name)) WITHOUT ROWID, STRICT;
CREATE TABLE jobs (account TEXT NOT NULL, request_id TEXT NOT NULL, sequence INTEGER NOT NULL, api TEXT, source TEXT, state TEXT, error_code TEXT, labels TEXT, audio_seconds REAL, priority REAL, first_seen TEXT, submitted_at TEXT, last_observed TEXT, finished_at TEXT, detection_window_seconds REAL, statistics TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE departed (account TEXT NOT NULL, number INTEGER NOT NULL, packed BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, number)) WITHOUT ROWID, STRICT;
CREATE TABLE totals (account TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, name, labels)) WITHOUT ROWID, STRICT;
CREATE TABLE requests (account TEXT NOT NULL, unix_second INTEGER NOT NULL, requests INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, unix_second)) WITHOUT ROWID, STRICT;
CREATE TABLE learnt (account TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account)) WITHOUT ROWID, STRICT;
CREATE TABLE timings (account TEXT NOT NULL, request_id TEXT NOT NULL, packed BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, request_id)) WITHOUT ROWID, STRICT;
CREATE TABLE state_changes (account TEXT NOT NULL, number INTEGER NOT NULL, request_id TEXT, state TEXT, at TEXT, job TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (account, number)) WITHOUT ROWID, STRICT;
CREATE TABLE sums (account TEXT NOT NULL, table_name TEXT NOT NULL, row_count INTEGER NOT NULL, checksum_sum INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (account, table_name)) WITHOUT ROWID, STRICT;

meta
  name 'schema'
  value '4'
  checksum 2940753183

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
  checksum 1453590134

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
  checksum 920790944

departed
  account 'a'
  number 7
  packed x'e1f79758cc42e6ff8000000000000000'
  checksum 533033278

departed
  account 'a'
  number 8
  packed x'283bb9deef02e684'
  checksum 3171018098

departed
  account 'a'
  number 9
  packed x''
  checksum 1929956389

totals
  account 'a'
  name 'created'
  labels '{}'
  value '"2026-11-23T18:00:00Z"'
  checksum 3739319238

totals
  account 'a'
  name 'jobs_finished_total'
  labels '{"result":"completed"}'
  value '1'
  checksum 226945076

totals
  account 'a'
  name 'jobs_finished_total'
  labels '{"result":"failed"}'
  value '2'
  checksum 2847507854

totals
  account 'a'
  name 'speech_seconds_total'
  labels '{}'
  value '1.25'
  checksum 953569459

totals
  account 'a'
  name 'transcript_speakers'
  labels '{}'
  value '{"sum":2,"bounds":[1,2],"counts":[0,1,0],"native":{"schema":3,"zero_count":0,"offset":8,"counts":[1]},"exemplars":[{"bound":2,"value":2,"request_id":"full","at":"2026-11-23T20:00:00Z"}]}'
  checksum 797007757

requests
  account 'a'
  unix_second 1795456800
  requests 1
  checksum 1452516288

requests
  account 'a'
  unix_second 1795456801
  requests 30
  checksum 3548914478

learnt
  account 'a'
  value '{"version":1}'
  checksum 3667756617

timings
  account 'a'
  request_id 'empty'
  packed x''
  checksum 3854123386

timings
  account 'a'
  request_id 'full'
  packed x'0100c8016401'
  checksum 3044419431

state_changes
  account 'a'
  number 1
  request_id 'full'
  state 'running'
  at '2026-11-23T18:00:00.123456789Z'
  job '{"source":"http"}'
  checksum 4024751624

state_changes
  account 'a'
  number 2
  request_id 'full'
  state 'failed'
  at '2026-11-23T18:00:00.12345679Z'
  job '{"api":"asr"}'
  checksum 1179640950

state_changes
  account 'a'
  number 3
  request_id NULL
  state NULL
  at NULL
  job NULL
  checksum 3375047749

sums
  account 'a'
  table_name 'departed'
  row_count 3
  checksum_sum 5634007765
  checksum 1252980169

sums
  account 'a'
  table_name 'jobs'
  row_count 2
  checksum_sum 2374381078
  checksum 2733921827

sums
  account 'a'
  table_name 'learnt'
  row_count 1
  checksum_sum 3667756617
  checksum 766486916

sums
  account 'a'
  table_name 'requests'
  row_count 2
  checksum_sum 5001430766
  checksum 4136749326

sums
  account 'a'
  table_name 'state_changes'
  row_count 3
  checksum_sum 8579440323
  checksum 2975173258

sums
  account 'a'
  table_name 'timings'
  row_count 2
  checksum_sum 6898542817
  checksum 2534281009

sums
  account 'a'
  table_name 'totals'
  row_count 5
  checksum_sum 8564349384
  checksum 2108593154
