package manage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

var (
	ops   = access.Principal{Name: "ops", Administrator: true}
	dev   = access.Principal{Name: "dev", Projects: []string{"team*"}}
	guest = access.Principal{Name: "guest", Projects: []string{"other"}}
)

// rig is a desk with a real store and a log.
type rig struct {
	*Desk
	t      *testing.T
	store  *sqlite.Store
	outbox *notify.Outbox
	guard  webhook.GuardOptions
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) Sync() error { return nil }

func (b *syncBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

const noWebhooks = "upstreams:\n- {type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}\n"

// newRig returns a desk under a configuration. guard holds the rules of egress.
func newRig(t *testing.T, file string, guard webhook.GuardOptions) *rig {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, store: s, guard: guard, log: &syncBuffer{}}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), r.log, zap.InfoLevel))
	stored := notify.NewWebhooks(s)
	r.outbox = notify.NewOutbox(s, notify.OutboxOptions{Log: log})
	dispatcher := notify.NewDispatcher(s, r.outbox, notify.DispatcherOptions{Replica: "one", Webhooks: stored, Log: log})
	r.Desk = NewDesk(Parts{Stored: stored, Dispatcher: dispatcher, Numbers: notify.NewNumbers(s, log), Cursors: NewCursors(s), Log: log,
		Counters: counters.New(counters.Options{Rows: s, Replica: "one", Log: log}),
		Running:  NewRunning(stored, func(s *notify.Set) { r.outbox.Configure(s); dispatcher.Configure(s) }, log)})
	r.use(file)
	return r
}

// use applies a configuration, as a start or a reload does.
func (r *rig) use(file string) {
	r.t.Helper()
	c, _, err := config.Parse("bellbuoy.yaml", []byte(file), func(string) (string, bool) { return "", false })
	if err != nil {
		r.t.Fatal(err)
	}
	b := &Builder{Config: c, Guard: webhook.NewGuard(r.guard), Numbers: r.Numbers, UserAgent: "bellbuoy/test"}
	in := &Configuration{Enabled: true, Build: b.Stored}
	for i := range c.Webhooks {
		h, err := b.File(i)
		if err != nil {
			r.t.Fatal(err)
		}
		in.Hooks = append(in.Hooks, h)
	}
	if err := r.Running.Use(r.t.Context(), in); err != nil {
		r.t.Fatal(err)
	}
}

// made makes a webhook.
func (r *rig) made(by access.Principal, project string, def Definition) Webhook {
	r.t.Helper()
	w, err := r.Make(r.t.Context(), by, project, def)
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

func simple(name, url string) Definition { return Definition{Name: name, Enabled: true, URL: url} }

// receiver records the requests that it gets.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []*http.Request
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		r.mu.Lock()
		r.got = append(r.got, req)
		r.mu.Unlock()
		_, _ = io.WriteString(w, "thanks")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// fields returns the keys of an error's problems.
func fields(err error) string {
	problems, _ := errors.AsType[Problems](err)
	var all []string
	for _, p := range problems {
		all = append(all, p.Field)
	}
	return strings.Join(all, " ")
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var background = context.Background()
