package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// engines are how the suite gets a fresh store.
var engines = map[string]func(t *testing.T) *storetest.World{
	"sqlite":   func(t *testing.T) *storetest.World { return sqliteWorld(t, t.TempDir()) },
	"postgres": func(t *testing.T) *storetest.World { return postgresWorld(t, storetest.Database(t), "one") },
}

func sqliteWorld(t testing.TB, dir string) *storetest.World {
	t.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &storetest.World{Replica: s, Core: &s.Core, IsFile: true}
	w.Again = func() error { return opened(sqlite.Open(context.Background(), sqlite.Options{Dir: dir})) }
	w.Reopen = func(t *testing.T) *storetest.World {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return sqliteWorld(t, dir)
	}
	return w
}

func opened(s interface{ Close() error }, err error) error {
	if err == nil {
		err = s.Close()
	}
	return err
}

// conform runs test on both engines.
func conform(t *testing.T, test func(t *testing.T, w *storetest.World)) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var ctx = context.Background()

func TestRows(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		now := time.Now().Truncate(time.Microsecond)
		w.Write(t, func(tx store.Tx) {
			for _, id := range []string{"a/1", "a/3", "a/2", "b/1", "a\xff\x00"} {
				tx.Put(store.Row{Key: store.Key{Kind: "k", ID: id}, Value: []byte(id), Due: now, Seen: now})
			}
			tx.Put(store.Row{Key: store.Key{Kind: "other", ID: "a/1"}, Value: nil})
			tx.Delete(store.Key{Kind: "k", ID: "a/3"})
			tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "a/1"}, Value: []byte("last"), Due: now.Add(time.Hour)})
		})
		w = w.Reopen(t)
		err := w.View(ctx, func(r store.Reader) error {
			row, ok, err := r.Get(store.Key{Kind: "k", ID: "a/1"})
			if !ok || err != nil || string(row.Value) != "last" || !row.Due.Equal(now.Add(time.Hour)) || !row.Seen.IsZero() {
				t.Errorf("got %+v %v %v", row, ok, err)
			}
			if _, ok, err = r.Get(store.Key{Kind: "k", ID: "a/3"}); ok || err != nil {
				t.Error("a/3 is there", err)
			}
			rows, err := r.Scan("k", "a/", 0)
			if err != nil || len(rows) != 2 || rows[0].ID != "a/1" || rows[1].ID != "a/2" {
				t.Errorf("got %v %v", rows, err)
			}
			if rows, _ = r.Scan("k", "", 0); len(rows) != 4 || rows[2].ID != "a\xff\x00" {
				t.Errorf("got %v", rows)
			}
			if rows, _ = r.Scan("k", "a\xff", 0); len(rows) != 1 {
				t.Errorf("got %v", rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := w.Due(ctx, "k", now, 0)
		if err != nil || len(rows) != 3 {
			t.Errorf("due: %v %v", rows, err)
		}
		if rows, err = w.Own(ctx, "k", "", 0); err != nil || len(rows) != 4 {
			t.Errorf("own: %v %v", rows, err)
		}
		page, err := w.Page(ctx, "k", "a/1", 2)
		if err != nil || len(page) != 2 || page[0].ID != "a/2" || page[1].ID != "a\xff\x00" {
			t.Errorf("page: %v %v", page, err)
		}
		if page, err = w.Page(ctx, "k", "a\xff\x00", 0); err != nil || len(page) != 1 || page[0].ID != "b/1" {
			t.Errorf("last page: %v %v", page, err)
		}
		var paged []store.Row
		for after := ""; ; after = paged[len(paged)-1].ID {
			some, err := w.Own(ctx, "k", after, 1)
			if err != nil || len(some) > 1 {
				t.Fatalf("own: %v %v", some, err)
			}
			if paged = append(paged, some...); len(some) == 0 {
				break
			}
		}
		if len(paged) != 4 || paged[0].ID != rows[0].ID || paged[3].ID != rows[3].ID {
			t.Errorf("own, page by page: %v", paged)
		}
	})
}

func TestUpdateReadsEarlierCallersOfItsTransaction(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		hold := w.Hold(t)
		errs := make(chan error, 20)
		for range 20 {
			go func() {
				errs <- w.Update(ctx, []string{"counter"}, func(tx store.Tx) error {
					row, _, err := tx.Get(store.Key{Kind: "n", ID: "n"})
					if err != nil {
						return err
					}
					rows, err := tx.Scan("list", "", 0)
					if err != nil || len(rows) != len(row.Value) {
						return fmt.Errorf("%d rows after %d updates: %w", len(rows), len(row.Value), err)
					}
					tx.Put(store.Row{Key: store.Key{Kind: "n", ID: "n"}, Value: append(row.Value, 'x')}, store.Row{Key: store.Key{Kind: "list", ID: fmt.Sprintf("%03d", len(rows))}})
					return nil
				})
			}()
		}
		hold()
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		w.View(ctx, func(r store.Reader) error {
			row, _, _ := r.Get(store.Key{Kind: "n", ID: "n"})
			if len(row.Value) != 20 {
				t.Errorf("%d of 20", len(row.Value))
			}
			return nil
		})
	})
}

func TestUpdateThatFailsHarmsNobodyElse(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		boom := errors.New("boom")
		release := w.Hold(t)
		good, bad, panicking := make(chan error), make(chan error), make(chan error)
		put := func(tx store.Tx, id string) { tx.Put(store.Row{Key: store.Key{Kind: "k", ID: id}}) }
		go func() { good <- w.Update(ctx, nil, func(tx store.Tx) error { put(tx, "good"); return nil }) }()
		go func() { bad <- w.Update(ctx, nil, func(tx store.Tx) error { put(tx, "bad"); return boom }) }()
		go func() { panicking <- w.Update(ctx, nil, func(tx store.Tx) error { put(tx, "panic"); panic("no") }) }()
		for len(w.Core.Updates.In[engine.Ordinary]) < 3 {
			time.Sleep(time.Millisecond)
		}
		release()
		if err := <-bad; !errors.Is(err, boom) {
			t.Error(err)
		}
		if err := <-good; err != nil {
			t.Error(err)
		}
		if err := <-panicking; err == nil || !strings.Contains(err.Error(), "panic") {
			t.Error(err)
		}
		w.View(ctx, func(r store.Reader) error {
			rows, err := r.Scan("k", "", 0)
			if err != nil || len(rows) != 1 || rows[0].ID != "good" {
				t.Error(rows, err)
			}
			return nil
		})
	})
}

func TestUpdateGivenUp(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		release := w.Hold(t)
		short, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			done <- w.Update(short, nil, func(tx store.Tx) error { t.Error("it ran"); return nil })
		}()
		for len(w.Core.Updates.In[engine.Ordinary]) < 1 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown) {
			t.Error(err)
		}
		release()
		short, cancel = context.WithCancel(ctx)
		given := make(chan struct{})
		err := w.Update(short, nil, func(tx store.Tx) error { cancel(); <-given; return nil })
		close(given)
		if !errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestAppendIsIdempotent(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		for range 3 {
			w.Push(t, "e1", "repo", "tag", "hook")
			w.Write(t, func(tx store.Tx) { tx.Append(store.Event{ID: "pull", Type: "PULL", At: time.Now(), Transient: true}) })
		}
		w.Write(t, func(tx store.Tx) {
			tx.Append(store.Event{ID: "pull", Transient: true})
			tx.Append(store.Event{ID: "twice", Transient: true, At: time.Now()})
			tx.Append(store.Event{ID: "twice", Transient: true, At: time.Now()})
			tx.Append(store.Event{ID: "e1"}, store.Delivery{Webhook: "hook"})
		})
		evs, err := w.Events(ctx, store.EventQuery{Ascending: true})
		if err != nil || len(evs) != 3 || evs[0].ID != "e1" || evs[1].ID != "pull" || evs[2].ID != "twice" {
			t.Fatal(evs, err)
		}
		if d := w.Depth(t, "hook"); d.Pending != 1 {
			t.Errorf("%+v", d)
		}
	})
}

func TestEvents(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		base := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
		for i := range 10 {
			w.Write(t, func(tx store.Tx) {
				at := base.Add(time.Duration(i) * time.Minute)
				tx.Append(store.Event{ID: fmt.Sprintf("push%d", i), Type: "PUSH", At: at, Upstream: "u", Repository: "r1", Data: []byte("d")})
				tx.Append(store.Event{ID: fmt.Sprintf("pull%d", i), Type: "PULL", At: at, Upstream: "u", Repository: "r2", Data: []byte{byte(i)}, Transient: true})
				tx.Append(store.Event{ID: fmt.Sprintf("pulled%d", i), Type: "PULL", At: at, Upstream: "v", Repository: "r\x002\xff", Transient: true}, store.Delivery{Webhook: "h"})
			})
		}
		all, err := w.Events(ctx, store.EventQuery{Ascending: true})
		if err != nil || len(all) != 30 {
			t.Fatal(len(all), err)
		}
		for _, q := range []struct {
			store.EventQuery
			want string
		}{
			{store.EventQuery{Limit: 3, Types: []string{"PULL"}, Upstream: "u"}, "pull9 pull8 pull7"},
			{store.EventQuery{ID: "pull4"}, "pull4"},
			{store.EventQuery{ID: "push4"}, "push4"},
			{store.EventQuery{ID: "none"}, ""},
			{store.EventQuery{Types: []string{"PULL", "X"}, Since: base.Add(8 * time.Minute), Ascending: true}, "pulled8 pull8 pulled9 pull9"},
			{store.EventQuery{Repository: "r1", Until: base.Add(2 * time.Minute)}, "push1 push0"},
			{store.EventQuery{After: all[27].Seq, Ascending: true}, all[28].ID + " " + all[29].ID},
			{store.EventQuery{Before: all[1].Seq}, all[0].ID},
			{store.EventQuery{Ascending: true, Limit: 1}, all[0].ID},
			{store.EventQuery{Repository: "r\uFFFD2\uFFFD", Limit: 1}, "pulled9"},
		} {
			got, err := w.Events(ctx, q.EventQuery)
			var ids []string
			for _, e := range got {
				ids = append(ids, e.ID)
			}
			if err != nil || strings.Join(ids, " ") != q.want {
				t.Errorf("%+v: got %v, want %s (%v)", q.EventQuery, ids, q.want, err)
			}
		}
		if e := all[slices.IndexFunc(all, func(e store.Event) bool { return e.ID == "pull4" })]; string(e.Data) != "\x04" || !e.Transient || !e.At.Equal(base.Add(4*time.Minute)) || e.Upstream != "u" || e.Repository != "r2" {
			t.Errorf("%+v", e)
		}
	})
}

func postgresWorld(t testing.TB, url, replica string) *storetest.World {
	t.Helper()
	s, err := postgres.Open(context.Background(), postgres.Options{URL: url, Replica: replica})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &storetest.World{Replica: s, Core: &s.Core}
	w.Again = func() error {
		return opened(postgres.Open(context.Background(), postgres.Options{URL: url, Replica: replica}))
	}
	w.Reopen = func(t *testing.T) *storetest.World {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return postgresWorld(t, url, replica)
	}
	return w
}
