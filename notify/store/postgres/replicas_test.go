package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func replicas(t *testing.T) (a, b *fixture) {
	t.Helper()
	url := storetest.Database(t)
	return openReplica(t, url, "a"), openReplica(t, url, "b")
}

func names(lanes []store.Lane) string {
	var n []string
	for _, l := range lanes {
		n = append(n, l.Webhook)
	}
	slices.Sort(n)
	return strings.Join(n, " ")
}

func TestReplicasShareLanes(t *testing.T) {
	a, b := replicas(t)
	hooks := []string{"h1", "h2", "h3", "h4"}
	if got := names(a.LeaseAll(t, time.Minute, 2, hooks...)); got != "h1 h2" {
		t.Errorf("a owns %q", got)
	}
	if got := names(b.LeaseAll(t, time.Minute, 0, hooks...)); got != "h3 h4" {
		t.Errorf("b owns %q", got)
	}
	if got := names(a.LeaseAll(t, time.Minute, 0, hooks...)); got != "h1 h2" {
		t.Errorf("a owns %q", got)
	}
	if err := a.Release(ctx, []string{"h1"}); err != nil {
		t.Fatal(err)
	}
	if got := names(b.LeaseAll(t, time.Minute, 0, hooks...)); got != "h1 h3 h4" {
		t.Errorf("b owns %q", got)
	}
	b.Close() // gives all back
	if got := names(a.LeaseAll(t, time.Minute, 0, hooks...)); got != "h1 h2 h3 h4" {
		t.Errorf("a owns %q", got)
	}
}

func TestLaneOfADeadReplicaMoves(t *testing.T) {
	a, b := replicas(t)
	a.Push(t, "e", "r", "t", "hook")
	const ttl = 2 * time.Second
	began := time.Now()
	old := a.LeaseAll(t, ttl, 0, "hook")[0] // and a is heard of no more
	if err := a.SetLane(ctx, "hook", old.Epoch, []byte("circuit open")); err != nil {
		t.Fatal(err)
	}
	var lanes []store.Lane
	for len(lanes) == 0 && time.Since(began) < storetest.Patience {
		lanes = b.LeaseAll(t, ttl, 0, "hook")
	}
	if since := time.Since(began); since < ttl-50*time.Millisecond || len(lanes) == 0 {
		t.Errorf("the lane moved after %v", since)
	}
	if l := lanes[0]; l.Epoch <= old.Epoch || string(l.State) != "circuit open" {
		t.Errorf("%+v after %+v", l, old)
	}
	id := a.DueNow(t, store.DueQuery{})[0].ID
	if err := a.Finish(ctx, []store.Outcome{{DeliveryID: id, Webhook: "hook", Epoch: old.Epoch, State: store.Delivered}}); !errors.Is(err, store.ErrFenced) {
		t.Error(err)
	}
	b.Record(t, store.Outcome{DeliveryID: id, Webhook: "hook", Epoch: lanes[0].Epoch, State: store.Dead})
	if d := a.Depth(t, "hook"); d.Pending != 0 || d.Dead != 1 {
		t.Errorf("%+v", d)
	}
	if lanes := a.LeaseAll(t, ttl, 0, "hook"); len(lanes) > 0 && lanes[0].Epoch <= old.Epoch {
		t.Errorf("%+v", lanes)
	}
}

func TestEarlierProcessOfTheSameNameIsFenced(t *testing.T) {
	url := storetest.Database(t)
	old := openReplica(t, url, "a")
	before := old.TakeLane(t, "hook")
	now := openReplica(t, url, "a")
	if epoch := now.TakeLane(t, "hook"); epoch <= before {
		t.Errorf("epoch %d after %d", epoch, before)
	}
}

func TestOwnTakesRowsOfTheDead(t *testing.T) {
	a, b := replicas(t)
	for _, w := range []*fixture{a, b} {
		w.Write(t, func(tx store.Tx) {
			tx.Put(store.Row{Key: store.Key{Kind: "intent", ID: fmt.Sprintf("%p", w)}})
			tx.Put(store.Row{Key: store.Key{Kind: "other", ID: fmt.Sprintf("%p", w)}})
		})
	}
	owned := func(want int) []store.Row {
		t.Helper()
		rows, err := b.Own(ctx, "intent", "", 0)
		if err != nil || len(rows) != want {
			t.Fatalf("%v %v, want %d", rows, err, want)
		}
		return rows
	}
	owned(1)
	a.Core.Stop() // its heart stands still
	if _, err := b.SQL(t, "UPDATE replicas SET lease_until = 1 WHERE name = 'a'"); err != nil {
		t.Fatal(err)
	}
	for _, r := range owned(2) {
		if r.Owner != "b" {
			t.Errorf("%+v", r)
		}
	}
}

func TestScopesExcludeAcrossReplicas(t *testing.T) {
	a, b := replicas(t)
	var wg sync.WaitGroup
	for _, w := range []*fixture{a, b} {
		for p := range 4 {
			wg.Go(func() {
				for range 20 {
					scopes := []string{"x", "y"}
					if p%2 == 0 {
						slices.Reverse(scopes)
					}
					err := w.Update(ctx, scopes, func(tx store.Tx) error {
						row, _, err := tx.Get(store.Key{Kind: "n", ID: "n"})
						tx.Put(store.Row{Key: store.Key{Kind: "n", ID: "n"}, Value: append(row.Value, 'x')})
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	a.View(ctx, func(r store.Reader) error {
		if row, _, err := r.Get(store.Key{Kind: "n", ID: "n"}); len(row.Value) != 160 {
			t.Errorf("%d of 160 updates (%v)", len(row.Value), err)
		}
		return nil
	})
}

// TestFollowersSeeEveryEvent: two replicas append at once; who reads on after the last number it
// saw misses nothing.
func TestFollowersSeeEveryEvent(t *testing.T) {
	a, b := replicas(t)
	const each = 150
	var wg sync.WaitGroup
	for i, w := range []*fixture{a, b} {
		for p := range 3 {
			wg.Go(func() {
				for n := range each {
					err := w.Update(ctx, nil, func(tx store.Tx) error {
						tx.Append(store.Event{ID: fmt.Sprintf("%d-%d-%d", i, p, n), At: time.Now(), Transient: n%2 == 0})
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	seen := map[string]bool{}
	last, limit := int64(0), time.Now().Add(time.Minute)
	for len(seen) < 6*each && time.Now().Before(limit) {
		evs, err := a.Events(ctx, store.EventQuery{After: last, Ascending: true, Limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range evs {
			if e.Seq <= last || seen[e.ID] {
				t.Fatalf("%s with %d after %d", e.ID, e.Seq, last)
			}
			last, seen[e.ID] = e.Seq, true
		}
	}
	wg.Wait()
	if len(seen) != 6*each {
		t.Errorf("%d of %d events seen", len(seen), 6*each)
	}
}

func TestSignalsCrossReplicas(t *testing.T) {
	a, b := replicas(t)
	for !a.pg.remote.isHearing() || !b.pg.remote.isHearing() {
		time.Sleep(time.Millisecond)
	}
	news := b.EventAppended()
	a.Push(t, "e", "r", "t", "hook")
	name := (<-b.Wake()).Webhook
	if name == "" { // it looked at the sequences at that very moment
		name = (<-b.Wake()).Webhook
	}
	if name != "hook" {
		t.Errorf("woken for %q", name)
	}
	<-news
}

// TestPollingReplacesNotifications: nothing was notified, the sequences moved.
func TestPollingReplacesNotifications(t *testing.T) {
	_, b := replicas(t)
	r := newRemote(b.pg.e.pool, b.Core.Signals)
	r.look(ctx, true)
	if _, err := b.SQL(t, "SELECT nextval('event_seq'), nextval('event_seq')"); err != nil {
		t.Fatal(err)
	}
	news := b.EventAppended()
	go r.look(ctx, false)
	if name := (<-b.Wake()).Webhook; name != "" {
		t.Errorf("woken for %q", name)
	}
	<-news
}

func TestWarnsOfLazyDurability(t *testing.T) {
	url := storetest.Database(t)
	w := openReplica(t, url, "a")
	if _, err := w.SQL(t, "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit = off'; END $$"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w = openReplica(t, url, "a")
	if !slices.ContainsFunc(w.Warnings(), func(s string) bool { return strings.Contains(s, "synchronous_commit=off") }) {
		t.Error(w.Warnings())
	}
}

func TestDatabaseGoesAwayAndComesBack(t *testing.T) {
	a, _ := replicas(t)
	a.Push(t, "before", "r", "t", "hook")
	if err := storetest.Shared.Server.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := a.Update(short, nil, storetest.Put); err == nil || a.Healthy() == nil {
		t.Error(err, a.Healthy())
	}
	if _, err := a.Events(short, store.EventQuery{}); err == nil {
		t.Error("events without a database")
	}
	if err := storetest.Shared.Server.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for a.Update(ctx, nil, storetest.Put) != nil {
		if time.Since(began) > storetest.Patience {
			t.Fatal("it does not come back")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for a.Healthy() != nil { // until the heart has beaten once more
		if time.Since(began) > storetest.Patience {
			t.Fatal(a.Healthy())
		}
		time.Sleep(20 * time.Millisecond)
	}
	epoch := a.TakeLane(t, "hook")
	a.Record(t, store.Outcome{DeliveryID: a.DueNow(t, store.DueQuery{})[0].ID, Webhook: "hook", Epoch: epoch, State: store.Delivered})
}

// TestBehindAPooler: every query mode that a URL may ask for works.
func TestBehindAPooler(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			w := openReplica(t, storetest.Database(t)+"&default_query_exec_mode="+mode, "a")
			epoch := w.TakeLane(t, "hook")
			w.Push(t, "1", "r", "t", "hook")
			w.Write(t, func(tx store.Tx) {
				tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "\x00\xff"}, Value: []byte{0, 255}})
				tx.Append(store.Event{ID: "pull", Transient: true, At: time.Now()})
			})
			due := w.DueNow(t, store.DueQuery{})
			w.Record(t, store.Outcome{DeliveryID: due[0].ID, Webhook: "hook", Epoch: epoch, State: store.Dead, Payload: &store.Payload{Body: []byte{0, 255}}, Attempt: &store.Attempt{Response: []byte{0}}})
			if ds, err := w.Deliveries(ctx, store.DeliveryQuery{IDs: []int64{due[0].ID}}); err != nil || string(ds[0].Payload.Body) != "\x00\xff" {
				t.Errorf("%+v %v", ds, err)
			}
			if evs, err := w.Events(ctx, store.EventQuery{}); err != nil || len(evs) != 2 {
				t.Error(evs, err)
			}
		})
	}
}
