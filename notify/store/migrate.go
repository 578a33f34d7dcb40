package store

import (
	"context"
	"embed"
	"fmt"
)

//go:embed migrations
var migrations embed.FS

// The numbers of the newest migrations.
const (
	sqliteSchema   = 2
	postgresSchema = 1
)

func migration(engine string, version int) (string, error) {
	b, err := migrations.ReadFile(fmt.Sprintf("migrations/%s/%04d.sql", engine, version))
	return string(b), err
}

// errNewer is the error for a database that a newer bellbuoy has changed.
func errNewer(version, known int64) error {
	return fmt.Errorf("its schema has version %d, this bellbuoy knows %d: use the newer bellbuoy that wrote it", version, known)
}

func migrateSQLite(c *conn) error {
	if _, err := c.exec("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
		return err
	}
	var version int64
	err := c.query(context.Background(), "SELECT coalesce(max(version), 0) FROM schema_version", nil, func(s scanner) error { return s.Scan(&version) })
	if err != nil {
		return err
	}
	if version > sqliteSchema {
		return errNewer(version, sqliteSchema)
	}
	for v := int(version) + 1; v <= sqliteSchema; v++ {
		script, err := migration("sqlite", v)
		if err != nil {
			return err
		}
		script = "BEGIN IMMEDIATE;\n" + script + fmt.Sprintf("\nINSERT INTO schema_version (version) VALUES (%d);\nCOMMIT;", v)
		if err := c.script(script); err != nil {
			return fmt.Errorf("migrating to version %d: %w", v, err)
		}
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
