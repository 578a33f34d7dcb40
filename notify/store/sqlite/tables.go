package sqlite

import (
	"context"
	"fmt"

	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// migrate gives a new file its tables. One that another version of bellbuoy has written is refused.
func migrate(c *conn) error {
	if _, err := c.Exec("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
		return err
	}
	var version int64
	err := c.Query(context.Background(), "SELECT coalesce(max(version), 0) FROM schema_version", nil, func(s engine.Scanner) error { return s.Scan(&version) })
	if err != nil || version == tablesVersion {
		return err
	}
	if version != 0 {
		return engine.ErrVersion(version, tablesVersion)
	}
	script := "BEGIN IMMEDIATE;\n" + tables + fmt.Sprintf("\nINSERT INTO schema_version (version) VALUES (%d);\nCOMMIT;", tablesVersion)
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
		_, _ = c.Exec("ROLLBACK")
	}
	return err
}
