package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// fill writes enough for several pages and returns how many events.
func fill(t *testing.T, w *fixture) int {
	t.Helper()
	w.TakeLane(t, "hook")
	for i := range 300 {
		w.Push(t, fmt.Sprint("e", i), strings.Repeat("long", 100), fmt.Sprint(i), "hook")
	}
	return 300
}

// damage overwrites pages in the middle of the file.
func damage(t *testing.T, path string, from, to float64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, _ := f.Stat()
	first, last := int64(float64(fi.Size())*from)/4096*4096, int64(float64(fi.Size())*to)
	junk := make([]byte, last-first)
	for i := range junk {
		junk[i] = byte(i*7 + 13)
	}
	if _, err := f.WriteAt(junk, first); err != nil {
		t.Fatal(err)
	}
}

// abandon is a stop that was none: the file is left with its WAL. It returns a copy's directory.
func abandon(t *testing.T, w *fixture) string {
	t.Helper()
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(w.sqlite.e.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, databaseFile+suffix), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func checkpoint(t *testing.T, w *fixture) {
	t.Helper()
	w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error { return nil })
	c, err := openConn(dsn(w.sqlite.e.path, writerPragmas))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Query(ctx, "PRAGMA wal_checkpoint(FULL)", nil, func(engine.Scanner) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// salvagedWell salvages the file in dir and looks at what is left of all events.
func salvagedWell(t *testing.T, dir string, all int) {
	t.Helper()
	r, err := Salvage(ctx, dir)
	if err != nil || r.Rows == 0 || len(r.Lost) == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Stat(r.Aside); err != nil || !strings.Contains(r.Aside, ".corrupt-") {
		t.Error(r.Aside, err)
	}
	w := openFixture(t, dir)
	evs, err := w.Events(ctx, store.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	sound := 0
	for _, e := range evs {
		if !e.Corrupt && string(e.Data) == "data of "+e.ID {
			sound++
		}
	}
	if sound < all/3 || sound >= all {
		t.Errorf("%d of %d events salvaged", sound, all)
	}
	if d := w.Depth(t, "hook"); d.Pending < int64(all/3) || d.Pending > int64(all) {
		t.Errorf("%+v", d)
	}
	w.Push(t, "after", "r", "t", "hook")
	w.TakeLane(t, "hook")
	due := w.DueNow(t, store.DueQuery{Limit: 1000})
	if len(due) == 0 || due[len(due)-1].EventID != "after" {
		t.Errorf("%d due", len(due))
	}
	if w = w.reopenFile(t); len(w.Warnings()) != 0 || w.sqlite.Healthy() != nil {
		t.Error(w.Warnings(), w.sqlite.Healthy())
	}
	w.Close()
	if again, err := Salvage(ctx, dir); err != nil || again.Aside != "" || again.Rows != 0 {
		t.Errorf("of a sound file: %+v, %v", again, err)
	}
}

// told checks that the running store has told the operator of the damage, and what to do.
func told(t *testing.T, w *fixture) {
	t.Helper()
	if ws := w.Warnings(); len(ws) != 1 || !strings.Contains(ws[0], "damaged") || !strings.Contains(ws[0], "bellbuoy salvage") {
		t.Errorf("warned of %q", ws)
	}
	if err := w.sqlite.Healthy(); !errors.Is(err, ErrDamaged) {
		t.Errorf("healthy: %v", err)
	}
}

func TestDamageIsFoundAtOpen(t *testing.T) {
	w := openFixture(t, t.TempDir())
	all := fill(t, w)
	checkpoint(t, w)
	w.Push(t, "in the WAL", "r", "t", "other")
	dir := abandon(t, w)
	damage(t, filepath.Join(dir, databaseFile), 0.45, 0.55)
	if _, err := Open(ctx, Options{Dir: dir}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	salvagedWell(t, dir, all)
}

func TestNoDatabaseAtAll(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, databaseFile), []byte(strings.Repeat("not a database ", 1000)), 0o600)
	if _, err := Open(ctx, Options{Dir: dir}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	if r, err := Salvage(ctx, dir); err != nil || r.Aside == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	openFixture(t, dir).Push(t, "e", "r", "t", "hook")
}

func TestSalvageNeedsAFileOfItsOwn(t *testing.T) {
	if _, err := Salvage(ctx, t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
	dir := t.TempDir()
	openFixture(t, dir)
	if _, err := Salvage(ctx, dir); !errors.Is(err, store.ErrLocked) {
		t.Errorf("of a file in use: %v", err)
	}
}

func TestDamageIsFoundWhileRunning(t *testing.T) {
	w := openFixture(t, t.TempDir())
	all := fill(t, w)
	w = w.reopenFile(t)
	damage(t, w.sqlite.e.path, 0.45, 0.55)
	var err error
	for i := 0; len(w.Warnings()) == 0 && i < 2000; i++ {
		err = w.Update(ctx, nil, func(tx store.Tx) error { _, err := tx.Scan("k", "", 0); storetest.Put(tx); return err })
		if err == nil {
			_, err = w.Redeliver(ctx, store.DeliveryQuery{IDs: []int64{int64(i)}})
		}
		if err == nil {
			err = w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error {
				_, err := s.Exec(ctx, "UPDATE events SET matched = 1 WHERE seq = $1", i)
				return err
			})
		}
	}
	told(t, w)
	if !errors.Is(err, ErrDamaged) { // it is what the log has
		t.Errorf("a transaction ended with %v", err)
	}
	w.Close()
	salvagedWell(t, w.dir, all)
}

// TestDamageIsFoundByReaders checks that damage is found without writes, when a lane cannot read
// its deliveries.
func TestDamageIsFoundByReaders(t *testing.T) {
	w := openFixture(t, t.TempDir())
	all := fill(t, w)
	w = w.reopenFile(t)
	damage(t, w.sqlite.e.path, 0.45, 0.55)
	_, err := w.Events(ctx, store.EventQuery{Ascending: true, Limit: 100_000})
	_, dueErr := w.Deliveries(ctx, store.DeliveryQuery{Limit: 100_000})
	if !errors.Is(err, ErrDamaged) && !errors.Is(dueErr, ErrDamaged) {
		t.Fatalf("%v, %v", err, dueErr)
	}
	told(t, w)
	w.Close()
	salvagedWell(t, w.dir, all)
}

// TestDamageIsFoundByALateCheck checks that damage is found in rows that are never read.
func TestDamageIsFoundByALateCheck(t *testing.T) {
	w := openFixture(t, t.TempDir())
	all := fill(t, w)
	w = w.reopenFile(t)
	w.sqlite.checkAfter(0)
	if err := w.Update(ctx, nil, func(store.Tx) error { return nil }); err != nil || len(w.Warnings()) != 0 {
		t.Fatal("a sound file: ", err, w.Warnings())
	}
	damage(t, w.sqlite.e.path, 0.45, 0.55)
	w.sqlite.checkAfter(0)
	told(t, w)
	w.Close()
	salvagedWell(t, w.dir, all)
}

// TestLargeFilesAreCheckedLater: a start does not wait for the check of a large file that was not
// closed.
func TestLargeFilesAreCheckedLater(t *testing.T) {
	w := openFixture(t, t.TempDir())
	for i := range 10 {
		w.Write(t, func(tx store.Tx) {
			tx.Put(store.Row{Key: store.Key{Kind: "k", ID: fmt.Sprint(i)}, Value: make([]byte, checkFirst/10)})
		})
	}
	checkpoint(t, w)
	if again := w.reopenFile(t); again.sqlite.e.doubtful {
		t.Error("a file that was closed is doubtful")
	} else {
		again.Push(t, "in the WAL", "r", "t", "hook")
		w = openFixture(t, abandon(t, again))
	}
	if !w.sqlite.e.doubtful {
		t.Error("a large file that was not closed is not doubtful")
	}
	small := openFixture(t, t.TempDir())
	small.Push(t, "in the WAL", "r", "t", "hook")
	if again := openFixture(t, abandon(t, small)); again.sqlite.e.doubtful {
		t.Error("a small file is doubtful")
	}
}

// TestSalvageIsFinished: the process was killed between putting the damaged file aside and renaming
// the new one.
func TestSalvageIsFinished(t *testing.T) {
	dir := t.TempDir()
	w := openFixture(t, dir)
	w.Push(t, "e", "r", "t", "hook")
	w.Close()
	path := filepath.Join(dir, databaseFile)
	if err := os.Rename(path, path+newFile); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "bellbuoy salvage") {
		t.Errorf("opened before the salvage was finished: %v", err)
	}
	if _, err := Salvage(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if w = openFixture(t, dir); w.Depth(t, "hook").Pending != 1 {
		t.Error("the new file was not taken")
	}
}
