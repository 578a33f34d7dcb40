package faults

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// fault is the failure of one write or look-up at the upstream.
type fault int

const (
	fine    fault = iota
	late          // done, after a while
	refused       // 500; nothing is done
	dropped       // the connection is cut; nothing is done
	deaf          // no answer; nothing is done
	lost          // done, then the connection is cut
	failed        // done, then 500
	stuck         // done, then no answer
)

// does reports whether the upstream executes the request.
func (f fault) does() bool { return f == fine || f == late || f >= lost }

// commit is a write that the upstream has executed.
type commit struct {
	request string // X-Request-Id
	method  string
	path    string
	at      time.Time
}

// A gateway is an upstream that fails by a plan, and that records each executed request by its id.
type gateway struct {
	*harness.FaultProxy
	exact bool // the upstream is in this process: each request is executed completely or not at all

	doing sync.Mutex // held while an exact upstream works

	mu        sync.Mutex
	plan      func(*http.Request) fault // nil: always fine
	commits   []commit
	uncertain map[string]bool // requests that may or may not have been executed
	seen      map[string]bool // requests that have arrived and, if their fault allows it, were executed
}

// newGateway makes a gateway with a handler in this process.
func newGateway(t *testing.T, inner http.Handler) *gateway {
	t.Helper()
	return openGateway(harness.NewFaultyHandler(t, inner), true)
}

// newGatewayTo makes a gateway in front of a server that is another process.
func newGatewayTo(t *testing.T, target string) *gateway {
	t.Helper()
	return openGateway(harness.NewFaultProxy(t, target), false)
}

func openGateway(proxy *harness.FaultProxy, exact bool) *gateway {
	g := &gateway{FaultProxy: proxy, exact: exact, uncertain: map[string]bool{}, seen: map[string]bool{}}
	g.TwistAll(g.serve)
	return g
}

// kill stops the upstream: it executes no request that has not begun.
func (g *gateway) kill() {
	g.doing.Lock()
	defer g.doing.Unlock()
	g.Kill()
}

func (g *gateway) setPlan(plan func(*http.Request) fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plan = plan
}

// next sets the faults of the next writes, one each. Later writes have none.
func (g *gateway) next(faults ...fault) {
	g.setPlan(func(r *http.Request) fault {
		if len(faults) == 0 || !writes(r) {
			return fine
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

// writes reports whether a request changes a manifest or a chart.
func writes(r *http.Request) bool {
	manifest := strings.Contains(r.URL.Path, "/manifests/") && (r.Method == http.MethodPut || r.Method == http.MethodDelete)
	chart := strings.HasPrefix(r.URL.Path, "/api/") && (r.Method == http.MethodPost || r.Method == http.MethodDelete)
	return manifest || chart
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	gone := g.Gone()
	g.mu.Lock()
	f := fine
	if g.plan != nil {
		f = g.plan(r)
	}
	g.mu.Unlock()
	harness.ReadBody(r)
	if f == late {
		time.Sleep(150 * time.Millisecond)
	}
	var answer *httptest.ResponseRecorder
	if f.does() {
		answer = g.do(r, pass, gone)
	}
	if writes(r) {
		g.mu.Lock()
		g.seen[r.Header.Get("X-Request-Id")] = true
		g.mu.Unlock()
	}
	switch f {
	case refused, failed:
		registrySays(w, http.StatusInternalServerError, "UNKNOWN")
		return
	case deaf, stuck:
		select {
		case <-gone:
		case <-r.Context().Done():
		}
	}
	if answer == nil || f == lost || f == stuck {
		panic(http.ErrAbortHandler)
	}
	harness.WriteAnswer(w, answer)
}

// do lets the upstream execute a request, unless it was killed, and records the outcome.
func (g *gateway) do(r *http.Request, pass http.Handler, gone <-chan struct{}) *httptest.ResponseRecorder {
	if g.exact {
		g.doing.Lock()
		defer g.doing.Unlock()
		select {
		case <-gone:
			return nil
		default:
		}
	}
	answer := harness.Forward(r, pass)
	if !writes(r) {
		return answer
	}
	id := r.Header.Get("X-Request-Id")
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case answer.Header().Get(harness.Uncertain) != "":
		g.uncertain[id] = true
	case answer.Code/100 == 2:
		g.commits = append(g.commits, commit{id, r.Method, r.URL.Path, time.Now()})
	}
	return answer
}

// done returns how often the upstream executed each request id, and the requests whose outcome is
// unknown.
func (g *gateway) done() (counts map[string]int, uncertain map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts, uncertain = map[string]int{}, map[string]bool{}
	for _, c := range g.commits {
		counts[c.request]++
	}
	for id := range g.uncertain {
		uncertain[id] = true
	}
	return counts, uncertain
}

// has reports whether a request has arrived in full, and was executed if its fault allows that.
func (g *gateway) has(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen[id]
}
