package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// The fast path carries requests without a body (and blobs: fastup.go) to a plaintext upstream: over connections of its own, in the handler's
// goroutine, and with large bodies moved by the kernel. It does what http.Transport and httputil.ReverseProxy do, for the cases in which that is
// simple, and leaves all others to them. What it gains is measured by the benchmarks; what it must not lose is checked against them by fuzzing.
//
// Its rule for connections: one is used again only when its last answer was read to an end that both sides know, with not a byte more behind it,
// and was framed in one way only.

// fastUpstream is the fast way to an upstream. A nil one has none.
type fastUpstream struct {
	pool   fastPool
	header time.Duration // limits.upstream_response_header
}

func newFastUpstream(u Upstream, limits Limits) *fastUpstream {
	if !fastSupported || u.URL.Scheme != "http" {
		return nil
	}
	return &fastUpstream{pool: newFastPool(u.URL.Host, limits.UpstreamConnect), header: limits.UpstreamResponseHeader}
}

func (f *fastUpstream) close() {
	if f != nil {
		f.pool.close()
	}
}

// simple tells whether a request is one for the fast path.
func (f *fastUpstream) simple(r *http.Request) bool {
	if f == nil || r.ContentLength != 0 || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return false
	}
	return !demanding(r.Header)
}

// demanding tells whether a request's header asks for more than the fast path can.
func demanding(h http.Header) bool {
	return len(h["Te"]) > 0 || len(h["Trailer"]) > 0 || len(h["Upgrade"]) > 0 || len(h["Expect"]) > 0 || len(h["Proxy-Connection"]) > 0
}

// carryFast carries the request if it is one for the fast path.
func (x *exchange) carryFast() bool {
	if !x.route.fast.simple(x.in) {
		return false
	}
	x.ctx = x.in.Context()
	c, res, err := x.askFast() //nolint:bodyclose // the body ends with the connection's turn: put or close
	if err != nil {
		x.failed(err)
		return true
	}
	reusable := false
	defer func() { x.route.fast.pool.release(c, reusable) }()
	if err := x.answered(res); err != nil {
		x.failed(err)
		return true
	}
	reusable = x.pass(c, res)
	return true
}

// askFast sends the request and reads the answer's header. A connection that was idle may have been closed by the upstream just now: then the
// request is sent once more, on a new one.
func (x *exchange) askFast() (*fastConn, *http.Response, error) {
	head := buffers.Heads.Borrow()
	defer head.Return()
	head.Bytes = x.appendRequest(head.Bytes[:0])
	for again := false; ; again = true {
		c, err := x.route.fast.pool.get(x.ctx, again)
		if err != nil {
			return nil, nil, err
		}
		res, err := x.converse(c, head.Bytes)
		if err == nil {
			return c, res, nil
		}
		stale := c.used && c.received == 0 && !timedOut(err) && x.ctx.Err() == nil
		c.unwatch()
		c.close()
		if !stale || again {
			return nil, nil, err
		}
	}
}

const maxInformational = 8 // 1xx answers before the answer

var errInformational = errors.New("too many 1xx answers")

// converse sends a request and reads the header of its answer.
func (x *exchange) converse(c *fastConn, request []byte) (*http.Response, error) {
	c.begin(x.route.fast.header, time.Now())
	if _, err := c.Conn.Write(request); err != nil {
		return nil, err
	}
	return x.awaitAnswer(c)
}

// awaitAnswer reads the header of the answer; those of 1xx before it go to the client at once.
func (x *exchange) awaitAnswer(c *fastConn) (*http.Response, error) {
	for range maxInformational {
		res, err := c.readHeader(x.in)
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= 200 || res.StatusCode < 100 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, nil
		}
		h := x.answer.Header()
		for name, values := range res.Header {
			h[name] = values
		}
		x.answer.WriteHeader(res.StatusCode)
		clear(h)
	}
	return nil, errInformational
}

// pass hands the answer to the client, and tells whether the connection may be used again. Where the upstream breaks off, so does the answer.
func (x *exchange) pass(c *fastConn, res *http.Response) (reusable bool) {
	dropNamed(res.Header)
	h := x.answer.Header()
	for name, values := range res.Header {
		if !hopByHop(name) {
			h[name] = values
		}
	}
	announced := len(res.Trailer)
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	x.answer.WriteHeader(res.StatusCode)
	if err := x.passBody(c, res); err != nil {
		panic(http.ErrAbortHandler)
	}
	x.passTrailer(res.Trailer, announced)
	return c.reusable(res)
}

func (x *exchange) passTrailer(trailer http.Header, announced int) {
	if len(trailer) == 0 {
		return
	}
	_ = http.NewResponseController(&x.answer).Flush() // a trailer needs chunks
	prefix := http.TrailerPrefix
	if len(trailer) == announced {
		prefix = ""
	}
	for name, values := range trailer {
		x.answer.Header()[prefix+name] = values
	}
}

// passBody passes the body on. Large ones are moved by the kernel where both connections are plain TCP.
func (x *exchange) passBody(c *fastConn, res *http.Response) error {
	if x.in.Method == http.MethodHead || res.Body == http.NoBody || res.ContentLength == 0 {
		x.answer.clean = true
		return nil
	}
	if res.ContentLength < 0 || int64(c.buffered()) < res.ContentLength {
		c.watch(x.ctx)
	}
	if res.ContentLength >= spliceFrom && x.got.limit == 0 && x.in.TLS == nil && x.in.ProtoMajor == 1 {
		if to, ok := x.answer.ResponseWriter.(io.ReaderFrom); ok {
			return x.splice(to, c, res.ContentLength)
		}
	}
	if d, ok := res.Body.(*download); ok && res.ContentLength >= spliceFrom {
		return x.copyLong(c, d)
	}
	return x.copyBody(c, res)
}

// unbuffered is the length from which net/http keeps nothing of a Write back.
const unbuffered = buffers.RecordSize

// copyBody passes a body on piece by piece. What the upstream has sent is sent on before more is waited for.
func (x *exchange) copyBody(c *fastConn, res *http.Response) error {
	buf := buffers.Record.Borrow()
	defer buf.Return()
	control := http.NewResponseController(x.answer.ResponseWriter)
	left := res.ContentLength // negative: unknown
	for {
		if left < 0 || int64(c.buffered()) < left {
			c.allow(x.g.Limits.StalledBody, time.Now())
		}
		n, err := res.Body.Read(buf.Bytes)
		if left > 0 {
			left -= int64(n)
		}
		if n > 0 {
			if _, err := x.answer.Write(buf.Bytes[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF || left == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if n < unbuffered && c.buffered() == 0 {
			_ = control.Flush() // a failure shows with the next Write
		}
	}
}

// dropNamed takes out what Connection names: it is between the upstream and bellbuoy only.
func dropNamed(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
}

// hopByHop tells the headers that are between two hops. name is canonical.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

var errCutShort = errors.New("the upstream closed the connection in the middle of its answer")

// cause is why a connection that the client's going away woke up failed.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
