-- Times are microseconds since 1970; 0 is "none".
-- deliveries.state: 0 fresh (pending, may be sent at once), 1 waiting (pending, not before next_at), 2 delivered, 3 dead, 4 parked.

CREATE SEQUENCE event_seq;
CREATE SEQUENCE delivery_id;

CREATE TABLE state_rows (
  kind  TEXT COLLATE "C" NOT NULL,
  id    BYTEA NOT NULL,
  value BYTEA NOT NULL,
  due   BIGINT NOT NULL,
  seen  BIGINT NOT NULL,
  owner TEXT NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE INDEX state_rows_due ON state_rows (kind, due) WHERE due > 0;
CREATE INDEX state_rows_seen ON state_rows (kind, seen) WHERE seen > 0;

CREATE TABLE events (
  seq        BIGINT PRIMARY KEY,
  id         TEXT COLLATE "C" NOT NULL UNIQUE,
  type       TEXT NOT NULL,
  at         BIGINT NOT NULL,
  upstream   TEXT NOT NULL,
  repository TEXT COLLATE "C" NOT NULL,
  transient  SMALLINT NOT NULL,
  matched    SMALLINT NOT NULL,
  data       BYTEA NOT NULL,
  crc        BIGINT NOT NULL
);
CREATE INDEX events_repository ON events (repository, seq);
CREATE INDEX events_unmatched ON events (seq) WHERE matched = 0;

-- Transient events without deliveries, many in one row: see pack.go.
CREATE TABLE packs (
  first  BIGINT PRIMARY KEY,
  last   BIGINT NOT NULL,
  at_min BIGINT NOT NULL,
  at_max BIGINT NOT NULL,
  made   BIGINT NOT NULL,
  data   BYTEA NOT NULL,
  crc    BIGINT NOT NULL
);
CREATE INDEX packs_last ON packs (last);

-- A delivery's row is updated a few times in its life: room in the page keeps that cheap.
CREATE TABLE deliveries (
  id          BIGINT PRIMARY KEY,
  event_seq   BIGINT NOT NULL,
  webhook     TEXT COLLATE "C" NOT NULL,
  number      INTEGER NOT NULL,
  tag_key     TEXT NOT NULL,
  repo_key    TEXT NOT NULL,
  tag_hash    BIGINT NOT NULL,
  repo_hash   BIGINT NOT NULL,
  state       SMALLINT NOT NULL,
  attempts    INTEGER NOT NULL,
  created_at  BIGINT NOT NULL,
  next_at     BIGINT NOT NULL,
  reason      TEXT NOT NULL,
  status      INTEGER NOT NULL,
  finished_at BIGINT NOT NULL,
  transient   SMALLINT NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX deliveries_lane ON deliveries (webhook, state, id);
CREATE INDEX deliveries_waiting ON deliveries (webhook, next_at) WHERE state = 1;
CREATE INDEX deliveries_tag ON deliveries (webhook, tag_hash, id) WHERE state < 2;
CREATE INDEX deliveries_repo ON deliveries (webhook, repo_hash, id) WHERE state < 2;
CREATE INDEX deliveries_event ON deliveries (event_seq);

CREATE TABLE payloads (delivery BIGINT PRIMARY KEY, data BYTEA NOT NULL, crc BIGINT NOT NULL);

CREATE TABLE attempts (
  delivery BIGINT NOT NULL,
  at       BIGINT NOT NULL,
  n        BIGINT NOT NULL,
  status   INTEGER NOT NULL,
  latency  BIGINT NOT NULL,
  reason   TEXT NOT NULL,
  error    TEXT NOT NULL,
  response BYTEA NOT NULL,
  replica  TEXT NOT NULL,
  PRIMARY KEY (delivery, at, n)
);

-- Differences, never updated, so that no two transactions wait for one row; summed up now and then.
CREATE TABLE depths (webhook TEXT COLLATE "C" NOT NULL, pending BIGINT NOT NULL, dead BIGINT NOT NULL, parked BIGINT NOT NULL);

CREATE TABLE lanes (
  webhook     TEXT COLLATE "C" PRIMARY KEY,
  owner       TEXT NOT NULL,
  epoch       BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  state       BYTEA NOT NULL
);

CREATE TABLE replicas (name TEXT PRIMARY KEY, lease_until BIGINT NOT NULL);
