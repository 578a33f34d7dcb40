package store_test

import (
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// TestAnUpdateAheadOvertakesACrowd: it shares the first transaction with no more than fits there.
func TestAnUpdateAheadOvertakesACrowd(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		release := w.Hold(t)
		ends := w.Crowd(t, 12)
		ahead := make(chan int)
		go func() {
			if err := w.UpdateOn(ctx, store.Terms{Ahead: true, Patience: time.Minute}, storetest.Put); err != nil {
				t.Error(err)
			}
			evs, err := w.Events(ctx, store.EventQuery{})
			if err != nil {
				t.Error(err)
			}
			ahead <- len(evs)
		}()
		for len(w.Core.Updates.In[engine.Urgent]) < 1 {
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
