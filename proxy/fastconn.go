package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// fastPool keeps idle connections to one upstream, the last used first.
type fastPool struct {
	address string
	dialer  net.Dialer

	mu      sync.Mutex
	idle    []*fastConn
	reaping bool // a timer will look for those that were idle for too long
	closed  bool
}

func newFastPool(host string, connect time.Duration) fastPool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(trimBrackets(host), "80")
	}
	return fastPool{address: host, dialer: net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second}}
}

func trimBrackets(host string) string {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

// get returns a connection: an idle one on which nothing waits to be read, or a new one.
func (p *fastPool) get(ctx context.Context, fresh bool) (*fastConn, error) {
	for !fresh {
		c := p.take()
		if c == nil {
			break
		}
		if time.Since(c.idleSince) < keepIdle && c.silent() {
			return c, nil
		}
		c.close()
	}
	raw, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, dialError{cause(ctx, err)}
	}
	return newFastConn(raw.(*net.TCPConn)), nil
}

func (p *fastPool) take() *fastConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

// put keeps a connection for the next request, unless there are many.
func (p *fastPool) put(c *fastConn) {
	c.used = true
	c.idleSince = time.Now()
	c.lendBack()
	p.mu.Lock()
	if p.closed || len(p.idle) >= idlePerUpstream {
		p.mu.Unlock()
		c.close()
		return
	}
	p.idle = append(p.idle, c)
	if !p.reaping {
		p.reaping = true
		time.AfterFunc(keepIdle, p.reap)
	}
	p.mu.Unlock()
}

// release ends a connection's turn: it is kept where it may carry another request.
func (p *fastPool) release(c *fastConn, reusable bool) {
	if c.unwatch() && reusable {
		p.put(c)
	} else {
		c.close()
	}
}

// reap closes what was idle for too long: the upstream has closed it long since, or would rather.
func (p *fastPool) reap() {
	now := time.Now()
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= keepIdle {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	if p.reaping = len(p.idle) > 0; p.reaping {
		time.AfterFunc(max(keepIdle-now.Sub(p.idle[0].idleSince), time.Second), p.reap)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// close closes what is idle now, and what is put back later.
func (p *fastPool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// fastConn is a connection to an upstream. One request uses it at a time.
type fastConn struct {
	Conn      *net.TCPConn
	raw       syscall.RawConn
	br        *bufio.Reader // borrowed while a request is under way
	used      bool          // by an earlier request
	framed    bool          // the answer's end can be told in one way only
	received  int64         // bytes of the answer
	budget    int64         // bytes that the header may still have; negative: it is over
	idleSince time.Time
	allowed   time.Duration // that the read deadline stands for; zero: there is none
	allowedAt time.Time     // when it was set
	stop      func() bool   // of the watch over the client; nil: there is none
	hasty     bool          // the answer is expected at once, and the client not watched yet
	rest      time.Duration // that the answer has after that; zero is all the time
	glance    glance

	// what next and try tell each other
	tryNow func(fd uintptr) bool
	limit  int64
	lend   func() *buffers.Buffer
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

// buffered is how much was read and not yet used.
func (c *fastConn) buffered() int {
	if c.br == nil {
		return 0
	}
	return c.br.Buffered()
}

// watch wakes the connection up when the client goes away, from now on.
func (c *fastConn) watch(ctx context.Context) {
	if c.stop == nil {
		c.hasty = false
		c.stop = context.AfterFunc(ctx, func() { _ = c.Conn.SetDeadline(time.Unix(1, 0)) })
	}
}

// unwatch ends the watch; false when it has woken the connection up, which is then of no more use. It may be called again.
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

// haste is how long an answer is waited for without watching whether the client is still there: most answers come before that would be of use.
const haste = 250 * time.Millisecond

// begin makes the connection ready for a request whose answer's header must come within a time; zero is all the time.
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

// wait ends the haste: from now on the client is watched. False where there was none.
func (c *fastConn) wait(ctx context.Context) bool {
	if !c.hasty {
		return false
	}
	c.allow(c.rest, time.Now())
	c.watch(ctx)
	return true
}

var errHeaderSize = errors.New("the upstream's header is too long")

// Read reads from the connection, no more than a header may have while one is awaited.
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

// readHeader reads an answer's header.
func (c *fastConn) readHeader(r *http.Request) (*http.Response, error) {
	header, err := c.peekHeader(r.Context())
	if err != nil {
		return nil, err
	}
	c.framed = framedOnce(header)
	if whole, _ := c.br.Peek(len(header) + len("\r\n")); bytes.HasSuffix(whole, []byte("\r\n")) {
		if res := readPlain(header, c.br, r); res != nil {
			_, _ = c.br.Discard(len(whole))
			c.budget = -1
			return res, nil
		}
	}
	res, err := http.ReadResponse(c.br, r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 200 {
		c.budget = -1
	}
	return res, nil
}

// peekHeader returns a header as it came, up to its empty line, for http.ReadResponse mends what it can; nothing of one that is too long to look at.
func (c *fastConn) peekHeader(ctx context.Context) ([]byte, error) {
	for need := 1; ; {
		if _, err := c.br.Peek(need); err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				c.wait(ctx)
				return nil, nil
			}
			if timedOut(err) && c.wait(ctx) {
				continue
			}
			if err == io.EOF && c.br.Buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		b, _ := c.br.Peek(c.br.Buffered())
		if end := headerEnd(b); end >= 0 {
			return b[:end], nil
		}
		need = len(b) + 1
	}
}

// headerEnd is where a header ends; -1 where that is not in b.
func headerEnd(b []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		if rest := b[from:]; bytes.HasPrefix(rest, []byte("\n")) || bytes.HasPrefix(rest, []byte("\r\n")) {
			return from
		}
	}
}

// framedOnce tells whether a header tells its body's length at most once. What cannot be looked at may not.
func framedOnce(header []byte) bool {
	if len(header) == 0 {
		return false
	}
	told := 0
	for line := range bytes.SplitSeq(header, []byte("\n")) {
		if prefixFold(line, "content-length") || prefixFold(line, "transfer-encoding") {
			told++
		}
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return false // a folded line: nobody sends these in earnest
		}
	}
	return told <= 1
}

func prefixFold(line []byte, name string) bool {
	return len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name))
}

// reusable tells whether the connection may carry another request after an answer that was read to its end.
func (c *fastConn) reusable(res *http.Response) bool {
	return c.framed && !res.Close && res.ProtoAtLeast(1, 1) && c.buffered() == 0 && c.endKnown(res)
}

// endKnown tells whether the answer ended by itself, and not with the connection.
func (c *fastConn) endKnown(res *http.Response) bool {
	return res.ContentLength >= 0 || len(res.TransferEncoding) > 0 || res.Body == http.NoBody || res.Request.Method == http.MethodHead
}

// allow gives the upstream time for what comes next; zero is all the time. As in answer.allow, the deadline moves in steps.
func (c *fastConn) allow(within time.Duration, now time.Time) {
	if within == c.allowed && (within == 0 || now.Sub(c.allowedAt) <= within/8) {
		return
	}
	c.allowed, c.allowedAt = within, now
	if within > 0 {
		_ = c.Conn.SetReadDeadline(now.Add(within + within/8))
	} else {
		_ = c.Conn.SetReadDeadline(time.Time{})
	}
}
