package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// outbox measures the store alone, on both engines: how many events become durable in a second, and
// how long one takes under that load, and while retention removes old events.
func outbox(s *stage, opts options) []row {
	rows := recording(s, opts, "SQLite", func(ctx context.Context) (eventStore, error) {
		return sqlite.Open(ctx, sqlite.Options{Dir: s.TempDir()})
	})
	server := harness.Postgres(s)
	return append(rows, recording(s, opts, "PostgreSQL", func(ctx context.Context) (eventStore, error) {
		return postgres.Open(ctx, postgres.Options{URL: server.Database(s, "bench"), Replica: "bench"})
	})...)
}

// eventStore is the part of a store that records events.
type eventStore interface {
	Update(context.Context, []string, func(store.Tx) error) error
	Purge(context.Context, store.Retention, []store.Trim, time.Time) (int, error)
	Close() error
}

func recording(s *stage, opts options, engine string, open func(context.Context) (eventStore, error)) []row {
	st, err := open(s.Context())
	s.must(err)
	defer st.Close()
	var rows []row
	for _, producers := range []int{1, 16, 256} {
		r := produce(s, st, producers, opts.time)
		rows = append(rows, row{work: fmt.Sprintf("store, %s: durable events/s of %d producers (p50, p99)", engine, producers),
			measured: fmt.Sprintf("%.0f (%s, %s)", r.rate(), brief(percentile(r.latency, 0.5)), brief(percentile(r.latency, 0.99)))})
	}
	purging, purged := context.WithCancel(s.Context())
	var removed atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		// All recorded events are unmatched and older than this retention.
		n, err := st.Purge(purging, store.Retention{Unmatched: time.Nanosecond}, nil, time.Now())
		if err != nil && purging.Err() == nil {
			s.Errorf("purging: %v", err)
		}
		removed.Store(int64(n))
	})
	r := produce(s, st, 16, opts.time)
	purged()
	wg.Wait()
	if removed.Load() == 0 {
		s.Errorf("retention removed nothing")
	}
	return append(rows, row{work: fmt.Sprintf("store, %s: the same of 16 producers during retention", engine),
		measured: fmt.Sprintf("%.0f (%s, %s)", r.rate(), brief(percentile(r.latency, 0.5)), brief(percentile(r.latency, 0.99)))})
}

// produce lets producers record events. Each waits until its event is durable before it records the
// next.
func produce(s *stage, st eventStore, producers int, long time.Duration) result {
	ctx, cancel := context.WithTimeout(s.Context(), long)
	defer cancel()
	var (
		wg    sync.WaitGroup
		lists = make([][]time.Duration, producers)
		errs  = make([]error, producers)
		start = time.Now()
		data  = newManifest(1)
	)
	for i := range producers {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				began := time.Now()
				errs[i] = st.Update(s.Context(), nil, func(tx store.Tx) error {
					tx.Append(store.Event{ID: uuid.NewString(), Type: "PUSH_ARTIFACT", At: began, Upstream: "registry", Repository: repository, Data: data})
					return nil
				})
				lists[i] = append(lists[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	s.must(errors.Join(errs...))
	r := result{took: time.Since(start), latency: slices.Concat(lists...)}
	r.requests = int64(len(r.latency))
	slices.Sort(r.latency)
	return r
}
