package notify

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// TestNewDeliveriesNeedNoQuery: a lane that holds everything that is due gets new deliveries with
// the wake and does not query the store.
func TestNewDeliveriesNeedNoQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := newStore(t), &sink{}
		s.wakesCarry = true
		r := newRig(t, s, to("w", sink))
		defer r.stop()
		r.commit(push("a/first", "1"))
		synctest.Wait()
		before := s.queries
		for i := range 100 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
			synctest.Wait()
		}
		if sink.count() != 101 || s.queries > before+2 {
			t.Errorf("%d posts, %d queries", sink.count(), s.queries-before)
		}
	})
}

// TestLateWakeSendsNothingTwice: a delivery that a query has returned is not sent again when a wake
// brings it too.
func TestLateWakeSendsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := newStore(t), &sink{}
		s.wakesCarry = true
		r := newRig(t, s, to("w", sink))
		defer r.stop()
		r.commit(push("a/b", "1"))
		synctest.Wait()
		late := *s.deliveries[0]
		r.dispatcher.laneOf("w").addNew([]store.Delivery{late})
		synctest.Wait()
		if got := sink.count(); got != 1 {
			t.Errorf("%d posts of one delivery", got)
		}
	})
}
