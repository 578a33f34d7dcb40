package listen

import (
	"net"
	"sync"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// ReadAhead is a client's connection without TLS. net/http reads a body in chunks through a
// buffer of 4 KiB, which takes at least as many calls of the kernel as the client has made.
// Between Begin and End, a ReadAhead reads more at a time. In all else it is the TCP
// connection, so that the kernel can move bytes to it.
type ReadAhead struct {
	*net.TCPConn
	remote net.Addr
	behind bool // a PROXY header came before the first request
	begun  bool // the first bytes were read

	mu      sync.Mutex
	buf     *buffers.Buffer // nil: nothing is read ahead
	rest    []byte          // of buf: read, and not handed on yet
	reading bool            // into buf
	over    bool            // buf is returned when nothing rests in it
	closed  bool
}

// RemoteAddr is the client's.
func (in *ReadAhead) RemoteAddr() net.Addr { return in.remote }

// Read hands on what was read ahead, or reads.
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

// endGreeting gives a TLS greeting the end of a line. Scanners and other clients that do not know
// whether a registry has TLS begin with one. net/http would wait for the end of a line until
// Options.HeaderRead; so it answers 400 at once, which tells such a client to go on without TLS. No
// HTTP request begins with the first byte of a TLS handshake.
func endGreeting(first []byte) {
	const handshake = 0x16
	if first[0] == handshake {
		first[len(first)-1] = '\n'
	}
}

// ahead takes from what rests, or else returns the buffer to read into; nil where nothing is to be
// read ahead. The single byte that net/http waits for between two requests is read alone.
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

// Begin reads ahead from now on, unless many connections do.
func (in *ReadAhead) Begin() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = false
	if in.buf == nil {
		in.buf = buffers.Ahead.Borrow()
	}
}

// End ends the reading ahead. The bytes that rest belong to the next request.
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

// release returns the buffer when it is of no more use. mu is held.
func (in *ReadAhead) release() {
	if in.over && !in.reading && len(in.rest) == 0 && in.buf != nil {
		in.buf.Return()
		in.buf = nil
	}
}

// Waits reports whether n bytes have arrived that were not handed on yet.
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
