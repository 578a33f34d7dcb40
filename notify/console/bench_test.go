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
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

const (
	keptEvents     = 100_000
	keptDeliveries = 1_000_000
	keptWebhooks   = 1_000
)

// BenchmarkPages makes pages over 1,000,000 deliveries to 1,000 webhooks. It reports the slowest.
func BenchmarkPages(b *testing.B) {
	c := keep(b)
	for _, path := range []string{"/webhooks", "/webhooks?page=20", "/webhooks?webhook=hook77", "/deliveries", "/deliveries?state=dead", "/deliveries?webhook=hook77",
		"/deliveries?repository=bellbuoy/ping", "/deliveries?type=DELETE_TAG", "/deliveries?from=1h", fmt.Sprint("/deliveries/", keptDeliveries/2)} {
		b.Run(path, func(b *testing.B) {
			var longest time.Duration
			for b.Loop() {
				begun := time.Now()
				w := httptest.NewRecorder()
				c.Handler().ServeHTTP(w, access.WithPrincipal(httptest.NewRequest("GET", path, nil), ops))
				if longest = max(longest, time.Since(begun)); w.Code != 200 || !strings.Contains(w.Body.String(), `href="/webhooks/`) {
					b.Fatal(w.Code, w.Body)
				}
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "slowest-ms")
		})
	}
}

// keep returns a console over a store with that many rows. They are written by statements of the
// database, because the store's own way would take minutes.
func keep(b *testing.B) *Console {
	b.Helper()
	s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	event, err := json.Marshal(format.Sample(detect.PushArtifact))
	if err != nil {
		b.Fatal(err)
	}
	first := time.Now().Add(-keptEvents * time.Second).UnixMicro()
	numbers := func(n int) string {
		return fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) n", n)
	}
	for _, sql := range []string{
		fmt.Sprintf("INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc) SELECT i, 'event' || i, CASE WHEN i %% 1000 = 0 THEN 'DELETE_TAG' ELSE 'PUSH_ARTIFACT' END,"+
			" %d + i * 1000000, 'registry', CASE WHEN i %% 500 = 7 THEN 'bellbuoy/ping' ELSE 'team/app' END, 0, 1, '%s', %d FROM %s", first, event, engine.Checksum(event), numbers(keptEvents)),
		fmt.Sprintf("INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
			" SELECT i, (i + 9) / 10, 'hook' || (i * 7919 %% %d), 1, 'registry/team/app:v1', 'registry/team/app', 0, 0, CASE WHEN (i / 7) %% 200 = 0 THEN 3 ELSE 2 END, 1, %d + (i + 9) / 10 * 1000000, 0, '', 200, %d, 0 FROM %s",
			keptWebhooks, first, first, numbers(keptDeliveries)),
		"DELETE FROM depths",
		"INSERT INTO depths (webhook, pending, dead, parked) SELECT webhook, 0, count(*), 0 FROM deliveries WHERE state = 3 GROUP BY webhook",
	} {
		if err := s.Alone(b.Context(), func(in engine.Session, _ *engine.Group) error { _, err := in.Exec(b.Context(), sql); return err }); err != nil {
			b.Fatal(err)
		}
	}
	file := "upstreams:\n- {type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}\nwebhooks:\n"
	for i := range keptWebhooks {
		file += fmt.Sprintf("- {name: hook%d, url: 'https://hook%d.example.com/'}\n", i, i)
	}
	return consoleOver(b, s, file)
}

// consoleOver returns a console as cmd makes it.
func consoleOver(b *testing.B, s *sqlite.Store, file string) *Console {
	b.Helper()
	log := zap.NewNop()
	stored := notify.NewWebhooks(s)
	outbox := notify.NewOutbox(s, notify.OutboxOptions{Log: log})
	dispatcher := notify.NewDispatcher(s, outbox, notify.DispatcherOptions{Replica: "one", Webhooks: stored, Log: log})
	d := &manage.Desk{Stored: stored, Dispatcher: dispatcher, Numbers: notify.NewNumbers(s, log), Cursors: manage.NewCursors(s), Log: log,
		Counters: counters.New(counters.Options{Rows: s, Replica: "one", Log: log}),
		Running:  manage.NewRunning(stored, func(s *notify.Set) { outbox.Configure(s); dispatcher.Configure(s) }, log)}
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
	return &Console{Logins: logins{}, Webhooks: d, Drafts: d, Deliveries: d, Log: zap.NewNop()}
}
