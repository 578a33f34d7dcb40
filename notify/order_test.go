package notify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func TestHangingReceiverDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := &sink{answer: hangs}, &sink{}
		r := newRig(t, newStore(t), to("hangs", slow), to("quick", quick))
		defer r.stop()
		for i := range 500 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		synctest.Wait()
		if slow.count() != 8 || quick.count() != 500 {
			t.Errorf("%d posts hang, %d went through", slow.count(), quick.count())
		}
	})
}

func TestConcurrencyAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wide := &sink{answer: func(context.Context, webhook.Message) webhook.Result { time.Sleep(time.Second); return ok200() }}
		rated := &sink{}
		r := newRig(t, newStore(t), to("wide", wide, func(w *Webhook) { w.Concurrency = 3 }),
			to("rated", rated, func(w *Webhook) { w.RateLimit = rate.Every(2 * time.Second) }))
		defer r.stop()
		for i := range 30 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		time.Sleep(11 * time.Second)
		if wide.peak() != 3 || wide.count() != 30 {
			t.Errorf("%d in flight, %d posts", wide.peak(), wide.count())
		}
		if n := rated.count(); n != 6 {
			t.Errorf("%d posts in 11 s at one each two", n)
		}
		time.Sleep(time.Minute)
		if rated.count() != 30 {
			t.Errorf("%d posts at last", rated.count())
		}
	})
}

func TestOrder(t *testing.T) {
	for i := range 6 {
		order, hands := store.Order(i/2), i%2 == 1
		t.Run(fmt.Sprint(order, hands), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				checked := &ordered{t: t, order: order, flying: map[string]bool{}, last: map[string]string{}}
				s := newStore(t)
				s.wakesCarry = hands
				r := newRig(t, s, to("w", checked, func(w *Webhook) {
					w.Order = order
					w.Retry = slices.Repeat([]time.Duration{0}, 1)
					for range 60 {
						w.Retry = append(w.Retry, time.Minute)
					}
				}))
				defer r.stop()
				for i := range 400 {
					r.commit(push(fmt.Sprint("a/", i%7), fmt.Sprint("t", i%3)))
					if i%50 == 0 {
						time.Sleep(time.Second)
					}
				}
				time.Sleep(100 * time.Hour)
				checked.mu.Lock()
				defer checked.mu.Unlock()
				if want := 400; checked.delivered != want || strings.Contains(r.states(), "pending") {
					t.Errorf("%d delivered", checked.delivered)
				}
				if order == store.Unordered && checked.most < 8 {
					t.Errorf("only %d in flight", checked.most)
				}
			})
		})
	}
}

type ordered struct {
	t         *testing.T
	order     store.Order
	mu        sync.Mutex
	flying    map[string]bool
	last      map[string]string // id delivered last, of each key
	failed    map[string]bool
	delivered int
	most, now int
}

func (o *ordered) Post(_ context.Context, m webhook.Message) webhook.Result {
	key := strings.Fields(string(m.Body))[1]
	if o.order == store.ByRepository {
		key, _, _ = strings.Cut(key, ":")
	}
	o.mu.Lock()
	o.now++
	o.most = max(o.most, o.now)
	if o.order != store.Unordered && o.flying[key] {
		o.t.Errorf("two in flight of %s", key)
	}
	o.flying[key] = true
	o.mu.Unlock()
	time.Sleep(rand.N(2 * time.Second))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now--
	o.flying[key] = false
	if rand.N(10) == 0 {
		if o.failed == nil {
			o.failed = map[string]bool{}
		}
		o.failed[m.ID] = true
		return webhook.Result{Status: 500, Outcome: webhook.Retry, Reason: webhook.Reason5xx}
	}
	if o.order == store.ByRepository && m.ID < o.last[key] {
		o.t.Errorf("%s delivered after %s", m.ID, o.last[key])
	}
	if o.order == store.ByTag && m.ID < o.last[key] && !o.failed[m.ID] {
		o.t.Errorf("%s delivered after %s although it never failed", m.ID, o.last[key])
	}
	o.last[key] = max(m.ID, o.last[key])
	o.delivered++
	return ok200()
}

func TestOvertaken(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: fails(500, webhook.Retry, 0)}
				r := newRig(t, newStore(t), to("w", s, func(w *Webhook) {
					w.DropOvertaken = drop
					w.Events = []string{"*"}
				}))
				defer r.stop()
				r.commit(push("a/b", "latest"))
				pulled := with(push("a/b", "latest"), func(e *detect.Event) { e.Type = detect.PullArtifact })
				r.commit(pulled)
				synctest.Wait()
				s.set(nil)
				r.commit(push("a/b", "latest"))
				r.commit(push("a/b", "other"))
				time.Sleep(time.Minute)
				want, reason := "delivered delivered delivered delivered", ""
				if drop {
					want, reason = "dead delivered delivered delivered", ReasonSuperseded
				}
				if r.states() != want || r.delivery(1).Reason != reason {
					t.Errorf("%s, %+v", r.states(), r.delivery(1))
				}
			})
		})
	}
}

func TestPullOvertakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.DropOvertaken, w.Events = true, []string{"*"} }))
		defer r.stop()
		r.commit(push("a/b", "latest"))
		synctest.Wait()
		s.set(nil)
		r.commit(with(push("a/b", "latest"), func(e *detect.Event) { e.Type = detect.PullArtifact }))
		time.Sleep(time.Minute)
		if r.states() != "delivered delivered" {
			t.Error(r.states())
		}
	})
}
