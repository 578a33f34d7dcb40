package carry

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// Fast is the fast path: HTTP/1.1 to a plaintext upstream over connections of its own, in the
// handler's goroutine, with large bodies moved by the kernel. It does what http.Transport and
// httputil.ReverseProxy do for the cases in which that is simple, and leaves all others to them.
// Benchmarks measure what it gains; fuzzing checks that it does the same.
//
// A connection is used again only if both sides agree on where its last answer ended: the answer
// had one length, was read to its end, and no byte followed.
type Fast struct {
	pool   fastPool
	header time.Duration // timeout of the header of an answer; 0: none
}

func newFast(o Options) *Fast {
	if !fastSupported || o.URL.Scheme != "http" {
		return nil
	}
	return &Fast{pool: newFastPool(o.URL.Host, o.Connect), header: o.ResponseHeader}
}

func (f *Fast) close() {
	if f != nil {
		f.pool.close()
	}
}

// Idle reports whether there is an idle connection with a local address, ready for a request.
func (f *Fast) Idle(local net.Addr) bool { return f.pool.ready(local) }

// takes reports whether the fast path carries a request. Requests with trailers, upgrades and the
// like are left to http.Transport. A nil Fast takes none.
func (f *Fast) takes(x *Exchange) bool {
	r := x.In
	if f == nil || demanding(r.Header) {
		return false
	}
	if r.ContentLength == 0 {
		return r.Method == http.MethodGet || r.Method == http.MethodHead
	}
	return x.Bulk && r.ProtoMajor == 1 && len(r.Trailer) == 0
}

// demanding reports whether the header of a request needs what the fast path cannot do.
func demanding(h http.Header) bool {
	return len(h["Te"]) > 0 || len(h["Trailer"]) > 0 || len(h["Upgrade"]) > 0 || len(h["Expect"]) > 0 || len(h["Proxy-Connection"]) > 0
}

// Carry carries a request.
func (f *Fast) Carry(x *Exchange) {
	if x.In.ContentLength == 0 {
		f.download(x)
	} else {
		f.upload(x)
	}
}

// download carries a request without a body.
func (f *Fast) download(x *Exchange) {
	c, res, err := f.ask(x) //nolint:bodyclose // the body ends with the connection's turn: put or close
	if err != nil {
		x.Fail(err)
		return
	}
	reusable := false
	defer func() { f.pool.release(c, reusable) }()
	if err := x.answered(res); err != nil {
		x.Fail(err)
		return
	}
	reusable = x.pass(c, res)
}

// ask sends the request and reads the header of the answer. If an idle connection fails, because
// the upstream may have closed it just now, ask sends the request once more on a new one.
func (f *Fast) ask(x *Exchange) (*fastConn, *http.Response, error) {
	head := buffers.Heads.Borrow()
	defer head.Return()
	head.Bytes = append(x.appendHead(head.Bytes[:0]), "\r\n"...)
	for again := false; ; again = true {
		c, err := f.pool.get(x.Context(), again)
		if err != nil {
			return nil, nil, err
		}
		res, err := f.converse(x, c, head.Bytes)
		if err == nil {
			return c, res, nil
		}
		stale := c.used && c.received == 0 && !TimedOut(err) && x.Context().Err() == nil
		c.unwatch()
		c.close()
		if !stale || again {
			return nil, nil, err
		}
	}
}

// converse sends a request and reads the header of its answer.
func (f *Fast) converse(x *Exchange, c *fastConn, request []byte) (*http.Response, error) {
	c.begin(f.header, time.Now())
	if _, err := c.Conn.Write(request); err != nil {
		return nil, err
	}
	return x.awaitAnswer(c)
}

// appendHead appends the head of the request to the upstream, without the empty line.
func (x *Exchange) appendHead(b []byte) []byte {
	b = append(b, x.In.Method...)
	b = append(b, ' ')
	b = append(b, x.Target...)
	b = append(b, " HTTP/1.1\r\n"...)
	return x.Header.appendTo(b, x.In.Header)
}

const maxInformational = 8 // 1xx answers before the answer

// awaitAnswer reads the header of the answer. Answers of 1xx before it go to the client at once.
func (x *Exchange) awaitAnswer(c *fastConn) (*http.Response, error) {
	for range maxInformational {
		res, err := c.readHeader(x.In)
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= 200 || res.StatusCode < 100 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, nil
		}
		h := x.Answer.Header()
		for name, values := range res.Header {
			h[name] = values
		}
		x.Answer.WriteHeader(res.StatusCode)
		clear(h)
	}
	return nil, errInformational
}

// pass sends the answer to the client, and reports whether the connection may be used again. If the
// upstream breaks off, the answer is cut.
func (x *Exchange) pass(c *fastConn, res *http.Response) (reusable bool) {
	dropNamed(res.Header)
	h := x.Answer.Header()
	for name, values := range res.Header {
		if !betweenHops(name) {
			h[name] = values
		}
	}
	announced := len(res.Trailer)
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	x.Answer.WriteHeader(res.StatusCode)
	cut(x.passBody(c, res))
	x.passTrailer(res.Trailer, announced)
	return c.reusable(res)
}

func (x *Exchange) passTrailer(trailer http.Header, announced int) {
	if len(trailer) == 0 {
		return
	}
	x.Answer.flush() // a trailer needs chunks
	prefix := http.TrailerPrefix
	if len(trailer) == announced {
		prefix = ""
	}
	for name, values := range trailer {
		x.Answer.Header()[prefix+name] = values
	}
}

// passBody sends the body to the client. If both connections are plain TCP, the kernel moves long
// bodies.
func (x *Exchange) passBody(c *fastConn, res *http.Response) error {
	if x.In.Method == http.MethodHead || res.Body == http.NoBody || res.ContentLength == 0 {
		x.Answer.clean = true
		return nil
	}
	if res.ContentLength < 0 || int64(c.buffered()) < res.ContentLength {
		c.watch(x.Context())
	}
	body, ok := res.Body.(*answerBody)
	if !ok || res.ContentLength < longFrom {
		return x.copyBody(c, res)
	}
	if to, ok := x.Answer.ResponseWriter.(io.ReaderFrom); ok && body.reader == nil && x.In.TLS == nil && x.In.ProtoMajor == 1 {
		return x.splice(to, c, res.ContentLength)
	}
	body.conn = c
	return x.copyLong(body)
}

// copyBody sends a body to the client piece by piece. It flushes what has arrived before it waits
// for more.
func (x *Exchange) copyBody(c *fastConn, res *http.Response) error {
	buf := buffers.Record.Borrow()
	defer buf.Return()
	left := res.ContentLength // negative: unknown
	for {
		if left < 0 || int64(c.buffered()) < left {
			c.allow(x.Stalled, time.Now())
		}
		n, err := res.Body.Read(buf.Bytes)
		if left > 0 {
			left -= int64(n)
		}
		if n > 0 {
			if _, err := x.Answer.Write(buf.Bytes[:n]); err != nil {
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
			x.Answer.flush()
		}
	}
}
