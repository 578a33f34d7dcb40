package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what a conformance test runs on.
type world struct {
	Store
	core   *core
	isFile bool                      // SQLite
	reopen func(t *testing.T) *world // as after a stop; closes this one
	again  func() error              // opens what was closed, and closes it
}

// engines are how the suite gets a fresh store.
var engines = map[string]func(t *testing.T) *world{
	"sqlite":   func(t *testing.T) *world { return sqliteWorld(t, t.TempDir()) },
	"postgres": func(t *testing.T) *world { return postgresWorld(t, database(t), "one") },
}

func sqliteWorld(t testing.TB, dir string) *world {
	t.Helper()
	s, err := openSQLite(context.Background(), SQLiteOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{Store: s, core: &s.core, isFile: true}
	w.again = func() error { return opened(openSQLite(context.Background(), SQLiteOptions{Dir: dir})) }
	w.reopen = func(t *testing.T) *world {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return sqliteWorld(t, dir)
	}
	return w
}

func opened(s Store, err error) error {
	if err == nil {
		err = s.Close()
	}
	return err
}

// conform runs test on both engines.
func conform(t *testing.T, test func(t *testing.T, w *world)) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var ctx = context.Background()

func (w *world) update(t testing.TB, fn func(Tx)) {
	t.Helper()
	if err := w.Update(ctx, nil, func(tx Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// patience is for what comes soon: far more than anything takes, also on a busy machine.
const patience = time.Minute

// push appends an event with one delivery to each webhook.
func (w *world) push(t *testing.T, id, repo, tag string, webhooks ...string) {
	t.Helper()
	w.update(t, func(tx Tx) {
		var ds []Delivery
		for _, h := range webhooks {
			ds = append(ds, Delivery{Webhook: h, TagKey: repo + ":" + tag, RepoKey: repo})
		}
		tx.Append(Event{ID: id, Type: "PUSH", At: time.Now(), Upstream: "up", Repository: repo, Data: []byte("data of " + id)}, ds...)
	})
}

func (w *world) lease(t *testing.T, webhook string) int64 {
	t.Helper()
	lanes, err := w.Lease(ctx, []string{webhook}, 15*time.Second, 0)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	return lanes[0].Epoch
}

func (w *world) due(t *testing.T, q DueQuery) []Delivery {
	t.Helper()
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	if q.Webhook == "" {
		q.Webhook = "hook"
	}
	ds, _, err := w.DueDeliveries(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func eventIDs(ds []Delivery) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.EventID)
	}
	return strings.Join(ids, " ")
}

func (w *world) finish(t *testing.T, o ...Outcome) {
	t.Helper()
	if err := w.Finish(ctx, o); err != nil {
		t.Fatal(err)
	}
}

func wantIDs(t *testing.T, got []Delivery, want string) {
	t.Helper()
	if eventIDs(got) != want {
		t.Fatalf("got %q, want %q", eventIDs(got), want)
	}
}

func (w *world) depth(t *testing.T, webhook string) Depth {
	t.Helper()
	ds, err := w.Depths(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if d.Webhook == webhook {
			return d
		}
	}
	return Depth{}
}

func TestRows(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		now := time.Now().Truncate(time.Microsecond)
		w.update(t, func(tx Tx) {
			for _, id := range []string{"a/1", "a/3", "a/2", "b/1", "a\xff\x00"} {
				tx.Put(Row{Key: Key{"k", id}, Value: []byte(id), Due: now, Seen: now})
			}
			tx.Put(Row{Key: Key{"other", "a/1"}, Value: nil})
			tx.Delete(Key{"k", "a/3"})
			tx.Put(Row{Key: Key{"k", "a/1"}, Value: []byte("last"), Due: now.Add(time.Hour)})
		})
		w = w.reopen(t)
		err := w.View(ctx, func(r Reader) error {
			row, ok, err := r.Get(Key{"k", "a/1"})
			if !ok || err != nil || string(row.Value) != "last" || !row.Due.Equal(now.Add(time.Hour)) || !row.Seen.IsZero() {
				t.Errorf("got %+v %v %v", row, ok, err)
			}
			if _, ok, err = r.Get(Key{"k", "a/3"}); ok || err != nil {
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
		var paged []Row
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
	conform(t, func(t *testing.T, w *world) {
		hold := w.hold(t)
		errs := make(chan error, 20)
		for range 20 {
			go func() {
				errs <- w.Update(ctx, []string{"counter"}, func(tx Tx) error {
					row, _, err := tx.Get(Key{"n", "n"})
					if err != nil {
						return err
					}
					rows, err := tx.Scan("list", "", 0)
					if err != nil || len(rows) != len(row.Value) {
						return fmt.Errorf("%d rows after %d updates: %w", len(rows), len(row.Value), err)
					}
					tx.Put(Row{Key: Key{"n", "n"}, Value: append(row.Value, 'x')}, Row{Key: Key{"list", fmt.Sprintf("%03d", len(rows))}})
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
		w.View(ctx, func(r Reader) error {
			row, _, _ := r.Get(Key{"n", "n"})
			if len(row.Value) != 20 {
				t.Errorf("%d of 20", len(row.Value))
			}
			return nil
		})
	})
}

// hold keeps the writer busy until the returned function is called.
func (w *world) hold(t *testing.T) func() {
	t.Helper()
	begun, end := make(chan bool), make(chan bool)
	go w.Update(ctx, nil, func(Tx) error { close(begun); <-end; return nil })
	<-begun
	return func() { close(end) }
}

func TestUpdateThatFailsHarmsNobodyElse(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		boom := errors.New("boom")
		release := w.hold(t)
		good, bad, panicking := make(chan error), make(chan error), make(chan error)
		put := func(tx Tx, id string) { tx.Put(Row{Key: Key{"k", id}}) }
		go func() { good <- w.Update(ctx, nil, func(tx Tx) error { put(tx, "good"); return nil }) }()
		go func() { bad <- w.Update(ctx, nil, func(tx Tx) error { put(tx, "bad"); return boom }) }()
		go func() { panicking <- w.Update(ctx, nil, func(tx Tx) error { put(tx, "panic"); panic("no") }) }()
		for len(w.core.updates.in[ordinary]) < 3 {
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
		w.View(ctx, func(r Reader) error {
			rows, err := r.Scan("k", "", 0)
			if err != nil || len(rows) != 1 || rows[0].ID != "good" {
				t.Error(rows, err)
			}
			return nil
		})
	})
}

func TestUpdateGivenUp(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		release := w.hold(t)
		short, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			done <- w.Update(short, nil, func(tx Tx) error { t.Error("it ran"); return nil })
		}()
		for len(w.core.updates.in[ordinary]) < 1 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		release()
		short, cancel = context.WithCancel(ctx)
		given := make(chan struct{})
		err := w.Update(short, nil, func(tx Tx) error { cancel(); <-given; return nil })
		close(given)
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestAppendIsIdempotent(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		for range 3 {
			w.push(t, "e1", "repo", "tag", "hook")
			w.update(t, func(tx Tx) { tx.Append(Event{ID: "pull", Type: "PULL", At: time.Now(), Transient: true}) })
		}
		w.update(t, func(tx Tx) {
			tx.Append(Event{ID: "pull", Transient: true})
			tx.Append(Event{ID: "twice", Transient: true, At: time.Now()})
			tx.Append(Event{ID: "twice", Transient: true, At: time.Now()})
			tx.Append(Event{ID: "e1"}, Delivery{Webhook: "hook"})
		})
		evs, err := w.Events(ctx, EventQuery{Ascending: true})
		if err != nil || len(evs) != 3 || evs[0].ID != "e1" || evs[1].ID != "pull" || evs[2].ID != "twice" {
			t.Fatal(evs, err)
		}
		if d := w.depth(t, "hook"); d.Pending != 1 {
			t.Errorf("%+v", d)
		}
	})
}

func TestEvents(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		base := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
		for i := range 10 {
			w.update(t, func(tx Tx) {
				at := base.Add(time.Duration(i) * time.Minute)
				tx.Append(Event{ID: fmt.Sprintf("push%d", i), Type: "PUSH", At: at, Upstream: "u", Repository: "r1", Data: []byte("d")})
				tx.Append(Event{ID: fmt.Sprintf("pull%d", i), Type: "PULL", At: at, Upstream: "u", Repository: "r2", Data: []byte{byte(i)}, Transient: true})
				tx.Append(Event{ID: fmt.Sprintf("pulled%d", i), Type: "PULL", At: at, Upstream: "v", Repository: "r\x002\xff", Transient: true}, Delivery{Webhook: "h"})
			})
		}
		all, err := w.Events(ctx, EventQuery{Ascending: true})
		if err != nil || len(all) != 30 {
			t.Fatal(len(all), err)
		}
		for _, q := range []struct {
			EventQuery
			want string
		}{
			{EventQuery{Limit: 3, Types: []string{"PULL"}, Upstream: "u"}, "pull9 pull8 pull7"},
			{EventQuery{ID: "pull4"}, "pull4"},
			{EventQuery{ID: "push4"}, "push4"},
			{EventQuery{ID: "none"}, ""},
			{EventQuery{Types: []string{"PULL", "X"}, Since: base.Add(8 * time.Minute), Ascending: true}, "pulled8 pull8 pulled9 pull9"},
			{EventQuery{Repository: "r1", Until: base.Add(2 * time.Minute)}, "push1 push0"},
			{EventQuery{After: all[27].Seq, Ascending: true}, all[28].ID + " " + all[29].ID},
			{EventQuery{Before: all[1].Seq}, all[0].ID},
			{EventQuery{Ascending: true, Limit: 1}, all[0].ID},
			{EventQuery{Repository: "r\uFFFD2\uFFFD", Limit: 1}, "pulled9"},
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
		if e := all[slices.IndexFunc(all, func(e Event) bool { return e.ID == "pull4" })]; string(e.Data) != "\x04" || !e.Transient || !e.At.Equal(base.Add(4*time.Minute)) || e.Upstream != "u" || e.Repository != "r2" {
			t.Errorf("%+v", e)
		}
	})
}

func (w *world) leases(t *testing.T, ttl time.Duration, fair int, webhooks ...string) []Lane {
	t.Helper()
	lanes, err := w.Lease(ctx, webhooks, ttl, fair)
	if err != nil {
		t.Fatal(err)
	}
	return lanes
}

// sqlOf runs a statement of the database's own.
func (w *world) sqlOf(t testing.TB, sql string) (n int64, err error) {
	t.Helper()
	err = w.core.alone(ctx, func(s session, _ *group) error { n, err = s.exec(ctx, sql); return err })
	return n, err
}
