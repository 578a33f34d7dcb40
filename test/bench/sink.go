package main

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A sink is a receiver of webhooks that costs little. Whoever wants to know what arrives sets got; what is at /hang never answers.
type sink struct {
	address string

	mu   sync.Mutex
	got  func(path string, body []byte, at time.Time)
	gone chan struct{}
}

func newSink(s *stage) *sink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	k := &sink{address: l.Addr().String(), gone: make(chan struct{})}
	server := &http.Server{Handler: k}
	go server.Serve(l)
	s.Cleanup(func() { close(k.gone); server.Close() })
	return k
}

func (k *sink) url(path string) string { return "http://" + k.address + path }

// tell calls got for each webhook from now on; nil: for none.
func (k *sink) tell(got func(path string, body []byte, at time.Time)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = got
}

func (k *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it never arrived
	}
	if r.URL.Path == "/hang" {
		select {
		case <-r.Context().Done():
		case <-k.gone:
		}
		return
	}
	k.mu.Lock()
	got := k.got
	k.mu.Unlock()
	if got != nil {
		got(r.URL.Path, body, at)
	}
}
