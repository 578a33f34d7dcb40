package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A FaultProxy is between bellbuoy and an upstream, or is itself the upstream if it has a handler.
// It passes everything on unchanged, except where a test holds, cuts or falsifies requests of
// clients. Kill stops it and Start starts it again.
type FaultProxy struct {
	t    testing.TB
	URL  string
	Host string

	next http.Handler

	mu     sync.Mutex
	srv    *http.Server  // nil while it is stopped
	gone   chan struct{} // closed by Kill, or when the test ends: all that hold a request return
	twists []*twist
	seen   []SeenRequest
}

// A SeenRequest is a request as it reached the proxy.
type SeenRequest struct {
	Method, Path, UserAgent string
	Target                  string // path and query, as they came
	ForwardedFor            string
}

// A twist handles requests of one method whose path contains a text, in a way of its own. pass is
// the handler that the upstream answers through.
type twist struct {
	method, path string // "": every request, also bellbuoy's own look-ups
	left         int    // how many more requests it handles; negative: all
	do           func(w http.ResponseWriter, r *http.Request, pass http.Handler)
}

func (t *twist) takes(r *http.Request) bool {
	if t.method == "" {
		return true
	}
	return t.left != 0 && t.method == r.Method && strings.Contains(r.URL.Path, t.path) && !strings.HasPrefix(r.UserAgent(), "bellbuoy/")
}

// Uncertain is a header of the 502 of a FaultProxy whose upstream broke the connection: the request
// may or may not have been done.
const Uncertain = "X-Uncertain"

// NewFaultProxy starts a proxy in front of an upstream.
func NewFaultProxy(t testing.TB, upstream string) *FaultProxy {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	return NewFaultyHandler(t, &httputil.ReverseProxy{
		// A connection for each request, so that none of a killed upstream is used again.
		Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.Header().Set(Uncertain, "true")
			w.WriteHeader(http.StatusBadGateway)
		},
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = target.Scheme, target.Host
			for name, values := range p.In.Header { // also the forwarding headers: nothing must show that there is a proxy
				p.Out.Header[name] = values
			}
		},
	})
}

// NewFaultyHandler starts a FaultProxy that passes requests to a handler.
func NewFaultyHandler(t testing.TB, next http.Handler) *FaultProxy {
	t.Helper()
	host := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	h := &FaultProxy{t: t, URL: "http://" + host, Host: host, next: next}
	h.Start()
	t.Cleanup(h.Kill)
	return h
}

// Start lets a stopped proxy listen again.
func (h *FaultProxy) Start() {
	l, err := net.Listen("tcp", h.Host)
	if err != nil {
		h.t.Errorf("starting the upstream: %v", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = make(chan struct{})
	h.srv = &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)} // broken connections are intended here
	go h.srv.Serve(l)
}

// Kill closes all connections and the listener.
func (h *FaultProxy) Kill() {
	h.mu.Lock()
	srv := h.srv
	if srv != nil {
		close(h.gone)
		h.srv = nil
	}
	h.mu.Unlock()
	if srv != nil {
		srv.Close()
	}
}

// Gone returns a channel that is closed by the next Kill, or when the test ends.
func (h *FaultProxy) Gone() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone
}

func (h *FaultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	found := h.take(r)
	if found == nil || found.method != "" { // TwistAll's function records requests itself
		h.seen = append(h.seen, SeenRequest{r.Method, r.URL.Path, r.UserAgent(), r.RequestURI, r.Header.Get("X-Forwarded-For")})
	}
	h.mu.Unlock()
	if found == nil {
		h.next.ServeHTTP(w, r)
		return
	}
	found.do(w, r, h.next)
}

func (h *FaultProxy) take(r *http.Request) *twist {
	for _, t := range h.twists {
		if t.takes(r) {
			t.left--
			return t
		}
	}
	return nil
}

// TwistAll lets do handle every request, also bellbuoy's own look-ups.
func (h *FaultProxy) TwistAll(do func(w http.ResponseWriter, r *http.Request, pass http.Handler)) {
	h.Twist(-1, "", "", do)
}

// Twist lets do handle the next requests of clients that have the method and whose path contains
// path; times says how many, -1 all. bellbuoy's own look-ups are not twisted.
func (h *FaultProxy) Twist(times int, method, path string, do func(w http.ResponseWriter, r *http.Request, pass http.Handler)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twists = append(h.twists, &twist{method, path, times, do})
}

// A Held is a request that waits at a FaultProxy.
type Held struct {
	Reached chan struct{}
	release chan struct{}
	once    sync.Once
}

func newHeld() *Held { return &Held{Reached: make(chan struct{}), release: make(chan struct{})} }

// Release lets the request go on.
func (p *Held) Release() { p.once.Do(func() { close(p.release) }) }

// Await waits until the request has arrived.
func (p *Held) Await(t testing.TB) {
	t.Helper()
	select {
	case <-p.Reached:
	case <-time.After(Soon):
		t.Fatal("the request did not come to the point where it was to be held")
	}
}

func (h *FaultProxy) wait(p *Held) {
	close(p.Reached)
	select {
	case <-p.release:
	case <-h.Gone():
	}
}

// HoldBefore holds the next such request when its body is complete and before it is sent to the
// upstream. Once released, it reaches the upstream even if bellbuoy has gone.
func (h *FaultProxy) HoldBefore(method, path string) *Held {
	p := newHeld()
	h.Twist(1, method, path, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		h.Detach(r)
		h.wait(p)
		WriteAnswer(w, Forward(r, pass))
	})
	return p
}

// HoldAfter holds the answer to the next such request. The upstream has then done it.
func (h *FaultProxy) HoldAfter(method, path string) *Held {
	p := newHeld()
	h.Twist(1, method, path, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		h.Detach(r)
		got := Forward(r, pass)
		h.wait(p)
		WriteAnswer(w, got)
	})
	return p
}

// Swallow accepts the next such request and never passes it on. When it is released, it cuts the
// connection.
func (h *FaultProxy) Swallow(method, path string) *Held {
	p := newHeld()
	h.Twist(1, method, path, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		h.Detach(r)
		h.wait(p)
		panic(http.ErrAbortHandler)
	})
	return p
}

// Detach reads a request's body and gives the request a context that outlives its connection.
func (h *FaultProxy) Detach(r *http.Request) {
	ReadBody(r)
	*r = *r.WithContext(context.WithoutCancel(r.Context()))
}

// ReadBody reads a request's body to its end and replaces it by a buffer. It aborts a request whose
// body does not arrive.
func ReadBody(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
}

// Forward sends the request to the upstream and returns the recorded answer.
func Forward(r *http.Request, pass http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	pass.ServeHTTP(rec, r)
	return rec
}

// WriteAnswer writes a recorded answer.
func WriteAnswer(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}

// Requests returns the requests seen so far, without bellbuoy's own look-ups.
func (h *FaultProxy) Requests() (found []SeenRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.seen {
		if !strings.HasPrefix(r.UserAgent, "bellbuoy/") {
			found = append(found, r)
		}
	}
	return found
}
