package proxy

import (
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// spliceFrom is the length from which the kernel moves a body: below, setting it up costs more than it saves.
const spliceFrom = 64 << 10

// splice passes a body of known length on without reading it. What is buffered goes first; the rest is moved from connection to connection.
func (x *exchange) splice(to io.ReaderFrom, c *fastConn, length int64) error {
	left := length
	if n := min(int64(c.br.Buffered()), left); n > 0 {
		b, _ := c.br.Peek(int(n))
		if _, err := x.answer.Write(b); err != nil {
			return err
		}
		_, _ = c.br.Discard(int(n))
		left -= n
	}
	if left == 0 {
		return nil
	}
	c.allow(0, time.Now())
	control := http.NewResponseController(x.answer.ResponseWriter)
	_ = control.SetWriteDeadline(time.Time{})
	watch := x.watchSplice(c, control)
	n, err := to.ReadFrom(&io.LimitedReader{R: c.Conn, N: left})
	if watch.stop() && err == nil {
		err = errStalled // its deadlines stand, so neither connection is of use any more
	}
	x.answer.sent += n
	c.received += n
	switch {
	case err != nil:
		x.answer.broken = true
		return err
	case n < left:
		return errCutShort
	}
	x.answer.allow(time.Now())
	return nil
}

// spliceWatch cuts a transfer that the kernel does when it stands still: no deadline can move with bytes that nobody sees, so the kernel is asked
// what it has moved. Like a watchdog it looks four times within the limit.
type spliceWatch struct {
	timer            *time.Timer
	period           time.Duration
	from, to         *net.TCPConn
	control          *http.ResponseController
	seenFrom, seenTo uint64
	idle             int

	mu        sync.Mutex
	over, cut bool // the transfer is; it was cut
}

func (x *exchange) watchSplice(c *fastConn, control *http.ResponseController) *spliceWatch {
	if x.g.Limits.StalledBody <= 0 {
		return nil
	}
	w := &spliceWatch{period: max(x.g.Limits.StalledBody/4, time.Millisecond), from: c.Conn, to: listen.TCP(x.in.Context()), control: control}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Reset(w.period)
	return w
}

func (w *spliceWatch) look() {
	const looks = 4
	from, to := bytesReceived(w.from), bytesAcknowledged(w.to)
	if w.idle++; from != w.seenFrom || to != w.seenTo {
		w.idle = 0
	}
	w.seenFrom, w.seenTo = from, to
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return
	case w.idle >= looks:
		w.cut = true
		_ = w.from.SetDeadline(time.Unix(1, 0))
		_ = w.control.SetWriteDeadline(time.Unix(1, 0))
		return
	}
	w.timer.Reset(w.period)
}

// stop ends the watching, and tells whether the transfer was cut.
func (w *spliceWatch) stop() bool {
	if w == nil {
		return false
	}
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	return w.cut
}
