package faults

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	refusers       = 1000 // webhooks
	refuserPushers = 4    // clients that push while bellbuoy is killed
	refuserPushes  = 2    // pushes of each of them
)

// A thousand webhooks refuse everything, and bellbuoy is killed during pushes. An acknowledged push
// does not lose its event. A push that was not acknowledged has its event for all webhooks or for
// none. Once the webhooks accept, every delivery is made.
func TestDeliveriesOfRefusingWebhooksSurviveAKill(t *testing.T) {
	short(t)
	up, r := newGateway(t, newShelf()), newRefusal(t)
	buoy := harness.Bellbuoy(t, r.config(up.URL))
	x := &trial{t: t, up: up, buoy: buoy, wire: newWire(t, buoy.Host)}
	acked := x.pushUntilKilled(r)
	buoy.Start()
	for i := range 2 {
		d := x.push(fmt.Sprint("after", i), fmt.Sprint("after", i))
		x.try(d, http.StatusCreated)
		acked = append(acked, d.request(1))
	}
	again := r.refusals()
	x.until("it delivers again, and all have refused", func() bool { return r.refusals() > again && r.refusing() == refusers })
	r.accept()
	r.await(x, acked)
	for request, n := range r.heardOf() {
		if n != refusers {
			t.Errorf("the event of %s reached %d of %d webhooks", request, n, refusers)
		}
	}
	t.Logf("%d pushes acknowledged, %d with events, %d POSTs refused", len(acked), len(r.heardOf()), r.refusals())
}

// pushUntilKilled lets clients push at the same time and kills bellbuoy meanwhile. It returns the
// requests that were acknowledged.
func (x *trial) pushUntilKilled(r *refusal) (acked []string) {
	x.t.Helper()
	var mu sync.Mutex
	var pushers sync.WaitGroup
	for p := range refuserPushers {
		var deeds []*deed
		for i := range refuserPushes {
			deeds = append(deeds, x.push(fmt.Sprintf("t%d-%d", p, i), fmt.Sprintf("content %d %d", p, i)))
		}
		pushers.Go(func() {
			for _, d := range deeds {
				if status, _ := x.wire.send(x.t.Context(), d, 1); status != http.StatusCreated {
					return // bellbuoy was killed
				}
				mu.Lock()
				acked = append(acked, d.request(1))
				mu.Unlock()
			}
		})
	}
	x.until("pushes are acknowledged, and deliveries refused", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acked) >= refuserPushers && r.refusals() >= refusers/2
	})
	x.buoy.Kill9()
	pushers.Wait()
	return acked
}

// refusal is the receiver of all webhooks. It refuses everything until accept is called.
type refusal struct {
	*harness.Receiver

	mu      sync.Mutex
	accepts bool
	refused map[string]int             // webhook → POSTs
	heard   map[string]map[string]bool // request → webhooks
}

func newRefusal(t *testing.T) *refusal {
	r := &refusal{Receiver: harness.NewReceiver(t), refused: map[string]int{}, heard: map[string]map[string]bool{}}
	r.Each(r.post)
	return r
}

// config has a schedule that is longer than the test, with short waits.
func (r *refusal) config(upstream string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: error}\nupstreams: [{type: registry, url: %q}]\nwebhooks:\n", upstream)
	for i := range refusers {
		fmt.Fprintf(&b, "  - {name: w%d, url: %q, format: bellbuoy, retry: [0s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 10m, 10m]}\n", i, r.URL(fmt.Sprint("/", i)))
	}
	return b.String()
}

func (r *refusal) post(w http.ResponseWriter, _ *http.Request, p harness.Post) {
	request := requestIn.FindSubmatch(p.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.accepts || request == nil {
		r.refused[p.Path]++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	of := r.heard[string(request[1])]
	if of == nil {
		of = map[string]bool{}
		r.heard[string(request[1])] = of
	}
	of[p.Path] = true
}

func (r *refusal) accept() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accepts = true
}

// refusals returns how many POSTs were refused, of all webhooks.
func (r *refusal) refusals() (sum int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.refused {
		sum += n
	}
	return sum
}

// refusing returns how many webhooks got a refusal.
func (r *refusal) refusing() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.refused)
}

// heardOf returns how many webhooks got the event of each request.
func (r *refusal) heardOf() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := map[string]int{}
	for request, of := range r.heard {
		told[request] = len(of)
	}
	return told
}

// await waits until all webhooks got the acknowledged pushes and nothing is pending. It fails the
// test if nothing arrives for patience.
func (r *refusal) await(x *trial, acked []string) {
	x.t.Helper()
	most := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		told, sum, missing := r.heardOf(), 0, 0
		for _, n := range told {
			sum += n
		}
		for _, request := range acked {
			missing += refusers - told[request]
		}
		if missing == 0 && x.owesNothing() {
			return
		}
		if sum > most {
			most, deadline = sum, time.Now().Add(patience)
		}
	}
	x.t.Errorf("%d pushes were acknowledged, with %d webhooks; at most %d deliveries were made, and none for %v", len(acked), refusers, most, patience)
}
