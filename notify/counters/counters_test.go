package counters

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	storetest.StopPostgres()
	os.Exit(code)
}

// run starts counters in the middle of a minute, so that no test sleeps until the moment of a
// write. stop ends them and waits.
func run(t *testing.T, rows CountRows, replica string) (c *Counters, stop func()) {
	t.Helper()
	return runWith(t, Options{Rows: rows, Replica: replica, Log: zap.NewNop()})
}

func runWith(t *testing.T, o Options) (c *Counters, stop func()) {
	t.Helper()
	c = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(30 * time.Second)))
	return c, func() { cancel(); running.Wait() }
}

// counts returns the lines of a query as text, without zeros.
func counts(t *testing.T, c *Counters, q Query) string {
	t.Helper()
	lines, err := c.Series(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, line := range lines {
		one := line.Name + " " + line.Label
		for i, p := range line.Points {
			if p.Count != 0 {
				one += fmt.Sprintf(" %d:%d", i, p.Count)
			}
		}
		text = append(text, one)
	}
	return strings.Join(text, "; ")
}

func lastMinutes(measure Measure, n int) Query {
	return Query{Measure: measure, From: time.Now().Add(-time.Duration(n-1) * time.Minute), Step: time.Minute, Steps: n}
}

func lastHours(measure Measure, n int) Query {
	return Query{Measure: measure, From: time.Now().Add(-time.Duration(n-1) * time.Hour), Step: time.Hour, Steps: n}
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestCounts: counts are visible at once, by minute and by hour. They survive a restart, and
// those of replicas are added.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble's time begins at midnight
		m := &storetest.MemoryRows{}
		one, stopOne := run(t, m, "one")
		two, stopTwo := run(t, m, "two")
		one.Event("team", "PUSH_ARTIFACT")
		one.Event("team", "PUSH_ARTIFACT")
		one.Event("other", "DELETE_TAG")
		want(t, "at once", counts(t, one, lastMinutes(Events, 3)), "other DELETE_TAG 2:1; team PUSH_ARTIFACT 2:2")
		want(t, "at once, by hour", counts(t, one, lastHours(Events, 3)), "other DELETE_TAG 2:1; team PUSH_ARTIFACT 2:2")
		time.Sleep(time.Minute)
		two.Event("team", "PUSH_ARTIFACT")
		want(t, "by both replicas", counts(t, two, lastMinutes(Events, 3)), "other DELETE_TAG 1:1; team PUSH_ARTIFACT 1:2 2:1")
		want(t, "without the unwritten counts of the other replica", counts(t, one, lastHours(Events, 1)), "other DELETE_TAG 0:1; team PUSH_ARTIFACT 0:2")
		stopTwo()
		want(t, "after the other replica has ended", counts(t, one, lastHours(Events, 1)), "other DELETE_TAG 0:1; team PUSH_ARTIFACT 0:3")
		again, stopAgain := run(t, m, "again")
		again.Event("team", "PUSH_ARTIFACT")
		sum := lastHours(Events, 2)
		sum.Sum, sum.Keep = true, func(project string) bool { return project == "team" }
		want(t, "added up after a restart", counts(t, again, sum), " PUSH_ARTIFACT 1:4")
		time.Sleep(time.Hour)
		one.Event("team", "PUSH_ARTIFACT")
		want(t, "in the next hour", counts(t, again, lastHours(Events, 2)), "other DELETE_TAG 0:1; team PUSH_ARTIFACT 0:4")
		want(t, "in the next hour, at the replica that counted", counts(t, one, lastHours(Events, 2)), "other DELETE_TAG 0:1; team PUSH_ARTIFACT 0:4 1:1")
		stopOne()
		stopAgain()
	})
}

func TestDeliveriesAndTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var total atomic.Pointer[Point]
		total.Store(&Point{})
		c, stop := runWith(t, Options{Rows: &storetest.MemoryRows{}, Replica: "one", Log: zap.NewNop(),
			Traffic: func(yield func(string, Point)) { yield("registry", *total.Load()) }})
		for range 9 {
			c.Attempt("ci", "delivered", 10*time.Millisecond)
		}
		c.Attempt("ci", "delivered", 3*time.Second)
		c.Attempt("ci", "dead", 0)
		c.Attempt("ci", "retry", time.Minute)
		total.Store(&Point{Count: 5, In: 100, Out: 1000, Errors: 1})
		time.Sleep(time.Minute)
		total.Store(&Point{Count: 7, In: 150, Out: 1500, Errors: 1})
		lines, err := c.Series(t.Context(), lastMinutes(Deliveries, 2))
		if err != nil || len(lines) != 3 {
			t.Fatal(lines, err)
		}
		p := lines[1].Points[0]
		if lines[1].Label != "delivered" || p.Count != 10 || p.Posts != 10 || p.Mean() != 309*time.Millisecond || p.Quantile(0.5) != 20*time.Millisecond || p.Quantile(0.95) != 5*time.Second {
			t.Errorf("%+v: mean %v, p50 %v, p95 %v", p, p.Mean(), p.Quantile(0.5), p.Quantile(0.95))
		}
		if dead := lines[0].Points[0]; dead.Count != 1 || dead.Posts != 0 || dead.Mean() != 0 || dead.Quantile(0.5) != 0 {
			t.Errorf("%+v", dead)
		}
		if slow := lines[2].Points[0]; slow.Quantile(0.5) != 15*time.Second {
			t.Errorf("%+v: p50 %v", slow, slow.Quantile(0.5))
		}
		rates, err := c.Successes(t.Context())
		if err != nil || rates["ci"] != (Success{Tried: 12, Delivered: 10}) {
			t.Error(rates, err)
		}
		lines, err = c.Series(t.Context(), lastMinutes(Traffic, 2))
		if err != nil || len(lines) != 1 || lines[0].Points[0] != (Point{Count: 5, In: 100, Out: 1000, Errors: 1}) || lines[0].Points[1] != (Point{Count: 2, In: 50, Out: 500}) {
			t.Error(lines, err)
		}
		time.Sleep(24 * time.Hour)
		if rates, err = c.Successes(t.Context()); err != nil || len(rates) != 0 {
			t.Error(rates, err)
		}
		stop()
	})
}

// TestWritesAndRetention: the store gets one small write a minute, and none while nothing is
// counted. Old rows are removed.
func TestWritesAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.MemoryRows{}
		c, stop := run(t, m, "one")
		for range 60 {
			c.Event("team", "PUSH_ARTIFACT")
			time.Sleep(time.Minute)
		}
		if writes, rows := m.Updates(), len(m.All()); writes != 60 || rows != 61 {
			t.Errorf("%d writes, %d rows after an hour; want 60, and 61", writes, rows)
		}
		time.Sleep(time.Hour - time.Minute)
		if writes := m.Updates(); writes != 60 {
			t.Errorf("%d writes while nothing was counted", writes-60)
		}
		time.Sleep(2 * time.Hour)
		if rows := len(m.All()); rows != 1 {
			t.Errorf("%d rows, want only that of the hour", rows)
		}
		time.Sleep(keepHours)
		if rows := len(m.All()); rows != 0 {
			t.Errorf("%d rows after 8 days", rows)
		}
		stop()
	})
}

// TestStoreFails: counts that cannot be written are written later, and are visible meanwhile.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, full := &storetest.MemoryRows{}, errors.New("disk full")
		c, stop := run(t, m, "one")
		m.Fail(full)
		for range 3 {
			c.Event("team", "PUSH_ARTIFACT")
			time.Sleep(time.Minute)
		}
		if _, err := c.Series(t.Context(), lastMinutes(Events, 4)); !errors.Is(err, full) {
			t.Error(err)
		}
		m.Fail(nil)
		want(t, "before the next write", counts(t, c, lastMinutes(Events, 4)), "team PUSH_ARTIFACT 0:1 1:1 2:1")
		time.Sleep(time.Minute)
		want(t, "after it", counts(t, c, lastMinutes(Events, 5)), "team PUSH_ARTIFACT 0:1 1:1 2:1")
		want(t, "by hour", counts(t, c, lastHours(Events, 1)), "team PUSH_ARTIFACT 0:3")
		synctest.Wait()
		if rows := len(m.All()); rows != 4 || len(c.unwritten) != 0 {
			t.Errorf("%d rows, %d not written", rows, len(c.unwritten))
		}
		m.Fail(full)
		for range 400 {
			c.Event("team", "PUSH_ARTIFACT")
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if n := len(c.unwritten); n > 140 {
			t.Errorf("%d rows wait for the store", n)
		}
		m.Fail(nil)
		stop()
	})
}

// TestManyNames: beyond the bound, names are counted together.
func TestManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.MemoryRows{}
		c, stop := run(t, m, "one")
		const names, label = 3 * mostSeries, "PUSH_ARTIFACT"
		for i := range names {
			c.Event(fmt.Sprintf("project-%d", i), label)
			if i%1000 == 0 {
				time.Sleep(time.Minute)
			}
		}
		time.Sleep(2 * time.Minute)
		all := lastHours(Events, 1)
		all.Sum = true
		want(t, "all names", counts(t, c, all), fmt.Sprintf(" %s 0:%d", label, names))
		synctest.Wait()
		if len(c.hour.counts) > mostSeries+1 || len(c.cells) != 0 {
			t.Errorf("%d series in the hour, %d since", len(c.hour.counts), len(c.cells))
		}
		stop()
	})
}

func TestQueriesOutOfBounds(t *testing.T) {
	c := New(Options{Rows: &storetest.MemoryRows{}, Log: zap.NewNop()})
	for _, q := range []Query{{}, {Step: time.Minute}, {Step: time.Second, Steps: 1}, {Step: 90 * time.Minute, Steps: 1}, {Step: time.Hour, Steps: mostSteps + 1}, {Step: -time.Hour, Steps: 1}} {
		if lines, err := c.Series(t.Context(), q); err == nil {
			t.Errorf("%+v: %v", q, lines)
		}
	}
	if lines, err := c.Series(t.Context(), Query{Measure: Events, Step: time.Hour, Steps: 1}); err != nil || len(lines) != 0 { // in the year 1
		t.Error(lines, err)
	}
}

// TestDamagedRow: a damaged row is left out and logged.
func TestDamagedRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &storetest.MemoryRows{}
		core, logs := observer.New(zap.WarnLevel)
		c, stop := runWith(t, Options{Rows: m, Replica: "one", Log: zap.New(core)})
		c.Event("team", "PUSH_ARTIFACT")
		time.Sleep(time.Minute)
		id := rowID(time.Now().Unix()/60 - 1)
		damaged := store.Row{Key: store.Key{Kind: kindMinute, ID: id + "/two"}, Value: []byte{version, 1, 200}}
		if err := m.Update(t.Context(), nil, func(tx store.Tx) error { tx.Put(damaged); return nil }); err != nil {
			t.Fatal(err)
		}
		want(t, "beside a damaged row", counts(t, c, lastMinutes(Events, 2)), "team PUSH_ARTIFACT 0:1")
		if logs.Len() != 1 {
			t.Errorf("log %v", logs.All())
		}
		stop()
	})
}

// TestParallelCounts: counting in parallel with writes and queries loses no counts.
func TestParallelCounts(t *testing.T) {
	c := New(Options{Rows: &storetest.MemoryRows{}, Replica: "one", Log: zap.NewNop()})
	const each = 2000
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range each {
				c.Attempt(fmt.Sprintf("webhook-%d", i%7), "delivered", time.Millisecond)
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	query := func() int64 {
		var sum int64
		q := Query{Measure: Deliveries, From: time.Now().Add(-2 * time.Hour), Step: time.Hour, Steps: 4, Sum: true}
		lines, err := c.Series(t.Context(), q)
		if err != nil {
			t.Error(err)
		}
		for _, line := range lines {
			for _, p := range line.Points {
				sum += p.Count
			}
		}
		return sum
	}
	for last, running := int64(0), true; running; {
		if err := c.flush(t.Context(), time.Now().Truncate(time.Minute)); err != nil {
			t.Error(err)
		}
		sum := query()
		if sum < last {
			t.Errorf("%d counts after %d", sum, last)
		}
		last = sum
		select {
		case <-ended:
			running = false
		default:
		}
	}
	if sum := query(); sum != 4*each {
		t.Errorf("%d counts, want %d", sum, 4*each)
	}
}

// TestCountsInStores: both databases keep the counts over a restart. PostgreSQL adds those of two
// replicas.
func TestCountsInStores(t *testing.T) {
	dir := t.TempDir()
	address := ""
	if !testing.Short() {
		address = storetest.Database(t)
	}
	type openStore interface {
		CountRows
		Close() error
	}
	for name, open := range map[string]func(replica string) (openStore, error){
		"sqlite": func(string) (openStore, error) { return sqlite.Open(t.Context(), sqlite.Options{Dir: dir}) },
		"postgres": func(replica string) (openStore, error) {
			return postgres.Open(t.Context(), postgres.Options{URL: address, Replica: replica})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "postgres" && testing.Short() {
				t.Skip("starts PostgreSQL")
			}
			now := time.Now()
			for i := range 3 {
				replica := fmt.Sprint("replica-", i)
				s, err := open(replica)
				if err != nil {
					t.Fatal(err)
				}
				c := New(Options{Rows: s, Replica: replica, Log: zap.NewNop()})
				c.Event("team", "PUSH_ARTIFACT")
				if err := c.flush(t.Context(), now); err != nil {
					t.Error(err)
				}
				q := Query{Measure: Events, From: now, Step: time.Hour, Steps: 1}
				want(t, "by hour", counts(t, c, q), fmt.Sprintf("team PUSH_ARTIFACT 0:%d", i+1))
				q.Step = time.Minute
				want(t, "by minute", counts(t, c, q), fmt.Sprintf("team PUSH_ARTIFACT 0:%d", i+1))
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestEncoding(t *testing.T) {
	all := map[Series]Point{}
	for i := range 100 {
		p := Point{Count: rand.Int64N(1 << 40), In: int64(i), Posts: int64(i % 3), Latency: time.Duration(i)}
		p.Histogram[i%buckets] = int64(i)
		all[Series{Measure(1 + i%3), fmt.Sprint("name ", i), strings.Repeat("é", i)}] = p
	}
	got := map[Series]Point{}
	if err := decode(encode(all), func(s Series, p Point) { got[s] = p }); err != nil || !maps.Equal(got, all) {
		t.Errorf("%v, %d series of %d", err, len(got), len(all))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(map[Series]Point{{Deliveries, "ci", "delivered"}: {Count: 1, Posts: 1, Latency: 5, Histogram: [buckets]int64{1}}}))
	f.Add([]byte{version, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		read := map[Series]Point{}
		var order []Series
		err := decode(b, func(s Series, p Point) { read[s] = p; order = append(order, s) })
		if err != nil || len(order) != len(read) {
			return
		}
		again := map[Series]Point{}
		if err := decode(encode(read), func(s Series, p Point) { again[s] = p }); err != nil || !maps.Equal(again, read) {
			t.Errorf("%v: %v, %v", err, slices.Collect(maps.Keys(read)), slices.Collect(maps.Keys(again)))
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	c := New(Options{Rows: &storetest.MemoryRows{}, Log: zap.NewNop()})
	b.ReportAllocs()
	for b.Loop() {
		c.Event("team", "PULL_ARTIFACT")
	}
}
