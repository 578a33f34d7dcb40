package carry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// A blob goes to a plaintext upstream in pieces that are as large as what the client has sent by
// then, because system calls are what an upload costs. If its length is unknown, it comes and goes
// in chunks, and those to the upstream need not be those of the client. A manifest goes the same
// way, in one piece.

// upload carries a request with a body. The answer is awaited from the beginning, because it may
// come before the end of the body and then goes to the client at once.
func (f *Fast) upload(x *Exchange) {
	if x.cancel == nil {
		x.ctx, x.cancel = context.WithCancelCause(x.In.Context())
		defer x.cancel(nil)
	}
	body := x.outgoing()
	x.upload.ends = true
	c, err := f.pool.get(x.ctx, false) // one on which nothing has arrived: a body cannot be sent twice
	if err != nil {
		x.Fail(err)
		return
	}
	p := &pump{x: x, c: c, body: body, header: f.header, ahead: readAhead(x), chunked: x.In.ContentLength < 0, done: make(chan struct{})}
	reusable := false
	defer func() {
		sent := p.finished()
		f.pool.release(c, sent && reusable)
		if !sent {
			p.halt()
		}
	}()
	res, err := p.ask() //nolint:bodyclose // the body ends with the connection's turn: put or close
	if err == nil {
		dropNamed(res.Header)
		res.Header.Del("Connection") // from here on, it is that of the client's
		err = x.answered(res)
	}
	if err != nil {
		x.Fail(err)
		return
	}
	if v := res.Header["Connection"]; v != nil {
		x.Answer.Header()["Connection"] = v // pass would take it for the upstream's
	}
	reusable = x.pass(c, res)
}

// readAhead returns the connection of the client if reading ahead of the body pays, which it does
// for a blob in chunks; else nil.
func readAhead(x *Exchange) *listen.ReadAhead {
	if x.In.ContentLength >= 0 || x.Whole {
		return nil
	}
	return listen.Ahead(x.In.Context())
}

// ask sends the request's head, begins to send the body, and reads the answer's header.
func (p *pump) ask() (*http.Response, error) {
	p.c.watch(p.x.ctx)
	head := buffers.Heads.Borrow()
	head.Bytes = p.appendUpload(head.Bytes[:0])
	p.c.begin(0, time.Now())
	_, err := p.c.Conn.Write(head.Bytes)
	head.Return()
	if err != nil {
		close(p.done)
		return nil, err
	}
	go p.run()
	res, err := p.x.awaitAnswer(p.c)
	p.answered()
	if err != nil {
		return nil, p.why(err)
	}
	return res, nil
}

// pump sends a body to the upstream, in a goroutine of its own. The goroutine may outlive the
// handler, as that of http.Transport may: after an early answer its last Read ends when net/http is
// done with the request.
type pump struct {
	x       *Exchange
	c       *fastConn
	body    io.ReadCloser
	header  time.Duration     // for an answer's header after the end of the body; 0: no limit
	ahead   *listen.ReadAhead // the client's connection; nil: nothing is read ahead
	chunked bool
	done    chan struct{}
	err     error // why not all of the body was sent; set before done is closed
	halted  atomic.Bool

	mu  sync.Mutex
	has bool // there is an answer, or there will be none: the pump must set no more deadlines
}

func (p *pump) run() {
	defer close(p.done)
	defer p.body.Close()
	p.err = p.send()
	var withheld Withheld
	switch limit := p.header; {
	case p.err == nil && limit > 0 && !p.x.Hashes:
		p.limit(time.Now().Add(limit))
	case p.err == nil:
	case p.x.cutOff.Load() != nil, errors.As(p.err, &withheld):
		p.limit(past) // the upstream must not take what has come for all
	default:
		p.limit(time.Now().Add(lateAnswer))
	}
}

// lateAnswer is how long an upstream that stopped reading has for its answer. Mostly it has
// answered already.
const lateAnswer = time.Second

// limit sets the deadline for the header of the answer to t, unless the answer has arrived.
func (p *pump) limit(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has {
		return
	}
	_ = p.c.Conn.SetReadDeadline(t)
	if p.x.ctx.Err() != nil { // the watch may have set a deadline that this has replaced
		_ = p.c.Conn.SetDeadline(past)
	}
}

// answered removes the deadline for the header of the answer.
func (p *pump) answered() {
	p.limit(time.Time{})
	p.mu.Lock()
	p.has = true
	p.mu.Unlock()
}

// finished reports whether all of the body was sent. An upstream that has all of it may answer
// before the pump has returned.
func (p *pump) finished() bool {
	if p.x.Early() {
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

// halt stops the pump, and waits for a Read that is under way: net/http would interrupt it and
// close the connection while the client is sending, so that the client might lose the answer. halt
// does not wait for a client that sends nothing.
func (p *pump) halt() {
	p.halted.Store(true)
	select {
	case <-p.done:
		return
	default:
	}
	p.x.Answer.flush()
	select {
	case <-p.done:
	case <-time.After(lastMoment):
	}
}

// why returns the reason for err, which ended the wait for an answer. If the client has failed, the
// error of reading its body is the reason, although net/http has cancelled the request before.
func (p *pump) why(err error) error {
	if p.x.In.Context().Err() != nil {
		select {
		case <-p.done:
		case <-time.After(lateAnswer):
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

// send sends the body to its end. It sends what the client has sent before it waits for more.
func (p *pump) send() error {
	if p.ahead != nil {
		p.ahead.Begin()
		defer p.ahead.End()
	}
	b := borrowPiece(p.x.In.ContentLength)
	defer b.Return()
	out := piece{buf: b.Bytes, chunked: p.chunked}
	for {
		if p.halted.Load() {
			return ErrAnswered
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

// gathers reports whether a piece waits for another Read: a body in one piece until its end has
// come or the buffer is full, any other while the client has sent more.
func (p *pump) gathers(out *piece) bool {
	if p.x.Whole {
		return len(out.room()) > 0
	}
	return out.roomy() && p.waiting()
}

// waiting reports whether enough bytes have arrived for another Read to return at once.
func (p *pump) waiting() bool {
	return p.ahead != nil && p.ahead.Waits(enough)
}

const enough = 8 << 10
