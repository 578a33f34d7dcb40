package harness

import (
	"net"
	"strings"
	"sync"
)

// A Relay passes bytes between bellbuoy and a server. Nothing flows through it while it is shut,
// and a test can see what bellbuoy sends.
type Relay struct {
	Addr   string // host:port, where bellbuoy goes
	Target string // host:port, where the relay goes

	seen func(conn net.Conn, sent []byte, err error)

	mu      sync.Mutex
	passage chan struct{} // closed: open
}

// NewRelay starts a relay to a server, which is a URL or host:port with or without a path. seen, if
// it is not nil, is called with what bellbuoy sends before the server gets it, and with the error
// that ends a connection. Connections are told apart by conn; sent is seen's only until it returns.
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

// Shut lets nothing more flow, in no connection and no direction.
func (r *Relay) Shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passage = make(chan struct{})
}

// Open lets flow again what was held back.
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
