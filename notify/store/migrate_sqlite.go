package store

import (
	"context"
	"fmt"
)

// migrateSQLite gives a new file its tables. One that another version of bellbuoy has written is refused.
func migrateSQLite(c *conn) error {
	if _, err := c.exec("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
		return err
	}
	var version int64
	err := c.query(context.Background(), "SELECT coalesce(max(version), 0) FROM schema_version", nil, func(s scanner) error { return s.Scan(&version) })
	if err != nil || version == sqliteVersion {
		return err
	}
	if version != 0 {
		return errVersion(version, sqliteVersion)
	}
	script := "BEGIN IMMEDIATE;\n" + sqliteTables + fmt.Sprintf("\nINSERT INTO schema_version (version) VALUES (%d);\nCOMMIT;", sqliteVersion)
	if err := c.script(script); err != nil {
		return fmt.Errorf("making the tables: %w", err)
	}
	return nil
}

// script runs several statements, which are not kept.
func (c *conn) script(sql string) error {
	s, err := c.c.Prepare(sql)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Exec(nil) //nolint:staticcheck // the driver runs scripts by this
	if err != nil {
		_, _ = c.exec("ROLLBACK")
	}
	return err
}
