package notify

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// BenchmarkDeliveries commits events for two of fifty webhooks on SQLite, while one webhook hangs.
// It reports deliveries per second, including the time of the commits.
func BenchmarkDeliveries(b *testing.B) {
	s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	out := NewOutbox(s, OutboxOptions{})
	d := NewDispatcher(s, out, DispatcherOptions{Grace: time.Second})
	var delivered atomic.Int64
	quick := &receiver{answer: func(context.Context, webhook.Message) webhook.Result {
		delivered.Add(1)
		return webhook.Result{Status: 200, Outcome: webhook.Delivered, Latency: time.Microsecond}
	}}
	var hooks []Webhook
	for i := range 50 {
		w := hookNamed(fmt.Sprint(i))
		w.Match.Projects = []string{fmt.Sprintf("team-%d", i), fmt.Sprintf("team-%d", (i+1)%50)}
		w.Poster = quick
		if i == 49 {
			w.Poster = &receiver{answer: hangs}
		}
		hooks = append(hooks, w)
	}
	set := compiled(b, hooks...)
	out.Configure(set)
	d.Configure(set)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()

	const producers = 64
	var next, wanted atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	begun := time.Now()
	for range producers {
		group.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				e := push(fmt.Sprintf("team-%d/app-%d", i%50, i%1000), "v1")
				for _, d := range set.Plan(&e) {
					if d.Webhook != "49" {
						wanted.Add(1)
					}
				}
				if err := out.Commit(ctx, e.Repository, commits(e)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "commits/s")
	for patience := 0; delivered.Load() < wanted.Load() && patience < 6000; patience++ {
		time.Sleep(5 * time.Millisecond)
	}
	b.ReportMetric(float64(delivered.Load())/time.Since(begun).Seconds(), "deliveries/s")
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// BenchmarkPushToPost measures the time from a commit to its POST in an idle dispatcher.
func BenchmarkPushToPost(b *testing.B) {
	s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	out := NewOutbox(s, OutboxOptions{})
	d := NewDispatcher(s, out, DispatcherOptions{})
	posted := make(chan time.Time, 1)
	w := hookNamed("w")
	w.Poster = &receiver{answer: func(context.Context, webhook.Message) webhook.Result {
		posted <- time.Now()
		return webhook.Result{Status: 200, Outcome: webhook.Delivered}
	}}
	set := compiled(b, w)
	out.Configure(set)
	d.Configure(set)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	var sum time.Duration
	for b.Loop() {
		e := push("team/app", "v1")
		var acknowledged time.Time
		if err := out.Commit(ctx, "x", func(detect.View) (detect.Changes, error) { return detect.Changes{Events: []detect.Event{e}}, nil }); err != nil {
			b.Fatal(err)
		}
		acknowledged = time.Now()
		sum += (<-posted).Sub(acknowledged)
	}
	b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "µs-after-ack")
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
