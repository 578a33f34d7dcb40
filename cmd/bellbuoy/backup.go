package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{Use: "backup FILE", Short: "Copy the SQLite file, consistently, while bellbuoy runs", Args: cobra.ExactArgs(1),
		Long: "Writes a copy of the running bellbuoy's SQLite file as of one moment. To start from it: stop bellbuoy, move\n" +
			"bellbuoy.db, bellbuoy.db-wal and bellbuoy.db-shm out of data_dir, put the copy there as bellbuoy.db, start.",
		RunE: func(c *cobra.Command, args []string) error { return a.backup(c.Context(), args[0]) }}
}

func (a *app) backup(ctx context.Context, file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: there is something already; a backup overwrites nothing", file)
	}
	c, err := a.control()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, "/backup", nil, nil)
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

// writeBackup gives the file its name when all of it is on the disk.
func writeBackup(file string, from io.Reader) (size int64, err error) {
	part := file + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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

// backer is a store that can copy itself: SQLite's.
type backer interface {
	Backup(ctx context.Context, send func(copy io.Reader, size int64) error) error
}

func (b *buoy) controlBackup(w http.ResponseWriter, r *http.Request) error {
	if b.backer == nil {
		return fmt.Errorf("%w: the events are in PostgreSQL (database): copy them with its own tools, such as pg_dump", errBad)
	}
	begun := false
	err := b.backer.Backup(r.Context(), func(copy io.Reader, size int64) error {
		begun = true
		w.Header().Set("Content-Type", "application/vnd.sqlite3")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, err := io.Copy(w, copy)
		return err
	})
	if err != nil {
		b.log.Warn("backup failed", zap.Error(err))
		if begun {
			panic(http.ErrAbortHandler) // an answer that is too short, not one with an error at its end
		}
		return err
	}
	b.log.Info("backup made by command")
	return nil
}
