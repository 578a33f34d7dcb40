package notify

import (
	"maps"
	"slices"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// comeback brings forward what waits for its next attempt once the receiver works again: the first success after failures makes it due.
//
// A delivery that fails once more after that, while others are delivered, fails by its own fault, and is left to its schedule; else each success
// would send it again. The owner of the lane guards it.
type comeback struct {
	owed    bool               // something waits because of the receiver, or may
	now     bool               // there was a success: what waits is to be made due
	running bool               // it is being made due
	own     map[int64]struct{} // pending deliveries that fail by their own fault
}

// ownFaults is how many deliveries may fail by their own fault. Where there are more the receiver is at fault in a way that a success does
// not end, and all is left to the schedule.
const ownFaults = 256

// failed notes a failure after which the delivery waits.
func (c *comeback) failed(j job) {
	if j.probe || !broughtForward(j.delivery) {
		c.owed = true
		return
	}
	if c.own == nil {
		c.own = map[int64]struct{}{}
	}
	c.own[j.delivery.ID] = struct{}{}
}

// broughtForward reports whether a delivery that had failed was made due before its time.
func broughtForward(d store.Delivery) bool {
	return d.Attempts > 0 && !d.NextAt.After(d.PendingSince)
}

func (c *comeback) succeeded() {
	if c.owed && len(c.own) <= ownFaults {
		c.owed, c.now = false, true
	}
}

func (c *comeback) ended(id int64) { delete(c.own, id) }

// comeBack makes due what waits, where there was a success after failures whose outcome is stored by now. The caller holds the lane.
func (l *lane) comeBack() {
	if !l.back.now || l.back.running || l.epoch == 0 {
		return
	}
	l.back.now, l.back.running = false, true
	except := slices.Collect(maps.Keys(l.back.own))
	l.d.work.Go(func() {
		n, err := l.d.store.MakeDue(l.d.posting, l.name, 0, except)
		l.cameBack(n, err)
	})
}

func (l *lane) cameBack(n int, err error) {
	if err != nil {
		l.d.noteWrite(err)
	}
	if n > 0 {
		l.d.log.Info("receiver is back: what waited for it is due", zap.String("webhook", l.name), zap.Int("deliveries", n))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back.running = false
	l.back.owed = l.back.owed || err != nil // the next success does it
	if n > 0 {
		l.look()
	}
}
