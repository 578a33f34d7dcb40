package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// A sink is a receiver of webhooks that needs little CPU time: it implements only the HTTP/1.1 that
// bellbuoy sends. It never answers the path /hang.
type sink struct {
	address string

	mu    sync.Mutex
	got   func(path string, body []byte, at time.Time)
	conns map[net.Conn]struct{} // nil: it is closed
}

func newSink(s *stage) *sink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	k := &sink{address: l.Addr().String(), conns: map[net.Conn]struct{}{}}
	go k.accept(l)
	s.Cleanup(func() { l.Close(); k.close() })
	return k
}

func (k *sink) url(path string) string { return "http://" + k.address + path }

// tell sets a function that gets each webhook from now on; nil ends that. The body is valid only
// until got returns.
func (k *sink) tell(got func(path string, body []byte, at time.Time)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = got
}

func (k *sink) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil || !k.hold(conn) {
			return
		}
		go func() {
			k.serve(conn)
			conn.Close()
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.conns, conn)
		}()
	}
}

// hold records a connection, or closes it if the sink is closed.
func (k *sink) hold(conn net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conns == nil {
		conn.Close()
		return false
	}
	k.conns[conn] = struct{}{}
	return true
}

func (k *sink) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for conn := range k.conns {
		conn.Close()
	}
	k.conns = nil
}

// serve answers one webhook after the other.
func (k *sink) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	var body []byte
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		_, path, _ := bytes.Cut(line, []byte(" "))
		path, _, _ = bytes.Cut(path, []byte(" "))
		to := string(path)
		h, err := readHeader(r)
		if err != nil || h.length < 0 {
			return // bellbuoy sends every body with its length
		}
		at := time.Now()
		body = append(body[:0], make([]byte, h.length)...)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		if to == "/hang" {
			_, _ = r.ReadByte() // until bellbuoy disconnects
			return
		}
		k.mu.Lock()
		got := k.got
		k.mu.Unlock()
		if got != nil {
			got(to, body, at)
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}
