package carry

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// stallWatch ends a transfer that stands still. A nil one watches nothing. It looks four times
// within the limit, so a transfer is cut between one and one and a quarter of the limit after
// its last byte.
type stallWatch struct {
	timer  *time.Timer
	period time.Duration
	moves  atomic.Int64            // pieces that have passed
	cancel context.CancelCauseFunc // ends the request
	kernel spliced                 // what moves the bytes, where they do not pass through bellbuoy
	paused atomic.Bool             // the transfer waits for something with a deadline of its own

	seen, idle int64 // the timer's own

	mu        sync.Mutex
	over, cut bool // the transfer is over; it was cut
}

// spliced is a transfer that the kernel does. No deadline can move with its bytes, so the kernel is
// asked how many it has moved.
type spliced struct {
	from, to *net.TCPConn // from nil: no such transfer
	control  *http.ResponseController
}

// moved is how many bytes have come and how many have gone, in sum.
func (s *spliced) moved() int64 { return int64(bytesReceived(s.from) + bytesAcknowledged(s.to)) }

// end cuts the transfer. Neither connection is of use after it.
func (s *spliced) end() {
	_ = s.from.SetDeadline(past)
	_ = s.control.SetWriteDeadline(past)
}

// past is a deadline that wakes up what waits.
var past = time.Unix(1, 0)

// watch begins to watch a body. Nil where nothing can end the request.
func (x *Exchange) watch() *stallWatch {
	if x.cancel == nil || x.Stalled <= 0 {
		return nil
	}
	return (&stallWatch{cancel: x.cancel}).start(x.Stalled)
}

// watchSplice begins to watch a transfer that the kernel does.
func (x *Exchange) watchSplice(s spliced) *stallWatch {
	if x.Stalled <= 0 {
		return nil
	}
	return (&stallWatch{kernel: s}).start(x.Stalled)
}

func (w *stallWatch) start(limit time.Duration) *stallWatch {
	w.period = max(limit/4, time.Millisecond)
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Reset(w.period)
	return w
}

func (w *stallWatch) look() {
	const looks = 4
	now := w.position()
	if w.idle++; now != w.seen || w.paused.Load() {
		w.seen, w.idle = now, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
	case w.idle >= looks:
		w.cut = true
		w.end()
	default:
		w.timer.Reset(w.period)
	}
}

// position grows while bytes move.
func (w *stallWatch) position() int64 {
	if w.kernel.from != nil {
		return w.kernel.moved()
	}
	return w.moves.Load()
}

func (w *stallWatch) end() {
	if w.kernel.from != nil {
		w.kernel.end()
		return
	}
	w.cancel(ErrStalled)
}

// moved counts a piece that has passed.
func (w *stallWatch) moved() {
	if w != nil {
		w.moves.Add(1)
	}
}

// pause says that the transfer waits for something with a deadline of its own, or no longer.
func (w *stallWatch) pause(yes bool) {
	if w != nil {
		w.paused.Store(yes)
	}
}

// stop ends the watch, and reports whether the transfer was cut.
func (w *stallWatch) stop() (cut bool) {
	if w == nil {
		return false
	}
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	return w.cut
}

// cause is err, or ErrStalled where that is why.
func (w *stallWatch) cause(err error) error {
	if err == nil || w == nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return ErrStalled
	}
	return err
}

// PauseUpload says that the request's body waits for something else than the upstream, or no
// longer.
func (x *Exchange) PauseUpload(yes bool) { x.up.pause(yes) }
