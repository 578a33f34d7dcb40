package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// A blob goes to a plaintext upstream over the fast path's connections, in pieces as large as what the client has sent by then: what it costs is
// calls of the kernel. Where its length is not known, it comes and goes in chunks; the client's are not the upstream's. So goes a manifest, in one
// piece when its intent is committed.

// uploads tells whether a request is such a blob or manifest. What asks for more than a body and an answer is left to http.Transport.
func (f *fastUpstream) uploads(x *exchange) bool {
	r := x.in
	if f == nil || r.ContentLength == 0 || r.ProtoMajor != 1 || len(r.Trailer) > 0 || demanding(r.Header) {
		return false
	}
	switch x.op.Action {
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd:
		return r.Method == http.MethodPost || r.Method == http.MethodPatch || r.Method == http.MethodPut
	case detect.ManifestPut:
		return true
	}
	return false
}

// carryUpload carries the request if it is a blob's upload for the fast path.
func (x *exchange) carryUpload() bool {
	if !x.route.fast.uploads(x) {
		return false
	}
	ctx, cancel := context.WithCancelCause(x.in.Context())
	defer cancel(nil)
	x.ctx = cancellable(ctx, cancel)
	x.pumpUp(x.upload(), x.ahead())
	return true
}

// pumpUp sends the request with its body, and passes the answer on. That is awaited from the beginning: it may come before the end of the body, and
// then nothing may keep it from the client.
func (x *exchange) pumpUp(body io.ReadCloser, client *listen.ReadAhead) {
	x.body.ends = true
	c, err := x.route.fast.pool.get(x.ctx, false) // one that waits in silence: what it has taken of a body cannot be sent once more
	if err != nil {
		x.failed(err)
		return
	}
	p := &pump{x: x, c: c, body: body, client: client, chunked: x.in.ContentLength < 0, done: make(chan struct{})}
	reusable := false
	defer func() {
		sent := p.finished()
		x.route.fast.pool.release(c, sent && reusable)
		if !sent {
			p.halt()
		}
	}()
	res, err := x.askUpload(c, p) //nolint:bodyclose // the body ends with the connection's turn: put or close
	if err == nil {
		dropNamed(res.Header)
		res.Header.Del("Connection") // from here on, it is that of the client's
		err = x.answered(res)
	}
	if err != nil {
		x.failed(err)
		return
	}
	if v := res.Header["Connection"]; v != nil {
		x.answer.Header()["Connection"] = v // pass would take it for the upstream's
	}
	reusable = x.pass(c, res)
}

// askUpload sends the request's head, has the pump send the body, and reads the answer's header.
func (x *exchange) askUpload(c *fastConn, p *pump) (*http.Response, error) {
	c.watch(x.ctx)
	head := buffers.Heads.Borrow()
	head.Bytes = x.appendUpload(head.Bytes[:0])
	c.begin(0, time.Now())
	_, err := c.Conn.Write(head.Bytes)
	head.Return()
	if err != nil {
		close(p.done)
		return nil, err
	}
	go p.run()
	res, err := x.awaitAnswer(c)
	p.answered()
	if err != nil {
		return nil, p.why(err)
	}
	return res, nil
}

// appendUpload writes the upstream's request for a body. Its framing is made here, and never the client's.
func (x *exchange) appendUpload(b []byte) []byte {
	b = x.appendRequest(b)
	b = b[:len(b)-len("\r\n")]
	if x.in.ContentLength < 0 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	} else {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, x.in.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// ahead is the client's connection where reading ahead of the body pays.
func (x *exchange) ahead() *listen.ReadAhead {
	if x.in.ContentLength >= 0 {
		return nil
	}
	return listen.Ahead(x.in.Context())
}

// pump sends a body to the upstream, in a goroutine of its own. That may outlive the handler, as http.Transport's does: after an early answer
// its last Read ends when net/http is done with the request.
type pump struct {
	x       *exchange
	c       *fastConn
	body    io.ReadCloser
	client  *listen.ReadAhead // nil where it has TLS, or the body's length is known
	chunked bool
	done    chan struct{}
	err     error // why not all was sent; for who has seen done
	halted  atomic.Bool

	mu  sync.Mutex
	has bool // an answer, or none will come: the connection's deadlines are the handler's
}

func (p *pump) run() {
	defer close(p.done)
	defer p.body.Close()
	p.err = p.send()
	switch limit := p.x.route.fast.header; {
	case p.err == nil && limit > 0 && !p.x.hashes():
		p.limit(time.Now().Add(limit))
	case p.err == nil:
	case p.x.cutOff.Load() != nil, errors.Is(p.err, errWithheld):
		p.limit(time.Unix(1, 0)) // the upstream must not take what has come for all
	default:
		p.limit(time.Now().Add(lastWords))
	}
}

// lastWords is how long an upstream that takes no more has for saying why. Mostly it has said so already.
const lastWords = time.Second

// limit gives the upstream until t for its answer's header, unless it is there.
func (p *pump) limit(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has {
		return
	}
	_ = p.c.Conn.SetReadDeadline(t)
	if p.x.ctx.Err() != nil { // whose deadline this may have undone
		_ = p.c.Conn.SetDeadline(time.Unix(1, 0))
	}
}

// answered takes what time the upstream had for its header back.
func (p *pump) answered() {
	p.limit(time.Time{})
	p.mu.Lock()
	p.has = true
	p.mu.Unlock()
}

// finished tells whether all of the body was sent. An upstream that has all of it may answer before the pump knows that it is through.
func (p *pump) finished() bool {
	if p.x.early() {
		return false
	}
	select {
	case <-p.done:
		return p.err == nil
	case <-time.After(lastMoment):
		return false
	}
}

const lastMoment = 50 * time.Millisecond // as http.Transport has

// halt has the pump keep its hands off the body, and lets a Read that is under way come to its end: net/http would break it off, take the body for
// broken, and close the connection while the client is sending, which may cost it the answer. A client that does not send is not waited for.
func (p *pump) halt() {
	p.halted.Store(true)
	select {
	case <-p.done:
		return
	default:
	}
	_ = http.NewResponseController(&p.x.answer).Flush()
	select {
	case <-p.done:
	case <-time.After(lastMoment):
	}
}

// why is the reason for err, which ended the waiting for an answer. A client's own failure shows where its body is read; net/http cancels the
// request a moment before.
func (p *pump) why(err error) error {
	if p.x.in.Context().Err() != nil {
		select {
		case <-p.done:
		case <-time.After(lastWords):
		}
	}
	select {
	case <-p.done:
		if p.err != nil {
			return p.err
		}
	default:
	}
	return err
}

// chunkHead is the longest head of a chunk: buffers.Upload's size, in hexadecimal.
const chunkHead = len("40000\r\n")

// borrowPiece lends a buffer for a body of a length; negative: unknown.
func borrowPiece(length int64) *buffers.Buffer {
	if length <= 0 || length > int64(buffers.SomeSize-chunkHead-chunkTail) {
		if b := buffers.Upload.Borrow(); b != nil {
			return b
		}
	}
	return buffers.Some.Borrow()
}

// send sends the body to its end. What the client has sent is sent on before more is waited for.
func (p *pump) send() error {
	if p.client != nil {
		p.client.Begin()
		defer p.client.End()
	}
	b := borrowPiece(p.x.in.ContentLength)
	defer b.Return()
	out := piece{buf: b.Bytes, chunked: p.chunked}
	for {
		if p.halted.Load() {
			return errAnswered
		}
		n, err := p.body.Read(out.room())
		out.n += n
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil && p.gathers(&out) {
			continue
		}
		if err := p.c.writeAll(out.take(err == io.EOF), p.x.up.moved); err != nil {
			return cause(p.x.ctx, err)
		}
		if err == io.EOF {
			return nil
		}
	}
}

// gathers tells whether a piece is not sent before another Read: that of a manifest before its end is there or the room used up, that of a blob while
// the client has sent more.
func (p *pump) gathers(out *piece) bool {
	if p.x.gate != nil {
		return len(out.room()) > 0
	}
	return out.roomy() && p.waiting()
}

// waiting tells whether the client has sent enough for another Read not to wait for it. A body in chunks comes one by one.
func (p *pump) waiting() bool {
	return p.client != nil && p.client.Waits(enough)
}

const enough = 8 << 10

// piece is a part of a body that goes out at a time, as one chunk or as it is.
type piece struct {
	buf     []byte
	n       int // bytes of the body, behind chunkHead
	chunked bool
}

const chunkTail = len("\r\n0\r\n\r\n")

// room is where the next Read puts what it reads. One from a body in chunks does not return before its chunk has come, or the room is full.
func (p *piece) room() []byte {
	room := p.buf[chunkHead+p.n : len(p.buf)-chunkTail]
	if p.chunked {
		return room[:min(len(room), buffers.CopySize)]
	}
	return room
}

func (p *piece) roomy() bool { return len(p.room()) >= enough }

// take returns what there is, ready to be sent, and starts anew. With the last of a body in chunks goes its end.
func (p *piece) take(last bool) []byte {
	from, to := chunkHead, chunkHead+p.n
	if p.chunked && p.n > 0 {
		var head [chunkHead]byte
		h := append(strconv.AppendInt(head[:0], int64(p.n), 16), "\r\n"...)
		from -= copy(p.buf[from-len(h):], h)
		to += copy(p.buf[to:], "\r\n")
	}
	if p.chunked && last {
		to += copy(p.buf[to:], "0\r\n\r\n")
	}
	p.n = 0
	return p.buf[from:to]
}
