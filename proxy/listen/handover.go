package listen

import (
	"net"
	"sync"
)

// handover is a net.Listener whose connections the Server has accepted.
type handover struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// give hands a connection over, and reports false when the listener is closed.
func (h *handover) give(c net.Conn) bool {
	select {
	case <-h.closed:
		return false
	default:
	}
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	}
}

// Accept is net.Listener's.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return newConn(c), nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is net.Listener's; the address is not used.
func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }
