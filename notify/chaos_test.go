package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// TestChaos kills and restarts replicas while the store and the receivers fail from time to time.
// Every committed event must arrive, with the same id and bytes each time. The fake store checks
// that its callers keep to its contract.
func TestChaos(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, n) })
		})
	}
}

func chaos(t *testing.T, n int) {
	m := newMemory(t)
	witness := &witness{bodies: map[string]map[string]bool{}, delivered: map[string]int{}}
	hooks := []Webhook{
		to("tag", witness.of("tag")),
		to("whole", witness.of("whole"), func(w *Webhook) { w.Format = plain{} }),
		to("repository", witness.of("repository")),
	}
	hooks[2].Order = store.ByRepository
	for i := range hooks {
		hooks[i].Retry = append([]time.Duration{0}, slices.Repeat([]time.Duration{time.Minute}, 60)...)
	}
	replicas := make([]*rig, n)
	born := 0
	start := func(i int) {
		born++
		id := fmt.Sprint("replica-", born)
		replicas[i] = newRigWith(t, m.replica(id), shared(id), hooks...)
	}
	for i := range replicas {
		start(i)
	}
	var want []string
	for i := range 600 {
		switch r := replicas[rand.N(n)]; rand.N(40) {
		case 0:
			m.mu.Lock()
			r.store.down = true
			m.mu.Unlock()
			go r.stop() // its POSTs end, and their outcomes are lost
			start(slices.Index(replicas, r))
		case 1:
			m.setRefuse(errors.New("disk full"))
		case 2, 3:
			m.setRefuse(nil)
		default:
			e := push(fmt.Sprint("a/", i%11), fmt.Sprint("t", i%4))
			if r.outbox.Commit(t.Context(), "x", commits(e)) == nil {
				want = append(want, e.ID)
			}
		}
		time.Sleep(rand.N(20 * time.Second))
	}
	m.setRefuse(nil)
	time.Sleep(6 * time.Hour)
	if len(want) < 100 {
		t.Fatalf("only %d events", len(want))
	}
	witness.check(t, want)
	if s := replicas[0].states(); strings.Contains(s, "pending") || strings.Contains(s, "dead") {
		t.Errorf("left over: %s", s)
	}
	t.Logf("%d events, %d replicas in all, %d repeated posts", len(want), born, witness.repeated())
	for _, r := range replicas {
		r.stop()
	}
}

// witness records the messages that arrive.
type witness struct {
	mu        sync.Mutex
	bodies    map[string]map[string]bool // by webhook and id
	delivered map[string]int
}

func (w *witness) of(name string) Poster {
	return &receiver{answer: func(_ context.Context, m webhook.Message) webhook.Result {
		time.Sleep(rand.N(3 * time.Second))
		w.mu.Lock()
		defer w.mu.Unlock()
		key := name + " " + m.ID
		if w.bodies[key] == nil {
			w.bodies[key] = map[string]bool{}
		}
		w.bodies[key][string(m.Body)] = true
		if rand.N(4) == 0 {
			return webhook.Result{Status: 503, Outcome: webhook.Retry, Reason: webhook.Reason5xx}
		}
		w.delivered[key]++
		return ok200()
	}}
}

func (w *witness) check(t *testing.T, want []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range want {
		for _, key := range []string{"tag " + id + "_1", "whole " + id, "repository " + id + "_1"} {
			if w.delivered[key] == 0 {
				t.Errorf("%s never arrived", key)
			}
			if len(w.bodies[key]) > 1 {
				t.Errorf("%s arrived as %v", key, w.bodies[key])
			}
		}
	}
}

func (w *witness) repeated() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, times := range w.delivered {
		n += times - 1
	}
	return n
}

// TestHangingKeyBlocksNoOther: while the deliveries of one tag hang, those of other tags are sent.
func TestHangingKeyBlocksNoOther(t *testing.T) {
	for name, backlog := range map[string]int{"all in memory": 0, "the store selects": 3 * laneAhead} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: func(ctx context.Context, m webhook.Message) webhook.Result {
					if strings.Contains(string(m.Body), "stuck") {
						return hangs(ctx, m)
					}
					return ok200()
				}}
				r := newRigWith(t, newStore(t), DispatcherOptions{Grace: time.Second}, to("w", s))
				defer r.stop()
				for range backlog + 1 {
					r.commit(push("a/stuck", "v1"))
				}
				var events []detect.Event
				for range 50 {
					events = append(events, push("a/b", "v1"))
				}
				r.commit(events...)
				synctest.Wait()
				if n := s.count(); n != 51 {
					t.Errorf("%d posts, want the stuck one and 50", n)
				}
			})
		})
	}
}
