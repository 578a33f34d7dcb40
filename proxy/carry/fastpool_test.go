package carry

import (
	"errors"
	"net"
	"testing"
	"time"
)

// Connections that are not used do not stay open for ever.
func TestFastReapsIdleConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newFastPool(l.Addr().String(), patience)
	defer p.close()
	var conns []*fastConn
	for range 3 {
		c, err := p.get(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		p.put(c)
	}
	conns[0].idleSince, conns[1].idleSince = time.Now().Add(-keepIdle), time.Now().Add(-keepIdle)
	p.reap()
	if len(p.idle) != 1 || p.idle[0] != conns[2] || !p.reaping {
		t.Errorf("%d stay, reaping %t", len(p.idle), p.reaping)
	}
	conns[2].idleSince = time.Now().Add(-keepIdle)
	p.reap()
	if len(p.idle) != 0 || p.reaping {
		t.Errorf("%d stay, reaping %t", len(p.idle), p.reaping)
	}
	if _, err := conns[1].Conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to a connection that was reaped: %v", err)
	}
}
