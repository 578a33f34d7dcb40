package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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

// A gateway is an upstream as bellbuoy sees it: a registry that can be killed and started, that
// fails as configured, and that records each executed request by its id.
type gateway struct {
	t     *testing.T
	inner http.Handler
	exact bool // inner is in this process: it does a thing at once, or not at all
	addr  string
	url   string

	doing sync.Mutex // held while an exact inner works

	mu        sync.Mutex
	plan      func(*http.Request) fault // nil: always fine
	commits   []commit
	uncertain map[string]bool // requests of which nobody knows whether they were done
	seen      map[string]bool // requests that have arrived, and were done where they are to be
	life      int
	srv       *http.Server
	released  chan struct{} // closed: who hangs, goes
}

// newGateway puts a gateway before a handler in this process.
func newGateway(t *testing.T, inner http.Handler) *gateway {
	t.Helper()
	return openGateway(t, inner, true)
}

// newGatewayTo puts a gateway before a server that is another process.
func newGatewayTo(t *testing.T, target string) *gateway {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(u)
			p.Out.Host = p.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
			w.Header().Set("X-Uncertain", "true")
			w.WriteHeader(http.StatusBadGateway)
		},
		Transport: &http.Transport{DisableKeepAlives: true}, // each its own connection: none that a killed server has left behind
	}
	return openGateway(t, proxy, false)
}

func openGateway(t *testing.T, inner http.Handler, exact bool) *gateway {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	g := &gateway{t: t, inner: inner, exact: exact, addr: addr, url: "http://" + addr, uncertain: map[string]bool{}, seen: map[string]bool{}}
	g.start()
	t.Cleanup(g.kill)
	return g
}

// start listens.
func (g *gateway) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		g.t.Errorf("starting the upstream: %v", err)
		return
	}
	g.released = make(chan struct{})
	g.srv = &http.Server{Handler: http.HandlerFunc(g.serve)}
	go g.srv.Serve(l)
}

// kill stops the upstream: it closes all connections, and executes no request that it has not
// begun.
func (g *gateway) kill() {
	g.doing.Lock()
	g.mu.Lock()
	g.life++
	srv, released := g.srv, g.released
	g.srv, g.released = nil, nil
	g.mu.Unlock()
	g.doing.Unlock()
	if srv != nil {
		close(released)
		srv.Close()
	}
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

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	life, released := g.life, g.released
	f := fine
	if g.plan != nil {
		f = g.plan(r)
	}
	g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it did not arrive
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if f == late {
		time.Sleep(150 * time.Millisecond)
	}
	var answer *httptest.ResponseRecorder
	if f.does() {
		answer = g.do(r, life)
	}
	if writes(r) {
		g.mu.Lock()
		g.seen[r.Header.Get("X-Request-Id")] = true
		g.mu.Unlock()
	}
	g.answer(w, r, f, answer, released)
}

// do calls inner and records what it did.
func (g *gateway) do(r *http.Request, life int) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	if g.exact {
		g.doing.Lock()
		defer g.doing.Unlock()
		if g.gone(life) {
			return nil
		}
	}
	g.inner.ServeHTTP(answer, r)
	if !writes(r) {
		return answer
	}
	id := r.Header.Get("X-Request-Id")
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case answer.Header().Get("X-Uncertain") != "":
		g.uncertain[id] = true
	case answer.Code/100 == 2:
		g.commits = append(g.commits, commit{id, r.Method, r.URL.Path, time.Now()})
	}
	return answer
}

func (g *gateway) gone(life int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.life != life
}

func (g *gateway) answer(w http.ResponseWriter, r *http.Request, f fault, answer *httptest.ResponseRecorder, released chan struct{}) {
	switch f {
	case refused, failed:
		registrySays(w, http.StatusInternalServerError, "UNKNOWN")
		return
	case dropped, lost:
		panic(http.ErrAbortHandler)
	case deaf, stuck:
		select {
		case <-released:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	if answer == nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
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
