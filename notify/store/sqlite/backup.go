package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Errors of Backup.
var (
	// ErrBackupRuns means that another copy is being made.
	ErrBackupRuns = errors.New("another backup is being made")
	// ErrNoRoom means that the disk has too little free space for a copy.
	ErrNoRoom = errors.New("the disk is too full for a copy")
)

// copyFile is appended to the name of the file for a copy that is being made.
const copyFile = ".backup"

// Backup makes a consistent copy of the file and calls send with it and its size. No request waits
// for it. A store can be opened on the copy, if that has the name of the file. Until send returns,
// the copy takes disk space beside the file.
func (s *Store) Backup(ctx context.Context, send func(copy io.Reader, size int64) error) error {
	return engine.Naming("copying the database file", s.backup(ctx, send))
}

func (s *Store) backup(ctx context.Context, send func(io.Reader, int64) error) error {
	if !s.copying.TryLock() {
		return ErrBackupRuns
	}
	defer s.copying.Unlock()
	path := s.e.path + copyFile
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a process that was killed
		return err
	}
	if err := hasRoom(s.e.path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = vacuumInto(ctx, s.e.path, path); code(err) == sqlite3.SQLITE_FULL {
		err = fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if removed := os.Remove(path); err == nil { // f stays readable
		err = removed
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return send(f, info.Size())
}

// vacuumInto copies on a connection of its own, which reads one state of the file while others
// write.
func vacuumInto(ctx context.Context, from, to string) error {
	c, err := openConn(dsn(from, []string{"busy_timeout(5000)", "cache_size(-2048)"}))
	if err != nil {
		return err
	}
	return errors.Join(c.Query(ctx, "VACUUM INTO $1", []any{to}, func(engine.Scanner) error { return nil }), c.Close())
}

// spareRoom is the disk space that a copy must leave for the store.
const spareRoom = 64 << 20

// hasRoom returns ErrNoRoom if a copy beside the file would leave too little disk space for the
// store.
func hasRoom(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return err
	}
	need := size(path) + size(path+"-wal") + spareRoom
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("%w: it has %d MiB free, and while the copy is made %d MiB are needed", ErrNoRoom, free>>20, need>>20)
	}
	return nil
}
