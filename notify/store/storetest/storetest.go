// Package storetest helps to test stores: a store with shorthands for what tests do with it, and a
// PostgreSQL server that the tests of a process share.
package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Kilobyte is data that means nothing.
var Kilobyte = make([]byte, 1024)

// Value is what the next transaction sees of a row.
func (w *World) Value(t *testing.T, k store.Key) string {
	t.Helper()
	seen := "none"
	w.Write(t, func(tx store.Tx) {
		row, ok, err := tx.Get(k)
		if err != nil {
			t.Error(err)
		}
		if ok {
			seen = string(row.Value)
		}
	})
	return seen
}

// World is an open store with shorthands for tests.
type World struct {
	*engine.Core
	Replica
	IsFile bool                      // SQLite
	Reopen func(t *testing.T) *World // as after a stop; closes this one
	Again  func() error              // opens what was closed, and closes it
}

// Replica is what the stores have each in its own way.
type Replica interface {
	Own(ctx context.Context, kind, after string, limit int) ([]store.Row, error)
	Lease(ctx context.Context, webhooks []string, ttl time.Duration, fair int) ([]store.Lane, error)
	Release(ctx context.Context, webhooks []string) error
	SetLane(ctx context.Context, webhook string, epoch int64, state []byte) error
	Warnings() []string
	Close() error
}

// Close is the store's own.
func (w *World) Close() error { return w.Replica.Close() }

// Write is an Update that succeeds.
func (w *World) Write(t testing.TB, fn func(store.Tx)) {
	t.Helper()
	if err := w.Update(ctx, nil, func(tx store.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Patience is for what comes soon: far more than anything takes, also on a busy machine.
const Patience = time.Minute

// Push appends an event with one delivery to each webhook.
func (w *World) Push(t *testing.T, id, repo, tag string, webhooks ...string) {
	t.Helper()
	w.Write(t, func(tx store.Tx) {
		var ds []store.Delivery
		for _, h := range webhooks {
			ds = append(ds, store.Delivery{Webhook: h, TagKey: repo + ":" + tag, RepoKey: repo})
		}
		tx.Append(store.Event{ID: id, Type: "PUSH", At: time.Now(), Upstream: "up", Repository: repo, Data: []byte("data of " + id)}, ds...)
	})
}

// TakeLane leases a webhook's lane and returns the epoch.
func (w *World) TakeLane(t *testing.T, webhook string) int64 {
	t.Helper()
	lanes, err := w.Lease(ctx, []string{webhook}, 15*time.Second, 0)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	return lanes[0].Epoch
}

// DueNow is what is due; the webhook is hook, and the time is now, where q names none.
func (w *World) DueNow(t *testing.T, q store.DueQuery) []store.Delivery {
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

// EventIDs are the ids of deliveries' events, in order.
func EventIDs(ds []store.Delivery) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.EventID)
	}
	return strings.Join(ids, " ")
}

// Record is a Finish that succeeds.
func (w *World) Record(t *testing.T, o ...store.Outcome) {
	t.Helper()
	if err := w.Finish(ctx, o); err != nil {
		t.Fatal(err)
	}
}

// WantIDs fails the test where the deliveries are not of these events.
func WantIDs(t *testing.T, got []store.Delivery, want string) {
	t.Helper()
	if EventIDs(got) != want {
		t.Fatalf("got %q, want %q", EventIDs(got), want)
	}
}

// Depth is how much waits for a webhook.
func (w *World) Depth(t *testing.T, webhook string) store.Depth {
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
	return store.Depth{}
}

// Hold keeps the writer busy until the returned function is called.
func (w *World) Hold(t *testing.T) func() {
	t.Helper()
	begun, end := make(chan bool), make(chan bool)
	go func() { _ = w.Update(ctx, nil, func(store.Tx) error { close(begun); <-end; return nil }) }()
	<-begun
	return func() { close(end) }
}

// LeaseAll is a Lease that succeeds.
func (w *World) LeaseAll(t *testing.T, ttl time.Duration, fair int, webhooks ...string) []store.Lane {
	t.Helper()
	lanes, err := w.Lease(ctx, webhooks, ttl, fair)
	if err != nil {
		t.Fatal(err)
	}
	return lanes
}

// SQL runs a statement of the database's own.
func (w *World) SQL(t testing.TB, sql string) (n int64, err error) {
	t.Helper()
	err = w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error { n, err = s.Exec(ctx, sql); return err })
	return n, err
}

// Put writes some row.
func Put(tx store.Tx) error { tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "k"}}); return nil }

// RefuseRepository makes the database itself refuse events of a repository.
func (w *World) RefuseRepository(t *testing.T, repository string) {
	t.Helper()
	sql := "ALTER TABLE events ADD CHECK (repository <> '" + repository + "')"
	if w.IsFile {
		sql = "CREATE TRIGGER refusing BEFORE INSERT ON events WHEN NEW.repository = '" + repository + "' BEGIN SELECT RAISE(ABORT, 'refused'); END"
	}
	err := w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error { _, err := s.Exec(ctx, sql); return err })
	if err != nil {
		t.Fatal(err)
	}
}

// EventIDs are the ids of all events, oldest first.
func (w *World) EventIDs(t *testing.T) string {
	t.Helper()
	evs, err := w.Events(ctx, store.EventQuery{Ascending: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range evs {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

// PurgeIn purges as if so much time had passed, and returns how many rows went.
func (w *World) PurgeIn(t *testing.T, r store.Retention, in time.Duration, trims ...store.Trim) int {
	t.Helper()
	n, err := w.Purge(ctx, r, trims, time.Now().Add(in))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// FinishAll finishes the deliveries of the named events.
func (w *World) FinishAll(t *testing.T, state store.State, events ...string) {
	t.Helper()
	epoch := w.TakeLane(t, "hook")
	for _, id := range events {
		ds, err := w.Deliveries(ctx, store.DeliveryQuery{EventID: id})
		if err != nil || len(ds) == 0 {
			t.Fatal(ds, err)
		}
		w.Record(t, store.Outcome{DeliveryID: ds[0].ID, Webhook: "hook", Epoch: epoch, State: state, Payload: &store.Payload{Body: []byte("b")}, Attempt: &store.Attempt{At: time.Now()}})
	}
}

// FinishAllOf finishes all pending deliveries of a webhook.
func (w *World) FinishAllOf(t testing.TB, webhook string, state store.State) {
	t.Helper()
	lanes, err := w.Lease(ctx, []string{webhook}, 15*time.Second, 0)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	pending, err := w.Deliveries(ctx, store.DeliveryQuery{Webhook: webhook, States: []store.State{store.Pending}, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range pending {
		if err := w.Finish(ctx, []store.Outcome{{DeliveryID: d.ID, Webhook: webhook, Epoch: lanes[0].Epoch, State: state}}); err != nil {
			t.Fatal(err)
		}
	}
}

// Count counts the rows of a table.
func (w *World) Count(t *testing.T, table string) (n int64) {
	t.Helper()
	if err := w.Core.DB.Query(ctx, "SELECT count(*) FROM "+table, nil, func(s engine.Scanner) error { return s.Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Crowd has n updates wait, each an event with a thousand deliveries, and returns what they end
// with.
func (w *World) Crowd(t *testing.T, n int) chan error {
	t.Helper()
	deliveries := make([]store.Delivery, 1000)
	for i := range deliveries {
		deliveries[i].Webhook = fmt.Sprint("hook", i%10)
	}
	ends := make(chan error, n)
	for i := range n {
		go func() {
			ends <- w.Update(ctx, nil, func(tx store.Tx) error {
				tx.Append(store.Event{ID: fmt.Sprint("event", i), At: time.Now()}, deliveries...)
				return nil
			})
		}()
	}
	for len(w.Core.Updates.In[engine.Ordinary]) < n {
		time.Sleep(time.Millisecond)
	}
	return ends
}

var ctx = context.Background()
