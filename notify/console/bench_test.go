package console

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
	"github.com/jackc/pgx/v5"
)

const (
	keptEvents     = 100_000
	keptDeliveries = 1_000_000
	keptWebhooks   = 1_000
)

// BenchmarkPages makes pages over 1,000,000 deliveries of 100,000 events to 1,000 webhooks, on both
// engines. It reports the slowest.
func BenchmarkPages(b *testing.B) {
	for name, keep := range map[string]func(*testing.B) *Console{"sqlite": keepInSQLite, "postgres": keepInPostgres} {
		b.Run(name, func(b *testing.B) {
			c := keep(b)
			for _, path := range pagesToMake(b, c) {
				b.Run(path, func(b *testing.B) { makePage(b, c, path) })
			}
		})
	}
}

// pagesToMake has every kind of page, with every filter.
func pagesToMake(b *testing.B, c *Console) []string {
	one, err := c.Webhooks.Find(b.Context(), ops, "hook77")
	if err != nil {
		b.Fatal(err)
	}
	return []string{"/", "/?span=day", "/webhooks", "/webhooks?page=20", "/webhooks?webhook=hook77", fmt.Sprint("/webhooks/", one.Number), "/webhooks/new",
		"/deliveries", "/deliveries?state=dead", "/deliveries?webhook=hook77", "/deliveries?webhook=hook77&state=dead", "/deliveries?repository=bellbuoy/ping",
		"/deliveries?project=bellbuoy", "/deliveries?type=DELETE_TAG", "/deliveries?from=1h", "/deliveries?to=20h", fmt.Sprint("/deliveries/", keptDeliveries/2),
		"/events", "/events?type=DELETE_TAG", "/events?project=bellbuoy", "/events?repository=bellbuoy/*", "/events?tag=none", "/events?operator=nobody",
		"/events?from=1h", "/events?to=20h", "/events/event50000"}
}

func makePage(b *testing.B, c *Console, path string) {
	var longest time.Duration
	for b.Loop() {
		c.newest, c.plots = eventReads{}, plotReads{} // nobody else has just looked
		begun := time.Now()
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, access.WithPrincipal(httptest.NewRequest("GET", path, nil), ops))
		if longest = max(longest, time.Since(begun)); w.Code != 200 || !strings.Contains(w.Body.String(), "</html>") {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(longest.Microseconds())/1000, "slowest-ms")
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, access.WithPrincipal(httptest.NewRequest("GET", path, nil), ops))
	b.ReportMetric(float64(strings.Count(w.Body.String(), "<tr>")), "rows")
}

func keepInSQLite(b *testing.B) *Console {
	s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	numbers := func(n int) string {
		return fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) n", n)
	}
	for _, sql := range rowsToKeep(b, numbers, "'%s'") {
		if err := s.Alone(b.Context(), func(in engine.Session, _ *engine.Group) error { _, err := in.Exec(b.Context(), sql); return err }); err != nil {
			b.Fatal(err)
		}
	}
	return consoleOver(b, s)
}

func keepInPostgres(b *testing.B) *Console {
	address := storetest.Database(b)
	s, err := postgres.Open(b.Context(), postgres.Options{URL: address, Replica: "one"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	db, err := pgx.Connect(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close(b.Context())
	numbers := func(n int) string { return fmt.Sprintf("generate_series(1::bigint, %d) AS n(i)", n) }
	for _, sql := range append(rowsToKeep(b, numbers, "convert_to('%s', 'UTF8')"), fmt.Sprintf("SELECT setval('event_seq', %d), setval('delivery_id', %d)", keptEvents, keptDeliveries), "ANALYZE") {
		if _, err := db.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	return consoleOver(b, s)
}

// rowsToKeep are statements of the database that write the rows, because the store's own way would
// take minutes. numbers counts to n in rows; blob makes bytes of a text.
func rowsToKeep(b *testing.B, numbers func(n int) string, blob string) []string {
	event, err := json.Marshal(format.Sample(detect.PushArtifact))
	if err != nil {
		b.Fatal(err)
	}
	first := time.Now().Add(-keptEvents * time.Second).UnixMicro()
	return []string{
		fmt.Sprintf("INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc) SELECT i, 'event' || i, CASE WHEN i %% 1000 = 0 THEN 'DELETE_TAG' ELSE 'PUSH_ARTIFACT' END,"+
			" %d + i * 1000000, 'registry', CASE WHEN i %% 500 = 7 THEN 'bellbuoy/ping' ELSE 'team/app' END, 0, 1, "+blob+", %d FROM %s", first, event, engine.Checksum(event), numbers(keptEvents)),
		fmt.Sprintf("INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
			" SELECT i, (i + 9) / 10, 'hook' || (i * 7919 %% %d), 1, 'registry/team/app:v1', 'registry/team/app', 0, 0, CASE WHEN (i / 7) %% 200 = 0 THEN 3 ELSE 2 END, 1, %d + (i + 9) / 10 * 1000000, 0, '', 200, %d, 0 FROM %s",
			keptWebhooks, first, first, numbers(keptDeliveries)),
		"DELETE FROM depths",
		"INSERT INTO depths (webhook, pending, dead, parked) SELECT webhook, 0, count(*), 0 FROM deliveries WHERE state = 3 GROUP BY webhook",
	}
}

// benchedStore is what the parts of a console need of an engine.
type benchedStore interface {
	notify.Store
	counters.CountRows
}

// consoleOver returns a console as cmd makes it.
func consoleOver(b *testing.B, s benchedStore) *Console {
	b.Helper()
	file := "upstreams:\n- {type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}\nwebhooks:\n"
	for i := range keptWebhooks {
		file += fmt.Sprintf("- {name: hook%d, url: 'https://hook%d.example.com/'}\n", i, i)
	}
	log := zap.NewNop()
	stored := notify.NewWebhooks(s)
	outbox := notify.NewOutbox(s, notify.OutboxOptions{Log: log})
	dispatcher := notify.NewDispatcher(s, outbox, notify.DispatcherOptions{Replica: "one", Webhooks: stored, Log: log})
	d := manage.NewDesk(manage.Parts{Stored: stored, Dispatcher: dispatcher, Numbers: notify.NewNumbers(s, log), Cursors: manage.NewCursors(s), Log: log,
		Counters: counters.New(counters.Options{Rows: s, Replica: "one", Log: log}),
		Running:  manage.NewRunning(stored, func(s *notify.Set) { outbox.Configure(s); dispatcher.Configure(s) }, log)})
	c, _, err := config.Parse("bellbuoy.yaml", []byte(file), func(string) (string, bool) { return "", false })
	if err != nil {
		b.Fatal(err)
	}
	build := &manage.Builder{Config: c, Guard: webhook.NewGuard(webhook.GuardOptions{}), Numbers: d.Numbers, UserAgent: "bellbuoy/test"}
	in := &manage.Configuration{Enabled: true, Build: build.Stored}
	for i := range c.Webhooks {
		h, err := build.File(i)
		if err != nil {
			b.Fatal(err)
		}
		in.Hooks = append(in.Hooks, h)
	}
	if err := d.Running.Use(b.Context(), in); err != nil {
		b.Fatal(err)
	}
	return &Console{Logins: logins{}, Webhooks: d, Drafts: d, Deliveries: d, Events: d, Counts: d, Projects: samplePast(), Log: zap.NewNop()}
}
