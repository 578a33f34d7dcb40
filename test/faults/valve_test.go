package faults

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// A valve is a connection to a server through which nothing flows while it is shut.
type valve struct {
	addr, target string
	mu           sync.Mutex
	passage      chan struct{} // closed: open
}

func newValve(t *testing.T, target string) *valve {
	t.Helper()
	target, _, _ = strings.Cut(target, "/")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{addr: l.Addr().String(), target: target, passage: make(chan struct{})}
	close(v.passage)
	t.Cleanup(func() {
		l.Close()
		v.open()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go v.join(c)
		}
	}()
	return v
}

func (v *valve) join(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", v.target)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		v.flow(c, s)
		s.Close()
		c.Close()
	}()
	v.flow(s, c)
}

func (v *valve) flow(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		v.mu.Lock()
		passage := v.passage
		v.mu.Unlock()
		<-passage
		if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

func (v *valve) shut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.passage = make(chan struct{})
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.passage:
	default:
		close(v.passage)
	}
}
