package store_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// engineNames in the order in which benchmarks run.
var engineNames = []string{"sqlite", "postgres"}

func benchWorld(b *testing.B, engine string) *storetest.World {
	b.Helper()
	if engine == "sqlite" {
		return sqliteWorld(b, b.TempDir())
	}
	return postgresWorld(b, storetest.Database(b), "bench")
}

// produce has n goroutines call update b.N times in all, and reports the rate and latencies.
func produce(b *testing.B, n int, update func(i int64) error) {
	var next atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu := processorTime()
	for range n {
		wg.Go(func() {
			var own []time.Duration
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				t := time.Now()
				if err := update(i); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(t))
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
	b.ReportMetric(float64((processorTime()-cpu).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
	latencies(b, all)
}

// processorTime is what this process has used, which a busy machine changes less than the clock.
// PostgreSQL's is not in it.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func latencies(b *testing.B, all []time.Duration) {
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkUpdate: one event of 1 KiB and one pending delivery, durable.
func BenchmarkUpdate(b *testing.B) {
	for _, engine := range engineNames {
		for _, n := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", engine, n), func(b *testing.B) {
				w := benchWorld(b, engine)
				produce(b, n, func(i int64) error {
					return w.Update(ctx, nil, func(tx store.Tx) error {
						tx.Append(store.Event{ID: fmt.Sprint("event", i), Type: "PUSH", At: time.Now(), Upstream: "registry", Repository: fmt.Sprint("team/app", i%100), Data: storetest.Kilobyte},
							store.Delivery{Webhook: fmt.Sprint("hook", i%50), TagKey: fmt.Sprint("registry/team/app", i%100, ":", i%7), RepoKey: fmt.Sprint("registry/team/app", i%100)})
						return nil
					})
				})
			})
		}
	}
}

// BenchmarkPush: what a push costs: its intent; then six rows read and written, one event, two
// deliveries.
func BenchmarkPush(b *testing.B) {
	for _, engine := range engineNames {
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", engine, n), func(b *testing.B) {
				w := benchWorld(b, engine)
				produce(b, n, func(i int64) error { return push(w, i) })
			})
		}
	}
}

func push(w *storetest.World, i int64) error {
	intent := store.Key{Kind: "intent", ID: fmt.Sprint(i)}
	err := w.Update(ctx, nil, func(tx store.Tx) error { tx.Put(store.Row{Key: intent, Value: storetest.Kilobyte[:300]}); return nil })
	if err != nil {
		return err
	}
	repo := fmt.Sprint("registry/team/app", i%100)
	return w.Update(ctx, []string{repo}, func(tx store.Tx) error {
		for _, kind := range []string{"tag", "digest", "held", "client", "quota", "seen"} {
			k := store.Key{Kind: kind, ID: fmt.Sprint(repo, i%1000)}
			if _, _, err := tx.Get(k); err != nil {
				return err
			}
			tx.Put(store.Row{Key: k, Value: storetest.Kilobyte[:200], Seen: time.Now()})
		}
		tx.Delete(intent)
		tx.Append(store.Event{ID: fmt.Sprint("event", i), Type: "PUSH", At: time.Now(), Upstream: "registry", Repository: repo, Data: storetest.Kilobyte},
			store.Delivery{Webhook: fmt.Sprint("hook", i%50), TagKey: fmt.Sprint(repo, ":", i%7), RepoKey: repo}, store.Delivery{Webhook: fmt.Sprint("hook", (i+1)%50), TagKey: fmt.Sprint(repo, ":", i%7), RepoKey: repo})
		return nil
	})
}

// BenchmarkPull: transient events without deliveries, each by an Update of its own.
func BenchmarkPull(b *testing.B) {
	for _, engine := range engineNames {
		b.Run(engine, func(b *testing.B) {
			w := benchWorld(b, engine)
			produce(b, 256, func(i int64) error {
				return w.Update(ctx, nil, func(tx store.Tx) error {
					tx.Append(store.Event{ID: fmt.Sprint("event", i), Type: "PULL", At: time.Now(), Upstream: "registry", Repository: "team/app", Data: storetest.Kilobyte[:600], Transient: true})
					return nil
				})
			})
		})
	}
}

// BenchmarkPullBatch: the same, a hundred in each Update, counted by event.
func BenchmarkPullBatch(b *testing.B) {
	for _, engine := range engineNames {
		b.Run(engine, func(b *testing.B) {
			w := benchWorld(b, engine)
			b.ResetTimer()
			for i := 0; i < b.N; i += 100 {
				err := w.Update(ctx, nil, func(tx store.Tx) error {
					for j := range 100 {
						tx.Append(store.Event{ID: fmt.Sprint("event", i+j), Type: "PULL", At: time.Now(), Upstream: "registry", Repository: "team/app", Data: storetest.Kilobyte[:600], Transient: true})
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFinish: lanes that finish eight deliveries at a time, with payload and attempt; counted
// by delivery.
func BenchmarkFinish(b *testing.B) {
	for _, engine := range engineNames {
		for _, lanes := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/%d", engine, lanes), func(b *testing.B) {
				w := benchWorld(b, engine)
				hooks, epochs := fillLanes(b, w, lanes, b.N/lanes+1)
				b.ResetTimer()
				var wg sync.WaitGroup
				for _, hook := range hooks {
					wg.Go(func() { drain(b, w, hook, epochs[hook]) })
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
			})
		}
	}
}

func fillLanes(b *testing.B, w *storetest.World, lanes, each int) (hooks []string, epochs map[string]int64) {
	b.Helper()
	epochs = make(map[string]int64)
	for i := range lanes {
		hooks = append(hooks, fmt.Sprint("hook", i))
	}
	leased, err := w.Lease(ctx, hooks, time.Hour, 0)
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range leased {
		epochs[l.Webhook] = l.Epoch
	}
	for i := 0; i < each; i += 100 {
		err := w.Update(ctx, nil, func(tx store.Tx) error {
			for j := i; j < min(i+100, each); j++ {
				var ds []store.Delivery
				for _, h := range hooks {
					ds = append(ds, store.Delivery{Webhook: h, TagKey: fmt.Sprint("r:", j%1000), RepoKey: "r"})
				}
				tx.Append(store.Event{ID: fmt.Sprint("e", j), Type: "PUSH", At: time.Now(), Repository: "r", Data: storetest.Kilobyte}, ds...)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return hooks, epochs
}

func drain(b *testing.B, w *storetest.World, hook string, epoch int64) {
	for {
		ds, _, err := w.DueDeliveries(ctx, store.DueQuery{Webhook: hook, Now: time.Now(), Limit: 8})
		if err != nil {
			b.Error(err)
		}
		if len(ds) == 0 {
			return
		}
		var outcomes []store.Outcome
		for _, d := range ds {
			outcomes = append(outcomes, store.Outcome{DeliveryID: d.ID, Webhook: hook, Epoch: epoch, State: store.Delivered, Status: 200, Burnt: true,
				Payload: &store.Payload{ContentType: "application/json", Body: storetest.Kilobyte}, Attempt: &store.Attempt{DeliveryID: d.ID, At: time.Now(), Status: 200, Response: []byte("ok")}})
		}
		if err := w.Finish(ctx, outcomes); err != nil {
			b.Error(err)
			return
		}
	}
}

// million fills a store with pending deliveries of hook0, without the writer's help.
func million(b *testing.B, w *storetest.World, tags int) {
	b.Helper()
	w.Write(b, func(tx store.Tx) {
		tx.Append(store.Event{ID: "e", Type: "PUSH", At: time.Now(), Repository: "r", Data: storetest.Kilobyte})
	})
	const step = 50_000
	for from := 0; from < pendingRows; from += step {
		err := w.Core.Alone(ctx, func(s engine.Session, g *engine.Group) error {
			_, err := s.Exec(ctx, "INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
				" WITH RECURSIVE n(i) AS (SELECT CAST($1 AS BIGINT) + 1 UNION ALL SELECT i + 1 FROM n WHERE i < $4)"+
				" SELECT i, (SELECT min(seq) FROM events), 'hook0', 0, 'r:tag' || (i % $2), 'r' || (i % 100), 1 + (i % $2) * 1000003 % 1000000007, 1 + i % 100, 0, 0, $3, 0, '', 0, 0, 0 FROM n",
				int64(from), int64(tags), engine.Micros(time.Now()), int64(from+step))
			g.Depth("hook0").Pending += step
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

const pendingRows = 1_000_000

// BenchmarkBacklog: a million pending deliveries of one webhook, of one tag and of as many tags;
// opening, and the first hundred that are due.
func BenchmarkBacklog(b *testing.B) {
	for _, tags := range []int{1, pendingRows} {
		b.Run(fmt.Sprintf("sqlite/%dtags", tags), func(b *testing.B) {
			dir := b.TempDir()
			w := sqliteWorld(b, dir)
			million(b, w, tags)
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			w = sqliteWorld(b, dir)
			b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "open-ms")
			backlog(b, w)
		})
		b.Run(fmt.Sprintf("postgres/%dtags", tags), func(b *testing.B) {
			w := benchWorld(b, "postgres")
			million(b, w, tags)
			if _, err := w.SQL(b, "ANALYZE deliveries"); err != nil { // as autovacuum does within a minute
				b.Fatal(err)
			}
			backlog(b, w)
		})
	}
}

func backlog(b *testing.B, s *storetest.World) {
	began := time.Now()
	if _, err := s.Depths(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "depths-ms")
	for _, q := range []struct {
		name string
		store.DueQuery
	}{{"tag", store.DueQuery{Order: store.ByTag}}, {"repo", store.DueQuery{Order: store.ByRepository}}, {"none", store.DueQuery{Order: store.Unordered}},
		{"busy", store.DueQuery{Order: store.ByTag, Busy: map[string]bool{"r:tag0": true}}}} {
		q.Webhook, q.Limit, q.Now = "hook0", 100, time.Now()
		n := 0
		began := time.Now()
		for range max(b.N, 1) {
			ds, _, err := s.DueDeliveries(ctx, q.DueQuery)
			if err != nil {
				b.Fatal(err)
			}
			n = len(ds)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000/float64(max(b.N, 1)), q.name+"-ms")
		b.ReportMetric(float64(n), q.name+"-found")
	}
}

// BenchmarkUpdateDuringPurge: the latency of an Update while retention removes 100,000 deliveries.
func BenchmarkUpdateDuringPurge(b *testing.B) {
	for _, engine := range engineNames {
		b.Run(engine, func(b *testing.B) {
			w := benchWorld(b, engine)
			hooks, epochs := fillLanes(b, w, 10, 2000)
			var wg sync.WaitGroup
			for _, h := range hooks {
				wg.Go(func() { drain(b, w, h, epochs[h]) })
			}
			wg.Wait()
			purging, cancel := context.WithCancel(ctx)
			removed := make(chan int)
			go func() {
				began := time.Now()
				n, _ := w.Purge(purging, store.Retention{Delivered: time.Minute}, nil, time.Now().Add(time.Hour))
				b.ReportMetric(float64(n)/time.Since(began).Seconds(), "purged/s")
				removed <- n
			}()
			var all []time.Duration
			b.ResetTimer()
			for n := 0; n == 0; {
				select {
				case n = <-removed:
					b.ReportMetric(float64(n), "purged")
				default:
					t := time.Now()
					w.Update(ctx, nil, func(tx store.Tx) error {
						tx.Append(store.Event{ID: fmt.Sprint("new", len(all)), Type: "PUSH", At: t, Data: storetest.Kilobyte}, store.Delivery{Webhook: "x"})
						return nil
					})
					all = append(all, time.Since(t))
				}
			}
			cancel()
			latencies(b, all)
		})
	}
}
