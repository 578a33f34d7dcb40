-- Times are microseconds since 1970; 0 is "none".
-- deliveries.state: 0 fresh (pending, may be sent at once), 1 waiting (pending, not before next_at), 2 delivered, 3 dead, 4 parked.

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- With rowids: values are up to hundreds of KiB, and a search by key must not read them.
CREATE TABLE state_rows (
  kind  TEXT NOT NULL,
  id    BLOB NOT NULL,
  value BLOB NOT NULL,
  due   INTEGER NOT NULL,
  seen  INTEGER NOT NULL,
  owner TEXT NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE INDEX state_rows_due ON state_rows (kind, due) WHERE due > 0;
CREATE INDEX state_rows_seen ON state_rows (kind, seen) WHERE seen > 0;

CREATE TABLE events (
  seq        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  type       TEXT NOT NULL,
  at         INTEGER NOT NULL,
  upstream   TEXT NOT NULL,
  repository TEXT NOT NULL,
  transient  INTEGER NOT NULL,
  matched    INTEGER NOT NULL,
  data       BLOB NOT NULL,
  crc        INTEGER NOT NULL
);
CREATE INDEX events_repository ON events (repository, seq);
CREATE INDEX events_unmatched ON events (seq) WHERE matched = 0;

-- Transient events without deliveries, many in one row: see pack.go.
CREATE TABLE packs (
  first  INTEGER PRIMARY KEY,
  last   INTEGER NOT NULL,
  at_min INTEGER NOT NULL,
  at_max INTEGER NOT NULL,
  made   INTEGER NOT NULL,
  data   BLOB NOT NULL,
  crc    INTEGER NOT NULL
);
CREATE INDEX packs_last ON packs (last);

CREATE TABLE deliveries (
  id          INTEGER PRIMARY KEY,
  event_seq   INTEGER NOT NULL,
  webhook     TEXT NOT NULL,
  number      INTEGER NOT NULL,
  tag_key     TEXT NOT NULL,
  repo_key    TEXT NOT NULL,
  tag_hash    INTEGER NOT NULL,
  repo_hash   INTEGER NOT NULL,
  state       INTEGER NOT NULL,
  attempts    INTEGER NOT NULL,
  created_at  INTEGER NOT NULL,
  next_at     INTEGER NOT NULL,
  reason      TEXT NOT NULL,
  status      INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  transient   INTEGER NOT NULL
);
-- What was delivered is not in this index: nearly all deliveries are, and each would cost a page of the WAL. Statements say
-- "state <> 2" where they want it used.
CREATE INDEX deliveries_lane ON deliveries (webhook, state, id) WHERE state <> 2;
CREATE INDEX deliveries_waiting ON deliveries (webhook, next_at) WHERE state = 1;
CREATE INDEX deliveries_tag ON deliveries (webhook, tag_hash, id) WHERE state < 2;
CREATE INDEX deliveries_repo ON deliveries (webhook, repo_hash, id) WHERE state < 2;
CREATE INDEX deliveries_event ON deliveries (event_seq);

CREATE TABLE payloads (delivery INTEGER PRIMARY KEY, data BLOB NOT NULL, crc INTEGER NOT NULL);

CREATE TABLE attempts (
  delivery INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  status   INTEGER NOT NULL,
  latency  INTEGER NOT NULL,
  reason   TEXT NOT NULL,
  error    TEXT NOT NULL,
  response BLOB NOT NULL,
  replica  TEXT NOT NULL,
  PRIMARY KEY (delivery, at, n)
) WITHOUT ROWID;

CREATE TABLE depths (
  webhook TEXT PRIMARY KEY,
  pending INTEGER NOT NULL,
  dead    INTEGER NOT NULL,
  parked  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE lanes (
  webhook     TEXT PRIMARY KEY,
  owner       TEXT NOT NULL,
  epoch       INTEGER NOT NULL,
  lease_until INTEGER NOT NULL,
  state       BLOB NOT NULL
) WITHOUT ROWID;
