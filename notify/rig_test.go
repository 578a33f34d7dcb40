package notify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

type rig struct {
	t          *testing.T
	store      *replica
	outbox     *Outbox
	dispatcher *Dispatcher
	stop       func()
}

func newRig(t *testing.T, s *replica, hooks ...Webhook) *rig {
	t.Helper()
	return newRigWith(t, s, DispatcherOptions{Replica: s.id}, hooks...)
}

func newRigWith(t *testing.T, s *replica, o DispatcherOptions, hooks ...Webhook) *rig {
	t.Helper()
	r := &rig{t: t, store: s, outbox: NewOutbox(s, OutboxOptions{})}
	r.dispatcher = NewDispatcher(s, r.outbox, o)
	r.configure(hooks...)
	r.stop = r.run()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) run() func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.dispatcher.Run(ctx) }()
	synctest.Wait()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errDown) {
			r.t.Error(err)
		}
	})
}

func (r *rig) configure(hooks ...Webhook) {
	s := compiled(r.t, hooks...)
	r.outbox.Configure(s)
	r.dispatcher.Configure(s)
}

func (r *rig) commit(events ...detect.Event) {
	r.t.Helper()
	if err := r.outbox.Commit(r.t.Context(), "x", commits(events...)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) delivery(id int) store.Delivery {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return *r.store.deliveries[id-1]
}

func (r *rig) states() string {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	var out []string
	for _, d := range r.store.deliveries {
		out = append(out, [...]string{"pending", "delivered", "dead", "parked"}[d.State])
	}
	return strings.Join(out, " ")
}

type sink struct {
	mu       sync.Mutex
	got      []received
	answer   func(context.Context, webhook.Message) webhook.Result // nil: delivers
	inFlight int
	most     int
}

type received struct {
	id, body string
	at       time.Time
}

func (s *sink) Post(ctx context.Context, m webhook.Message) webhook.Result {
	s.mu.Lock()
	s.got = append(s.got, received{m.ID, string(m.Body), time.Now()})
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	answer := s.answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inFlight--
		s.mu.Unlock()
	}()
	if answer == nil {
		return ok200()
	}
	return answer(ctx, m)
}

func (s *sink) set(answer func(context.Context, webhook.Message) webhook.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func (s *sink) peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *sink) all() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func ok200() webhook.Result { return webhook.Result{Status: 200, Outcome: webhook.Delivered} }

func fails(status int, outcome webhook.Outcome, after time.Duration) func(context.Context, webhook.Message) webhook.Result {
	return func(context.Context, webhook.Message) webhook.Result {
		reason := webhook.Reason4xx
		if status >= 500 {
			reason = webhook.Reason5xx
		}
		return webhook.Result{Status: status, Outcome: outcome, Reason: reason, After: after, Response: []byte("no")}
	}
}

func hangs(ctx context.Context, _ webhook.Message) webhook.Result {
	<-ctx.Done()
	return webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonCanceled}
}

func to(name string, s Poster, change ...func(*Webhook)) Webhook {
	w := hookNamed(name)
	w.Poster = s
	for _, c := range change {
		c(&w)
	}
	return w
}
