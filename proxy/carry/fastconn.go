package carry

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// fastConn is a connection to an upstream. One request uses it at a time.
type fastConn struct {
	Conn      *net.TCPConn
	raw       syscall.RawConn
	br        *bufio.Reader // borrowed while a request is under way
	used      bool          // by an earlier request
	framed    bool          // the header of the answer has at most one length
	received  int64         // bytes of the answer
	budget    int64         // bytes that the header may still have; negative: it was read
	idleSince time.Time
	allowed   allowance     // for what the upstream sends next
	stop      func() bool   // ends the watch for the end of the request; nil: there is none
	hasty     bool          // the answer is expected at once: there is no watch yet
	rest      time.Duration // the timeout of the answer after that; zero: none
	glance    glance

	// arguments and results of try, which next calls
	tryNow func(fd uintptr) bool
	limit  int64
	borrow func() *buffers.Buffer
	got    *buffers.Buffer
	gotN   int
	gotErr error
}

func newFastConn(c *net.TCPConn) *fastConn {
	f := &fastConn{Conn: c}
	f.raw, _ = c.SyscallConn() // fails for no connection at all
	return f
}

func (c *fastConn) close() {
	_ = c.Conn.Close()
	c.lendBack()
}

func (c *fastConn) lendBack() {
	if c.br != nil {
		buffers.ReturnReader(c.br)
		c.br = nil
	}
}

// buffered returns how many bytes were read and not yet used.
func (c *fastConn) buffered() int {
	if c.br == nil {
		return 0
	}
	return c.br.Buffered()
}

// watch interrupts reads and writes of the connection when the request ends, from now on.
func (c *fastConn) watch(ctx context.Context) {
	if c.stop == nil {
		c.hasty = false
		c.stop = context.AfterFunc(ctx, func() { _ = c.Conn.SetDeadline(past) })
	}
}

// unwatch ends the watch. It reports false if the watch has interrupted the connection, which is
// then of no more use. It may be called again.
func (c *fastConn) unwatch() bool {
	if c.stop == nil {
		return true
	}
	stopped := c.stop()
	if stopped {
		c.stop = nil
	}
	return stopped
}

// haste is how long an answer is awaited without a watch for the end of the request. Most answers
// come sooner, and need none.
const haste = 250 * time.Millisecond

// begin makes the connection ready for a request. within is the timeout of the header of the
// answer; zero: none.
func (c *fastConn) begin(within time.Duration, now time.Time) {
	c.received, c.budget, c.framed = 0, upstreamHeader, false
	c.br = buffers.BorrowReader()
	c.br.Reset(c)
	c.hasty = c.stop == nil && (within == 0 || within > haste)
	if c.hasty {
		c.rest = max(within-haste, 0)
		within = haste
	}
	c.allow(within, now)
}

// wait begins the watch when the haste is over. It reports false if there was no haste.
func (c *fastConn) wait(ctx context.Context) bool {
	if !c.hasty {
		return false
	}
	c.allow(c.rest, time.Now())
	c.watch(ctx)
	return true
}

// Read reads from the connection. While a header is awaited, it reads no more than a header may
// have.
func (c *fastConn) Read(p []byte) (int, error) {
	if c.budget == 0 {
		return 0, errHeaderSize
	}
	if c.budget > 0 && int64(len(p)) > c.budget {
		p = p[:c.budget]
	}
	n, err := c.Conn.Read(p)
	c.received += int64(n)
	if c.budget > 0 {
		c.budget -= int64(n)
	}
	return n, err
}

// reusable reports whether the connection may carry another request after an answer that was
// read to its end.
func (c *fastConn) reusable(res *http.Response) bool {
	return c.framed && !res.Close && res.ProtoAtLeast(1, 1) && c.buffered() == 0 && c.endKnown(res)
}

// endKnown reports whether the answer says where it ends, so that it does not end with the
// connection.
func (c *fastConn) endKnown(res *http.Response) bool {
	return res.ContentLength >= 0 || len(res.TransferEncoding) > 0 || res.Body == http.NoBody || res.Request.Method == http.MethodHead
}

// allow sets the deadline for the next bytes of the upstream. within of zero is none.
func (c *fastConn) allow(within time.Duration, now time.Time) {
	if within != c.allowed.limit {
		c.allowed = allowance{limit: within}
		if within == 0 {
			_ = c.Conn.SetReadDeadline(time.Time{})
		}
	}
	if deadline, due := c.allowed.due(now); due {
		_ = c.Conn.SetReadDeadline(deadline)
	}
}
