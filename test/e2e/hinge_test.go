package e2e

import (
	"bytes"
	"context"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A hinge stands between bellbuoy and an upstream. It passes everything on as it is, except where a test has put a twist.
type hinge struct {
	t    testing.TB
	URL  string
	Host string

	next http.Handler
	gone chan struct{} // closed when the test ends: whoever holds, lets go

	mu     sync.Mutex
	twists []*twist
	seen   []seenRequest
}

type seenRequest struct {
	Method, Path, UserAgent string
	ForwardedFor            string
}

// A twist treats requests of one method whose path contains something. pass hands the request to the upstream.
type twist struct {
	method, path string
	left         int // how many requests it takes; negative: all
	do           func(w http.ResponseWriter, r *http.Request, pass http.Handler)
}

func newHinge(t testing.TB, upstream string) *hinge {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	h := &hinge{t: t, gone: make(chan struct{})}
	h.next = &httputil.ReverseProxy{
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8},
		ErrorLog:  log.New(io.Discard, "", 0), // connections break here: that is what a hinge is for
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = target.Scheme, target.Host
			for name, values := range p.In.Header { // also the forwarded ones: nobody shall notice the hinge
				p.Out.Header[name] = values
			}
		},
	}
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		close(h.gone)
		srv.CloseClientConnections()
		srv.Close()
	})
	h.URL, h.Host = srv.URL, strings.TrimPrefix(srv.URL, "http://")
	return h
}

func (h *hinge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.seen = append(h.seen, seenRequest{r.Method, r.URL.Path, r.UserAgent(), r.Header.Get("X-Forwarded-For")})
	twist := h.take(r)
	h.mu.Unlock()
	if twist == nil {
		h.next.ServeHTTP(w, r)
		return
	}
	twist.do(w, r, h.next)
}

func (h *hinge) take(r *http.Request) *twist {
	for _, t := range h.twists {
		if t.left != 0 && t.method == r.Method && strings.Contains(r.URL.Path, t.path) && !strings.HasPrefix(r.UserAgent(), "bellbuoy/") {
			t.left--
			return t
		}
	}
	return nil
}

// twist treats the next times requests of clients; bellbuoy's own questions pass.
func (h *hinge) twist(times int, method, path string, do func(w http.ResponseWriter, r *http.Request, pass http.Handler)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twists = append(h.twists, &twist{method, path, times, do})
}

// A point is where a request is held.
type point struct {
	Reached chan struct{}
	release chan struct{}
	once    sync.Once
}

func newPoint() *point { return &point{Reached: make(chan struct{}), release: make(chan struct{})} }

// Release lets the request go on.
func (p *point) Release() { p.once.Do(func() { close(p.release) }) }

func (p *point) await(t testing.TB) {
	t.Helper()
	select {
	case <-p.Reached:
	case <-time.After(soon):
		t.Fatal("the request did not come to the point where it was to be held")
	}
}

func (h *hinge) wait(p *point) {
	close(p.Reached)
	select {
	case <-p.release:
	case <-h.gone:
	}
}

// holdBefore holds the next such request, its body complete, before the upstream gets it. What then happens at the upstream happens whether
// bellbuoy is still there or not.
func (h *hinge) holdBefore(method, path string) *point {
	p := newPoint()
	h.twist(1, method, path, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		h.detach(r)
		h.wait(p)
		answer(w, commit(r, pass))
	})
	return p
}

// holdAfter holds the answer to the next such request after the upstream has done it.
func (h *hinge) holdAfter(method, path string) *point {
	p := newPoint()
	h.twist(1, method, path, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		h.detach(r)
		got := commit(r, pass)
		h.wait(p)
		answer(w, got)
	})
	return p
}

// swallow takes the next such request, and never passes it on: the connection is cut.
func (h *hinge) swallow(method, path string) *point {
	p := newPoint()
	h.twist(1, method, path, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		h.detach(r)
		h.wait(p)
		panic(http.ErrAbortHandler)
	})
	return p
}

// detach reads a request's body and cuts it from its connection.
func (h *hinge) detach(r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // it never arrived
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	*r = *r.WithContext(context.WithoutCancel(r.Context()))
}

// commit lets the upstream do it, and keeps the answer.
func commit(r *http.Request, pass http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	pass.ServeHTTP(rec, r)
	return rec
}

// answer hands a kept answer on.
func answer(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}

// requests are those seen so far, bellbuoy's own questions left out.
func (h *hinge) requests() (found []seenRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.seen {
		if !strings.HasPrefix(r.UserAgent, "bellbuoy/") {
			found = append(found, r)
		}
	}
	return found
}
