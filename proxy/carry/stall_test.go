package carry

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// A deadline moves after an eighth of its limit, and not before. Without a limit there is no
// deadline.
func TestAllowanceMovesInSteps(t *testing.T) {
	begin := time.Unix(1000, 0)
	a := allowance{limit: 8 * time.Second}
	if got := a.next(begin); !got.Equal(begin.Add(9 * time.Second)) {
		t.Errorf("the first deadline is after %v", got.Sub(begin))
	}
	for after, want := range map[time.Duration]bool{0: false, time.Second: false, time.Second + 1: true} {
		again := a
		if _, due := again.due(begin.Add(after)); due != want {
			t.Errorf("after %v it is due: %t", after, due)
		}
	}
	if _, due := (&allowance{}).due(begin); due {
		t.Error("without a limit there is a deadline")
	}
}

// A transfer that stalls is cut within one and a quarter of the limit. One that moves, is paused or
// has stopped is not.
func TestStallWatch(t *testing.T) {
	const limit = 8 * time.Second
	for name, c := range map[string]struct {
		every func(*stallWatch) // called each second
		cut   bool
	}{
		"still":   {func(*stallWatch) {}, true},
		"moving":  {func(w *stallWatch) { w.moved() }, false},
		"paused":  {func(w *stallWatch) { w.pause(true) }, false},
		"stopped": {func(w *stallWatch) { w.stop() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				w := (&Exchange{Stalled: limit, cancel: cancel}).watch()
				began := time.Now()
				for time.Since(began) < 3*limit && ctx.Err() == nil {
					c.every(w)
					time.Sleep(time.Second)
				}
				if took := time.Since(began); c.cut && (took < limit || took > limit+limit/4+time.Second) {
					t.Errorf("cut after %v", took)
				}
				if got := errors.Is(context.Cause(ctx), ErrStalled); got != c.cut {
					t.Errorf("cut: got %t", got)
				}
				if got := errors.Is(w.cause(io.ErrUnexpectedEOF), ErrStalled); got != c.cut {
					t.Errorf("the cause of an error is the stall: %t", got)
				}
				if cut := w.stop(); cut != c.cut {
					t.Errorf("stopped, it was cut: %t", cut)
				}
			})
		})
	}
	if (&Exchange{Stalled: limit}).watch() != nil {
		t.Error("a request that cannot be ended is watched")
	}
}
