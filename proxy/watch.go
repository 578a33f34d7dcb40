package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled is the cause when a body moved no byte for limits.stalled_body because of the upstream.
var errStalled = errors.New("no byte moved for too long")

// watchdog cancels a request whose body stands still. A nil watchdog watches nothing. It looks four times within the limit
// rather than being wound up by each byte, so a body is cut between one and one and a quarter of the limit after its last.
type watchdog struct {
	timer  *time.Timer
	period time.Duration
	moves  atomic.Int64
	paused atomic.Bool // somebody else waits, under a deadline of its own
	cut    atomic.Bool
	cancel context.CancelCauseFunc

	seen, idle int64 // the timer's own
}

type watchKey struct{}

// cancellable lets watchdogs of a request's bodies end it.
func cancellable(ctx context.Context, cancel context.CancelCauseFunc) context.Context {
	return context.WithValue(ctx, watchKey{}, cancel)
}

// watch begins to watch a body of the request that ctx is of.
func watch(limit time.Duration, ctx context.Context) *watchdog {
	cancel, ok := ctx.Value(watchKey{}).(context.CancelCauseFunc)
	if limit <= 0 || !ok {
		return nil
	}
	w := &watchdog{period: max(limit/4, time.Millisecond), cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Reset(w.period)
	return w
}

func (w *watchdog) look() {
	const looks = 4
	now := w.moves.Load()
	if w.idle++; now != w.seen || w.paused.Load() {
		w.seen, w.idle = now, 0
	}
	if w.idle >= looks {
		w.cut.Store(true)
		w.cancel(errStalled)
		return
	}
	w.timer.Reset(w.period)
}

// moved says that bytes moved.
func (w *watchdog) moved() {
	if w != nil {
		w.moves.Add(1)
	}
}

// pause says that somebody else is waited for, or no longer.
func (w *watchdog) pause(yes bool) {
	if w != nil {
		w.paused.Store(yes)
	}
}

// stop ends the watching.
func (w *watchdog) stop() {
	if w != nil {
		w.timer.Stop()
	}
}

// cause is err, or errStalled where that is why.
func (w *watchdog) cause(err error) error {
	if err != nil && w != nil && w.cut.Load() {
		return errStalled
	}
	return err
}

// upload is a request's body on its way to the upstream. Its client must keep sending, the upstream must keep taking.
type upload struct {
	io.ReadCloser
	x         *exchange
	control   *http.ResponseController
	stalled   time.Duration
	allowedAt time.Time
	watch     *watchdog
	ends      bool // with Close: who reads it closes it when all is with the upstream; else with its last byte

	mu   sync.Mutex
	over bool // the handler is: its connection has other things to do, and an HTTP/2 stream is no more
}

// upload is the request's body, watched.
func (x *exchange) upload() io.ReadCloser {
	if x.in.ContentLength == 0 {
		return http.NoBody
	}
	x.answer.allow(time.Now()) // for the 100 Continue that the first Read sends
	x.up = watch(x.g.Limits.StalledBody, x.ctx)
	u := &upload{
		ReadCloser: x.in.Body, x: x, stalled: x.g.Limits.StalledBody,
		control: http.NewResponseController(x.answer.ResponseWriter), watch: x.up,
	}
	// An upstream may answer before it has read all: that answer must not wait for the rest of the body.
	_ = u.control.EnableFullDuplex()
	x.body = u
	return u
}

// leave has the body keep its hands off the connection from now on: the transport may go on reading after an early answer. A nil upload has none.
func (u *upload) leave() {
	if u != nil {
		u.mu.Lock()
		u.over = true
		u.mu.Unlock()
	}
}

// within gives the client time until t for what it sends; zero is all the time.
func (u *upload) within(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		_ = u.control.SetReadDeadline(t)
	}
}

// Read reads what the client sends. Its errors other than io.EOF are clientErrors.
func (u *upload) Read(p []byte) (int, error) {
	u.allow()
	u.watch.pause(true)
	n, err := u.ReadCloser.Read(p)
	u.watch.pause(false)
	u.watch.moved()
	u.x.received.Add(int64(n))
	if err == nil {
		return n, nil
	}
	if err != io.EOF || !u.ends {
		u.watch.stop()
	}
	u.unlimit()
	if err != io.EOF {
		u.x.cutOff.Store(&clientError{err})
		return n, clientError{err}
	}
	u.x.arrived.Store(true)
	return n, io.EOF
}

// Close ends the watching; the body itself is the server's to close.
func (u *upload) Close() error {
	u.watch.stop()
	return nil
}

func (u *upload) allow() {
	if u.stalled <= 0 {
		return
	}
	if now := time.Now(); now.Sub(u.allowedAt) > u.stalled/8 {
		u.allowedAt = now
		u.within(now.Add(u.stalled + u.stalled/8))
	}
}

// unlimit takes the deadline away: while the upstream works, the client has nothing more to send.
func (u *upload) unlimit() {
	if u.stalled > 0 {
		u.within(time.Time{})
	}
}

// clientError is why a request's body did not arrive.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

func (e clientError) timeout() bool { return errors.Is(e.error, os.ErrDeadlineExceeded) }
