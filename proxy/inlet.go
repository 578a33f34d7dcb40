package proxy

import (
	"net"
	"sync"
)

// inlet is a client's connection without TLS. net/http reads a body in chunks through a buffer of 4 KiB, which takes as many calls of the kernel as
// the client has made, or more; while such a body is on its way, an inlet reads far ahead. In all else it is the TCP connection itself, so that
// the kernel can move bytes to it.
type inlet struct {
	*net.TCPConn
	remote net.Addr
	behind bool // a PROXY header came before the first request

	mu      sync.Mutex
	buf     *[]byte // borrowed; nil: nothing is read ahead
	rest    []byte  // of buf: read, and not handed on yet
	reading bool    // into buf
	over    bool    // buf goes back when nothing rests in it
	closed  bool
}

// inletOf returns a client's connection as one that can read ahead; what is no TCP connection as it is.
func inletOf(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return &inlet{TCPConn: c, remote: c.RemoteAddr()}
	case *proxied:
		return &inlet{TCPConn: c.TCPConn, remote: c.remote, behind: true}
	}
	return c
}

// RemoteAddr is the client's.
func (in *inlet) RemoteAddr() net.Addr { return in.remote }

// Read hands on what was read ahead, or reads.
func (in *inlet) Read(p []byte) (int, error) {
	buf, n := in.ahead(p)
	if n > 0 {
		return n, nil
	}
	if buf == nil {
		return in.TCPConn.Read(p)
	}
	n, err := in.TCPConn.Read(*buf)
	in.mu.Lock()
	defer in.mu.Unlock()
	m := copy(p, (*buf)[:n])
	in.reading = false
	if !in.closed {
		in.rest = (*buf)[m:n]
	}
	in.settle()
	return m, err
}

// ahead takes what rests, or else returns where to read to; nil where nothing shall be read ahead. The single byte that net/http waits for between
// two requests is read alone.
func (in *inlet) ahead(p []byte) (*[]byte, int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.rest) > 0 {
		n := copy(p, in.rest)
		in.rest = in.rest[n:]
		in.settle()
		return nil, n
	}
	if in.buf == nil || in.over || len(p) <= 1 || len(p) >= len(*in.buf) {
		return nil, 0
	}
	in.reading = true
	return in.buf, 0
}

// begin reads ahead from now on, unless many do.
func (in *inlet) begin() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = false
	if in.buf == nil {
		in.buf = aheadBuffers.borrow()
	}
}

// end reads ahead no more. What rests belongs to the next request.
func (in *inlet) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = true
	in.settle()
}

// Close closes the connection.
func (in *inlet) Close() error {
	in.mu.Lock()
	in.rest, in.over, in.closed = nil, true, true
	in.settle()
	in.mu.Unlock()
	return in.TCPConn.Close()
}

// settle gives the buffer back when it is of no more use. mu is held.
func (in *inlet) settle() {
	if in.over && !in.reading && len(in.rest) == 0 && in.buf != nil {
		aheadBuffers.giveBack(in.buf)
		in.buf = nil
	}
}

// waits tells whether n bytes have come that were not handed on yet.
func (in *inlet) waits(n int) bool {
	in.mu.Lock()
	rest := len(in.rest)
	in.mu.Unlock()
	if rest >= n {
		return true
	}
	raw, err := in.SyscallConn()
	return err == nil && rest+unread(raw) >= n
}

const (
	aheadSize = 64 << 10
	aheadMany = 32 // at a time; a client may let its own rest for long
)

var aheadBuffers = lender{size: aheadSize, most: aheadMany}
