package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
)

// pending measures how soon a bellbuoy that starts with a million pending deliveries answers its
// first push. Nothing listens at the URLs of its thousand webhooks.
func pending(s *stage, opts options) []row {
	webhooks, events := 1000, opts.scaled(1000)
	upstream, nobody := newMemory(s), free(s)
	var c strings.Builder
	fmt.Fprintf(&c, "log: {level: error}\nupstreams: [{type: registry, url: \"http://%s\"}]\nwebhooks:\n", upstream.address)
	for i := range webhooks {
		fmt.Fprintf(&c, "  - {name: h%d, url: \"http://%s/\"}\n", i, nobody)
	}
	b := startBuoy(s, c.String())
	_, err := pushing(b.Host, 1, func(int64) string { return "team/app" }).run(s.Context())
	s.must(err)
	s.until(time.Minute, "the first event", func() bool { return waiting(b) >= float64(webhooks) })
	s.must(b.Stop())
	began := time.Now()
	multiply(s, b.DataDir, events-1)
	s.Logf("%d deliveries wait; recording them took %v", webhooks*events, time.Since(began).Round(time.Millisecond))
	var took []time.Duration
	for i := range 3 {
		took = append(took, firstPush(s, b, i))
		b.Kill9()
	}
	b.Start()
	owed := webhooks * events
	if n := waiting(b); n < float64(owed) {
		s.Fatalf("only %.0f of %d deliveries are pending", n, owed)
	}
	middle := median(took, func(d time.Duration) time.Duration { return d })
	return []row{
		atMost(fmt.Sprintf("start with %d pending deliveries: first push answered after", owed), brief(middle), float64(middle), float64(time.Second), "1 s"),
		{work: fmt.Sprintf("with %d pending deliveries: RSS", owed), measured: mib(measure(b.Pid()).rss)},
	}
}

// waiting returns how many deliveries are pending, 0 while that is unknown.
func waiting(b buoy) float64 {
	n, err := metric(b.HealthURL, "bellbuoy_pending_deliveries")
	if err != nil {
		return 0
	}
	return n
}

// multiply records the only event of a store n times more, each time with its deliveries. Real
// pushes would take minutes.
func multiply(s *stage, dir string, n int) {
	st, err := sqlite.Open(s.Context(), sqlite.Options{Dir: dir})
	s.must(err)
	defer st.Close()
	events, err := st.Events(s.Context(), store.EventQuery{})
	s.must(err)
	if len(events) != 1 {
		s.Fatalf("%d events are stored, want the one", len(events))
	}
	deliveries, err := st.Deliveries(s.Context(), store.DeliveryQuery{Limit: 10_000})
	s.must(err)
	for done := 0; done < n; {
		chunk := min(10, n-done)
		s.must(st.Update(s.Context(), nil, func(tx store.Tx) error {
			for range chunk {
				event := events[0]
				event.ID, event.Seq = uuid.NewString(), 0
				tx.Append(event, anew(deliveries)...)
			}
			return nil
		}))
		done += chunk
	}
}

// anew returns the same deliveries, not yet attempted.
func anew(deliveries []store.Delivery) []store.Delivery {
	var fresh []store.Delivery
	for _, d := range deliveries {
		fresh = append(fresh, store.Delivery{Webhook: d.Webhook, Number: d.Number, TagKey: d.TagKey, RepoKey: d.RepoKey, NextAt: time.Now()})
	}
	return fresh
}

// firstPush starts bellbuoy and returns the time until a push is answered.
func firstPush(s *stage, b buoy, i int) time.Duration {
	began := time.Now()
	b.StartOnly()
	s.until(60*time.Second, "an answer", func() bool {
		l := pushing(b.Host, 1, func(int64) string { return fmt.Sprintf("team/start%d", i) })
		l.workers = 1
		_, err := l.run(s.Context())
		return err == nil
	})
	return time.Since(began)
}
