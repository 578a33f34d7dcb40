package soak

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The good webhooks must get every event, although the receiver of flaky fails every second POST
// and that of slow answers late. The receivers of the bad ones accept nothing.
var (
	goodHooks = []string{"good", "flaky", "slow"}
	badHooks  = []string{"hang", "refuse", "drop", "error", "redirect", "flood", "unwanted"}
)

// receivers is one server for all webhooks, by path. It records the events that it accepted for the
// good ones.
type receivers struct {
	*harness.Receiver

	mu     sync.Mutex
	seen   map[string]map[string]string // hook → webhook-id → line
	count  map[string]int               // hook → POSTs, accepted or not
	newest map[string]int               // hook → generation of the configuration
}

func newReceivers(t *testing.T) *receivers {
	t.Helper()
	r := &receivers{Receiver: harness.NewReceiver(t), seen: map[string]map[string]string{}, count: map[string]int{}, newest: map[string]int{}}
	r.Each(r.post)
	return r
}

// url returns the URL of a webhook. Nothing listens at that of "refuse" (port 9, discard).
func (r *receivers) url(name string) string {
	if name == "refuse" {
		return "http://127.0.0.1:9/"
	}
	return r.URL("/" + name)
}

func (r *receivers) post(w http.ResponseWriter, req *http.Request, p harness.Post) {
	name := p.Path[1:]
	r.mu.Lock()
	r.count[name]++
	n := r.count[name]
	r.mu.Unlock()
	switch name {
	case "flaky":
		if n%2 == 0 {
			w.WriteHeader([]int{500, 503, 404, 429}[n/2%4])
			return
		}
	case "slow":
		time.Sleep(50 * time.Millisecond)
	case "good":
	default:
		r.fail(w, req, name)
		return
	}
	r.accept(name, p)
}

func (r *receivers) fail(w http.ResponseWriter, req *http.Request, name string) {
	switch name {
	case "hang":
		r.Hold(req)
	case "drop":
		panic(http.ErrAbortHandler)
	case "error":
		http.Error(w, "no", http.StatusInternalServerError)
	case "redirect":
		http.Redirect(w, req, "/good", http.StatusTemporaryRedirect)
	case "flood":
		w.WriteHeader(http.StatusBadGateway)
		for zeros := make([]byte, 1<<20); ; {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	case "unwanted":
		w.WriteHeader(http.StatusUnprocessableEntity) // a dead letter at once
	}
}

// accept records an event. If the same webhook-id comes again after a lost answer, it is one event.
func (r *receivers) accept(name string, p harness.Post) {
	var e struct {
		Type, Repository, Digest string
		Tags                     []string
		Asked                    string `json:"tag_asked"`
	}
	reference := ""
	if err := json.Unmarshal(p.Body, &e); err != nil {
		reference = fmt.Sprintf("unreadable: %v", err)
	}
	switch {
	case e.Asked != "":
		reference = e.Asked
	case len(e.Tags) == 1:
		reference = e.Tags[0]
	case reference == "":
		reference = fmt.Sprintf("%s%v", e.Digest, e.Tags)
	}
	generation, _ := strconv.Atoi(p.Header.Get("X-Generation")) // absent is generation 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[name] == nil {
		r.seen[name] = map[string]string{}
	}
	r.seen[name][p.ID()] = line(e.Type, e.Repository, reference)
	r.newest[name] = max(r.newest[name], generation)
}

// events returns the events of a webhook: webhook-id → line.
func (r *receivers) events(name string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := make(map[string]string, len(r.seen[name]))
	for id, line := range r.seen[name] {
		events[id] = line
	}
	return events
}

func (r *receivers) posts(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[name]
}

func (r *receivers) generation(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest[name]
}
