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
type recovery struct {
	waiting  bool               // something waits because of the receiver, or may
	due      bool               // there was a success: what waits is to be made due
	running  bool               // it is being made due
	ownFault map[int64]struct{} // pending deliveries that fail by their own fault
}

// ownFaults is how many deliveries may fail by their own fault. Where there are more the receiver is at fault in a way that a success does
// not end, and all is left to the schedule.
const ownFaultsMost = 256

// failed notes a failure after which the delivery waits.
func (c *recovery) failed(j job) {
	if j.probe || !madeDueEarly(j.delivery) {
		c.waiting = true
		return
	}
	if c.ownFault == nil {
		c.ownFault = map[int64]struct{}{}
	}
	c.ownFault[j.delivery.ID] = struct{}{}
}

// broughtForward reports whether a delivery that had failed was made due before its time.
func madeDueEarly(d store.Delivery) bool {
	return d.Attempts > 0 && !d.NextAt.After(d.PendingSince)
}

func (c *recovery) succeeded() {
	if c.waiting && len(c.ownFault) <= ownFaultsMost {
		c.waiting, c.due = false, true
	}
}

func (c *recovery) ended(id int64) { delete(c.ownFault, id) }

// comeBack makes due what waits, where there was a success after failures whose outcome is stored by now. The caller holds the lane.
func (l *lane) makeWaitingDue() {
	if !l.recovery.due || l.recovery.running || l.epoch == 0 {
		return
	}
	l.recovery.due, l.recovery.running = false, true
	except := slices.Collect(maps.Keys(l.recovery.ownFault))
	l.d.work.Go(func() {
		n, err := l.d.store.MakeDue(l.d.posting, l.name, 0, except)
		l.madeDue(n, err)
	})
}

func (l *lane) madeDue(n int, err error) {
	if err != nil {
		l.d.noteWrite(err)
	}
	if n > 0 {
		l.d.log.Info("receiver is back: what waited for it is due", zap.String("webhook", l.name), zap.Int("deliveries", n))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery.running = false
	l.recovery.waiting = l.recovery.waiting || err != nil // the next success does it
	if n > 0 {
		l.refetch()
	}
}
