package listen

import (
	"net"
	"sync"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// ReadAhead is a TCP connection of a client without TLS. net/http reads a body in chunks through a
// buffer of 4 KiB, with at least as many system calls as the client has made. Between Begin and
// End, a ReadAhead reads more at a time. It embeds the connection, so that the kernel can move
// bytes to it.
type ReadAhead struct {
	*net.TCPConn
	remote net.Addr
	behind bool // a PROXY header came before the first request
	begun  bool // the first bytes were read

	mu      sync.Mutex
	buf     *buffers.Buffer // nil: nothing is read ahead
	rest    []byte          // the part of buf that Read has not returned yet
	reading bool            // a Read into buf is under way
	over    bool            // buf is returned to its pool when rest is empty
	closed  bool
}

// RemoteAddr returns the address of the client.
func (in *ReadAhead) RemoteAddr() net.Addr { return in.remote }

// Read returns what was read ahead, or reads.
func (in *ReadAhead) Read(p []byte) (int, error) {
	buf, n := in.ahead(p)
	if n > 0 {
		return n, nil
	}
	if buf == nil {
		n, err := in.TCPConn.Read(p)
		if n > 0 && !in.begun {
			in.begun = true
			endGreeting(p[:n])
		}
		return n, err
	}
	n, err := in.TCPConn.Read(buf.Bytes)
	in.mu.Lock()
	defer in.mu.Unlock()
	m := copy(p, buf.Bytes[:n])
	in.reading = false
	if !in.closed {
		in.rest = buf.Bytes[m:n]
	}
	in.release()
	return m, err
}

// endGreeting replaces the last byte of a TLS greeting by a line end. Clients that do not know
// whether a registry has TLS, such as scanners, begin with a greeting. net/http would wait for a
// line end until Options.HeaderRead. With one it answers 400 at once, after which such a client
// goes on without TLS. No HTTP request begins with the first byte of a TLS handshake.
func endGreeting(first []byte) {
	const handshake = 0x16
	if first[0] == handshake {
		first[len(first)-1] = '\n'
	}
}

// ahead copies from rest into p, or else returns the buffer to read into, or nil if nothing is to
// be read ahead. The single byte for which net/http waits between two requests is read alone.
func (in *ReadAhead) ahead(p []byte) (*buffers.Buffer, int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.rest) > 0 {
		n := copy(p, in.rest)
		in.rest = in.rest[n:]
		in.release()
		return nil, n
	}
	if in.buf == nil || in.over || len(p) <= 1 || len(p) >= len(in.buf.Bytes) {
		return nil, 0
	}
	in.reading = true
	return in.buf, 0
}

// Begin starts reading ahead, unless many connections do so already.
func (in *ReadAhead) Begin() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = false
	if in.buf == nil {
		in.buf = buffers.Ahead.Borrow()
	}
}

// End stops reading ahead. What was read and not returned belongs to the next request.
func (in *ReadAhead) End() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = true
	in.release()
}

// Close closes the connection.
func (in *ReadAhead) Close() error {
	in.mu.Lock()
	in.rest, in.over, in.closed = nil, true, true
	in.release()
	in.mu.Unlock()
	return in.TCPConn.Close()
}

// release returns the buffer to its pool if it is no longer needed. The caller holds mu.
func (in *ReadAhead) release() {
	if in.over && !in.reading && len(in.rest) == 0 && in.buf != nil {
		in.buf.Return()
		in.buf = nil
	}
}

// Waits reports whether n bytes have arrived that Read has not returned yet.
func (in *ReadAhead) Waits(n int) bool {
	in.mu.Lock()
	rest := len(in.rest)
	in.mu.Unlock()
	if rest >= n {
		return true
	}
	raw, err := in.SyscallConn()
	return err == nil && rest+unread(raw) >= n
}
