package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

const (
	keptEvents     = 100_000
	keptDeliveries = 1_000_000
	keptWebhooks   = 1_000
)

// keep fills a store with 1,000,000 deliveries of 100,000 events to 1,000 webhooks, at one event a
// second. One delivery in 200 is dead. The statements are those of the database, because the
// store's own way would take minutes.
func keep(b *testing.B, w *storetest.World) {
	b.Helper()
	first := time.Now().Add(-keptEvents * time.Second).UnixMicro()
	numbers := func(n int) string {
		if w.IsFile {
			return fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) n", n)
		}
		return fmt.Sprintf("generate_series(1, %d) AS n(i)", n)
	}
	statements := []string{
		fmt.Sprintf("INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc) SELECT i, 'event' || i, CASE WHEN i %% 1000 = 0 THEN 'DELETE_TAG' ELSE 'PUSH_ARTIFACT' END,"+
			" %d + i * CAST(1000000 AS BIGINT), 'registry', 'team' || (i %% 100) || '/app' || (i %% 500), 0, 1, '0123456789012345678901234567890123456789', 0 FROM %s", first, numbers(keptEvents)),
		fmt.Sprintf("INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
			" SELECT i, (i + 9) / 10, 'hook' || (i * CAST(7919 AS BIGINT) %% %d), 1, 'registry/team/app:v1', 'registry/team/app', 0, 0, CASE WHEN (i / 7) %% 200 = 0 THEN 3 ELSE 2 END, 1, %d + (i + 9) / 10 * CAST(1000000 AS BIGINT), 0, '', 200, %d, 0 FROM %s",
			keptWebhooks, first, first, numbers(keptDeliveries)),
		"DELETE FROM depths",
		"INSERT INTO depths (webhook, pending, dead, parked) SELECT webhook, 0, count(*), 0 FROM deliveries WHERE state = 3 GROUP BY webhook",
	}
	if !w.IsFile {
		statements = append(statements, fmt.Sprintf("SELECT setval('event_seq', %d)", keptEvents), "ANALYZE")
	}
	for _, sql := range statements {
		if _, err := w.SQL(b, sql); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSearch is a page of 50 deliveries, or of 50 events, out of many. It reports the slowest.
func BenchmarkSearch(b *testing.B) {
	few := make([]string, 10) // of a limited account
	for i := range few {
		few[i] = fmt.Sprint("hook", i*97)
	}
	many := make([]string, 500)
	for i := range many {
		many[i] = fmt.Sprint("hook", i*2)
	}
	day := time.Now().Add(-24 * time.Hour)
	searches := []struct {
		name string
		q    store.DeliverySearch
	}{
		{"all", store.DeliverySearch{}},
		{"far back", store.DeliverySearch{BeforeID: keptDeliveries / 2}},
		{"ten webhooks", store.DeliverySearch{Webhooks: few}},
		{"500 webhooks", store.DeliverySearch{Webhooks: many}},
		{"no such webhook", store.DeliverySearch{Webhooks: []string{"none"}}},
		{"dead", store.DeliverySearch{States: []store.State{store.Dead}}},
		{"dead of ten", store.DeliverySearch{States: []store.State{store.Dead}, Webhooks: few}},
		{"dead of 500", store.DeliverySearch{States: []store.State{store.Dead}, Webhooks: many}},
		{"pending", store.DeliverySearch{States: []store.State{store.Pending}}},
		{"a rare type", store.DeliverySearch{Types: []string{"DELETE_TAG"}}},
		{"no such type", store.DeliverySearch{Types: []string{"NONE"}}},
		{"a repository", store.DeliverySearch{Repositories: []string{"team7/app7"}}},
		{"no such repository", store.DeliverySearch{Repositories: []string{"none/app"}}},
		{"a project of ten", store.DeliverySearch{Projects: []string{"team7"}, Webhooks: few}},
		{"until a day ago", store.DeliverySearch{Until: day, Webhooks: few}},
		{"nothing of ten since", store.DeliverySearch{Types: []string{"NONE"}, Since: day, Webhooks: few}},
	}
	events := []struct {
		name string
		q    store.EventSearch
	}{
		{"events", store.EventSearch{}},
		{"events of a project", store.EventSearch{Projects: []string{"team7"}}},
		{"events of no project", store.EventSearch{Projects: []string{"none"}}},
		{"events of a rare type", store.EventSearch{Types: []string{"DELETE_TAG"}}},
		{"events until", store.EventSearch{Until: time.Now().Add(-20 * time.Hour), Projects: []string{"none"}}},
	}
	for _, engine := range engineNames {
		b.Run(engine, func(b *testing.B) {
			w := benchWorld(b, engine)
			keep(b, w)
			for _, s := range searches {
				s.q.Limit = 50
				b.Run(s.name, func(b *testing.B) {
					slowest(b, func() (int, error) {
						page, err := w.SearchDeliveries(ctx, s.q)
						return len(page.Deliveries), err
					})
				})
			}
			for _, s := range events {
				s.q.Limit = 50
				b.Run(s.name, func(b *testing.B) {
					slowest(b, func() (int, error) {
						page, err := w.SearchEvents(ctx, s.q)
						return len(page.Events), err
					})
				})
			}
		})
	}
}

// slowest reports the slowest of b.N runs, and how many rows the last one found.
func slowest(b *testing.B, run func() (int, error)) {
	var longest time.Duration
	found := 0
	for b.Loop() {
		begun := time.Now()
		n, err := run()
		if err != nil {
			b.Fatal(err)
		}
		longest, found = max(longest, time.Since(begun)), n
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "slowest-ms")
	b.ReportMetric(float64(found), "rows")
}
