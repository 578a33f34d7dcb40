package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// TestBackup: a copy that is made while others write is a store as of one moment, with all that was
// committed before.
func TestBackup(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(name string) error {
		return s.Update(ctx, nil, func(tx store.Tx) error {
			tx.Append(store.Event{ID: name, At: time.Now(), Data: []byte(strings.Repeat(name, 1000))}, store.Delivery{Webhook: "hook"})
			tx.Put(store.Row{Key: store.Key{Kind: "last", ID: "last"}, Value: []byte(name)})
			return nil
		})
	}
	for i := range 500 {
		if err := write(fmt.Sprint("before", i)); err != nil {
			t.Fatal(err)
		}
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := write(fmt.Sprint("while", i)); err != nil {
				ended <- err
				return
			}
		}
	}()
	there := filepath.Join(t.TempDir(), databaseFile)
	err = s.Backup(ctx, func(copy io.Reader, size int64) error {
		if err := s.Backup(ctx, nil); !errors.Is(err, ErrBackupRuns) {
			t.Errorf("two at once: %v", err)
		}
		b, err := io.ReadAll(copy)
		if err != nil || int64(len(b)) != size {
			t.Errorf("%d bytes of %d, %v", len(b), size, err)
		}
		return os.WriteFile(there, b, 0o600)
	})
	close(stop)
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+copyFile+"*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	restored, err := Open(ctx, Options{Dir: filepath.Dir(there)})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	events, err := restored.Events(ctx, store.EventQuery{Limit: 1 << 20})
	depths, depthErr := restored.Depths(ctx)
	if err := errors.Join(err, depthErr); err != nil || len(events) < 500 || depths[0].Pending != int64(len(events)) {
		t.Fatalf("%d events, %+v, %v", len(events), depths, err)
	}
	err = restored.View(ctx, func(r store.Reader) error {
		last, ok, err := r.Get(store.Key{Kind: "last", ID: "last"})
		if !ok || string(last.Value) != events[0].ID {
			t.Errorf("the last event is %s, and its row says %s", events[0].ID, last.Value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := restored.Update(ctx, nil, func(tx store.Tx) error { tx.Append(store.Event{ID: "after", At: time.Now()}); return nil }); err != nil {
		t.Error(err)
	}
}

func TestBackupEndsWithItsCaller(t *testing.T) {
	s, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, func(io.Reader, int64) error { t.Error("sent"); return nil }); err == nil {
		t.Error("no error")
	}
}
