package carry

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// stallWatch ends a transfer in which no byte moves. It checks four times within the limit, so a
// transfer is cut between 1 and 1.25 times the limit after its last byte. A nil stallWatch does
// nothing.
type stallWatch struct {
	timer  *time.Timer
	period time.Duration
	moves  atomic.Int64            // pieces that have passed
	cancel context.CancelCauseFunc // ends the request
	kernel spliced                 // the connections, if the kernel moves the bytes
	paused atomic.Bool             // the transfer waits for something with a deadline of its own

	seen, idle int64 // used by look alone

	mu        sync.Mutex
	over, cut bool // the transfer is over; it was cut
}

// spliced is a transfer by the kernel. No deadline can move with its bytes, so the kernel is asked
// how many it has moved.
type spliced struct {
	from, to *net.TCPConn // from nil: no such transfer
	control  *http.ResponseController
}

// moved returns the sum of the bytes that have arrived and of those that were acknowledged.
func (s *spliced) moved() int64 { return int64(bytesReceived(s.from) + bytesAcknowledged(s.to)) }

// end cuts the transfer. Neither connection is of use after it.
func (s *spliced) end() {
	_ = s.from.SetDeadline(past)
	_ = s.control.SetWriteDeadline(past)
}

// past is a deadline that is over: it interrupts what waits.
var past = time.Unix(1, 0)

// watch returns a stallWatch of a body, or nil if nothing could end the request.
func (x *Exchange) watch() *stallWatch {
	if x.cancel == nil || x.Stalled <= 0 {
		return nil
	}
	return (&stallWatch{cancel: x.cancel}).start(x.Stalled)
}

// watchSplice returns a stallWatch of a transfer by the kernel.
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

// position returns a number that grows while bytes move.
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

// pause says whether the transfer waits for something that has a deadline of its own.
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

// cause returns ErrStalled if the watch has cut the transfer, else err.
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

// PauseUpload says whether the body of the request waits for something other than the upstream.
func (x *Exchange) PauseUpload(yes bool) { x.up.pause(yes) }
