package harness

import (
	"net"
	"strings"
	"sync"
)

// A Relay passes bytes between bellbuoy and a server. While it is shut, nothing passes. A test can
// see the bytes that bellbuoy sends.
type Relay struct {
	Addr   string // host:port, to which bellbuoy connects
	Target string // host:port, to which the relay connects

	seen func(conn net.Conn, sent []byte, err error)

	mu      sync.Mutex
	passage chan struct{} // closed while the relay is open
}

// NewRelay starts a relay to a server: a URL, or host:port with or without a path. If seen is not
// nil, it is called with the bytes that bellbuoy sends before the server gets them, and with the
// error that ends a connection. conn identifies the connection; sent is valid only until seen
// returns.
func NewRelay(t T, target string, seen func(conn net.Conn, sent []byte, err error)) *Relay {
	t.Helper()
	target, _, _ = strings.Cut(strings.TrimPrefix(target, "http://"), "/")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	if seen == nil {
		seen = func(net.Conn, []byte, error) {}
	}
	r := &Relay{Addr: l.Addr().String(), Target: target, seen: seen, passage: make(chan struct{})}
	close(r.passage)
	t.Cleanup(func() {
		l.Close()
		r.Open()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.join(c)
		}
	}()
	return r
}

// Shut stops the flow of all connections, in both directions.
func (r *Relay) Shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passage = make(chan struct{})
}

// Open lets the bytes that were held flow again.
func (r *Relay) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.passage:
	default:
		close(r.passage)
	}
}

func (r *Relay) join(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", r.Target)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		r.flow(c, s, func([]byte, error) {})
		s.Close()
		c.Close()
	}()
	r.flow(s, c, func(sent []byte, err error) { r.seen(c, sent, err) })
}

func (r *Relay) flow(to, from net.Conn, seen func([]byte, error)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		seen(buf[:n], err)
		r.mu.Lock()
		passage := r.passage
		r.mu.Unlock()
		<-passage
		if n > 0 {
			if _, writeErr := to.Write(buf[:n]); writeErr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
