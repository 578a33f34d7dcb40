package faults

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The webhooks of a run. hooks.answer decides how their POSTs are answered.
var hookNames = []string{"good", "strict", "flaky", "slow", "gone", "picky"}

// hooks receive the webhooks of bellbuoy, at a path for each. They fail in every way that bellbuoy
// treats differently, until beCalm is called.
type hooks struct {
	*harness.Receiver

	mu    sync.Mutex
	calm  bool
	got   map[string]map[string]*arrival // hook → webhook-id
	bad   []string                       // bodies that could not be read
	posts map[string]int                 // hook → POSTs, accepted or not
}

func newHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{Receiver: harness.NewReceiver(t), got: map[string]map[string]*arrival{}, posts: map[string]int{}}
	h.Each(h.post)
	return h
}

func (h *hooks) beCalm() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calm = true
}

func (h *hooks) post(w http.ResponseWriter, r *http.Request, p harness.Post) {
	name := p.Path[1:]
	h.mu.Lock()
	calm := h.calm
	h.posts[name]++
	n := h.posts[name]
	h.mu.Unlock()
	if calm || h.answer(w, r, name, n) {
		h.accept(name, p.ID(), p.Body)
	}
}

// answer answers a POST with a failure, or reports that it is accepted.
func (h *hooks) answer(w http.ResponseWriter, r *http.Request, name string, n int) bool {
	switch {
	case name == "slow":
		time.Sleep(20 * time.Millisecond)
	case name == "strict" && n%12 == 0, name == "flaky" && n%4 == 0:
		h.fail(w, r)
		return false
	case name == "picky" && n%10 == 0:
		w.WriteHeader([]int{400, 405, 413, 415, 422, 501}[n/10%6])
		return false
	case name == "gone" && n > 30:
		w.WriteHeader(http.StatusGone)
		return false
	}
	return true
}

func (h *hooks) fail(w http.ResponseWriter, r *http.Request) {
	switch rand.IntN(7) {
	case 0:
		w.WriteHeader(http.StatusInternalServerError)
	case 1:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case 2:
		if rand.IntN(3) > 0 { // rarely, because it takes a whole timeout of its lane
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.Hold(r) // it never answers
	case 3:
		panic(http.ErrAbortHandler)
	case 4:
		http.Redirect(w, r, "/good", http.StatusTemporaryRedirect)
	case 5:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("Content-Length", "100") // and no body
		w.WriteHeader(http.StatusBadGateway)
		panic(http.ErrAbortHandler)
	}
}

func (h *hooks) accept(name, id string, body []byte) {
	var e struct {
		Type, Repository, Digest string
		Tags                     []string
		Request                  string `json:"request_id"`
		Inferred                 bool
	}
	err := json.Unmarshal(body, &e)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.bad = append(h.bad, string(body))
		return
	}
	got := h.got[name]
	if got == nil {
		got = map[string]*arrival{}
		h.got[name] = got
	}
	if a := got[id]; a != nil {
		a.count++
		return
	}
	got[id] = &arrival{
		id: id, kind: e.Type, repository: e.Repository, digest: e.Digest, tags: e.Tags, request: e.Request, inferred: e.Inferred,
		order: len(got), count: 1, at: time.Now(),
	}
}

// arrivals returns the events that a webhook accepted, in the order of the first acceptance.
func (h *hooks) arrivals(name string) []arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []arrival
	for _, a := range h.got[name] {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b arrival) int { return a.order - b.order })
	return all
}
