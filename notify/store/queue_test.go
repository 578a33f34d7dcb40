package store

import (
	"fmt"
	"testing"
	"time"
)

// crowd has n updates wait, each an event with a thousand deliveries, and returns what they end with.
func (w *world) crowd(t *testing.T, n int) chan error {
	t.Helper()
	deliveries := make([]Delivery, 1000)
	for i := range deliveries {
		deliveries[i].Webhook = fmt.Sprint("hook", i%10)
	}
	ends := make(chan error, n)
	for i := range n {
		go func() {
			ends <- w.Update(ctx, nil, func(tx Tx) error {
				tx.Append(Event{ID: fmt.Sprint("event", i), At: time.Now()}, deliveries...)
				return nil
			})
		}()
	}
	for len(w.core.updates.in[ordinary]) < n {
		time.Sleep(time.Millisecond)
	}
	return ends
}

// TestAnUpdateAheadOvertakesACrowd: it shares the first transaction with no more than fits there.
func TestAnUpdateAheadOvertakesACrowd(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		release := w.hold(t)
		ends := w.crowd(t, 12)
		ahead := make(chan int)
		go func() {
			if err := w.UpdateOn(ctx, Terms{Ahead: true, Patience: time.Minute}, put); err != nil {
				t.Error(err)
			}
			evs, err := w.Events(ctx, EventQuery{})
			if err != nil {
				t.Error(err)
			}
			ahead <- len(evs)
		}()
		for len(w.core.updates.in[urgent]) < 1 {
			time.Sleep(time.Millisecond)
		}
		release()
		if n := <-ahead; n > 6 {
			t.Errorf("%d of 12 events were stored first", n)
		}
		for range 12 {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
	})
}
