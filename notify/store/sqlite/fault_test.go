package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// ioError is a failure of the disk as SQLite reports it.
type ioError int

func (e ioError) Error() string { return "disk I/O error" }

func (e ioError) Code() int { return int(e) }

func TestSQLiteVersion(t *testing.T) {
	w := openFixture(t, t.TempDir())
	var v string
	err := w.Core.DB.Query(ctx, "SELECT sqlite_version()", nil, func(s engine.Scanner) error { return s.Scan(&v) })
	var major, minor, patch int
	if fmt.Sscanf(v, "%d.%d.%d", &major, &minor, &patch); err != nil || major != 3 || minor < 51 || minor == 51 && patch < 3 {
		t.Errorf("SQLite %s: before 3.51.3 a race at the WAL's reset loses commits (%v)", v, err)
	}
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
		var got string
		w.sqlite.Updates.Do(ctx, &engine.Request{Class: engine.Chores, Direct: func(s engine.Session, _ *engine.Group) error {
			return s.Query(ctx, "PRAGMA "+pragma, nil, func(r engine.Scanner) error { got = fmt.Sprint(r.(liteRow)[0]); return nil })
		}})
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	w := openFixture(t, dir)
	_, err := Open(ctx, Options{Dir: dir})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Error(err)
	}
	w.Close()
	openFixture(t, dir)
	for name, mode := range map[string]os.FileMode{databaseFile: 0o600, databaseFile + "-wal": 0o600, "bellbuoy.lock": 0o600} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != mode {
			t.Error(name, fi.Mode(), err)
		}
	}
}

func TestUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	for _, dir := range []string{file, "/proc/bellbuoy"} { // read-only whoever one is
		if _, err := Open(ctx, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	w := openFixture(t, t.TempDir())
	limit := func(pages int) {
		w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error {
			return s.Query(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages), nil, func(engine.Scanner) error { return nil })
		})
	}
	limit(1) // SQLite makes of it what the file has
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = w.Update(ctx, nil, func(tx store.Tx) error {
			tx.Put(store.Row{Key: store.Key{Kind: "k", ID: fmt.Sprint(i)}, Value: make([]byte, 10000)})
			return nil
		})
	}
	if code(err) != sqlite3.SQLITE_FULL || errors.Is(err, store.ErrUnknown) || w.Healthy() == nil {
		t.Fatal(err, w.Healthy())
	}
	limit(1 << 30)
	if err := w.Update(ctx, nil, storetest.Put); err != nil || w.Healthy() != nil {
		t.Error(err, w.Healthy())
	}
}

func TestFailingFsync(t *testing.T) {
	w := openFixture(t, t.TempDir())
	first := w.sqlite.e.write
	w.Core.Updates.Fault = func(commit func() error) error {
		w.Core.Updates.Fault = nil
		w.sqlite.e.write.Exec("ROLLBACK")
		return fmt.Errorf("%w: %w", store.ErrUnknown, ioError(sqlite3.SQLITE_IOERR_FSYNC))
	}
	event := func(tx store.Tx) error {
		tx.Append(store.Event{ID: "pull", At: time.Now(), Transient: true})
		return storetest.Put(tx)
	}
	if err := w.Update(ctx, nil, event); !errors.Is(err, store.ErrUnknown) {
		t.Error(err)
	}
	if err := w.Healthy(); err == nil {
		t.Error("healthy after a failed commit")
	}
	if err := w.Update(ctx, nil, event); err != nil || w.Healthy() != nil {
		t.Error(err, w.Healthy())
	}
	if w.sqlite.e.write == first {
		t.Error("the connection was not replaced")
	}
	if evs, err := w.Events(ctx, store.EventQuery{}); err != nil || len(evs) != 1 {
		t.Error(evs, err)
	}
}

func TestHangingFsync(t *testing.T) {
	w := openFixture(t, t.TempDir())
	hangs, end := make(chan bool), make(chan bool)
	w.Core.Updates.Fault = func(commit func() error) error {
		w.Core.Updates.Fault = nil
		close(hangs)
		<-end
		return commit()
	}
	short, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- w.Update(short, nil, storetest.Put) }()
	<-hangs
	cancel()
	if err := <-done; !errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	late, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := w.Update(late, nil, func(store.Tx) error { t.Error("it ran"); return nil }); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnknown) {
		t.Error(err)
	}
	if _, err := w.Events(ctx, store.EventQuery{}); err != nil { // who reads does not wait
		t.Error(err)
	}
	w.Core.Updates.Since.Add(-int64(engine.StuckAfter))
	if w.Healthy() == nil {
		t.Error("healthy while a commit hangs")
	}
	close(end)
	if err := w.Update(ctx, nil, storetest.Put); err != nil || w.Healthy() != nil {
		t.Error(err, w.Healthy())
	}
}

var _ interface{ Code() int } = (*sqlite.Error)(nil)
