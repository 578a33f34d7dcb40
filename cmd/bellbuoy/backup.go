package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
)

func newBackupCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "backup FILE", Short: "Copy the SQLite database while bellbuoy runs", Args: cobra.ExactArgs(1),
		Long: "Write a consistent copy of the SQLite database of the running bellbuoy into FILE, which must not exist. A\n" +
			"PostgreSQL database is backed up with PostgreSQL's own tools.\n\n" +
			"To restore it: stop bellbuoy, move bellbuoy.db, bellbuoy.db-wal and bellbuoy.db-shm out of data_dir, put the\n" +
			"copy there as bellbuoy.db, and start bellbuoy.",
		Example: "  bellbuoy backup /var/backups/bellbuoy.db",
		RunE:    func(c *cobra.Command, args []string) error { return runBackup(c.Context(), a, args[0]) }}
}

func runBackup(ctx context.Context, a *app, file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: the file exists; a backup overwrites nothing", file)
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, v1("/backup"), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	size, err := writeBackup(file, resp.Body)
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	fmt.Fprintf(a.Stdout, "%s: %s\n", file, config.Size(size))
	return nil
}

// writeBackup writes to a temporary file and renames it when all of it is on the disk.
func writeBackup(file string, from io.Reader) (size int64, err error) {
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return 0, fmt.Errorf("%s exists: another backup is writing it, or one was killed; then remove it", part)
	}
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(f, from)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		_ = os.Remove(part)
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return size, err
	}
	defer dir.Close()
	return size, dir.Sync()
}
