-- What commits wrote of rows of state since state_rows was brought up to date, a line each: see rowlog.go.
CREATE TABLE row_log (n INTEGER PRIMARY KEY, data BLOB NOT NULL, crc INTEGER NOT NULL);

-- What was delivered left the index: nearly all deliveries are, and each cost a page of the WAL. Statements say "state <> 2" where they want it used.
DROP INDEX deliveries_lane;
CREATE INDEX deliveries_lane ON deliveries (webhook, state, id) WHERE state <> 2;
