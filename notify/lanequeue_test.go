package notify

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// TestALaneThatKnowsAllAsksNothing: new deliveries are handed over, and the store is left alone.
func TestALaneThatKnowsAllAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := newStore(t), &sink{}
		s.hands = true
		r := newRig(t, s, to("w", sink))
		defer r.stop()
		r.commit(push("a/first", "1"))
		synctest.Wait()
		before := s.asked
		for i := range 100 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
			synctest.Wait()
		}
		if sink.count() != 101 || s.asked > before+2 {
			t.Errorf("%d posts, %d questions", sink.count(), s.asked-before)
		}
	})
}

// TestHandedOverLate: what an answer of the store had already is not sent again when it is handed
// over after that.
func TestHandedOverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, sink := newStore(t), &sink{}
		s.hands = true
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
