package notify

import (
	"maps"
	"slices"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// recovery makes waiting deliveries due once the receiver works again: at the first success after
// failures.
//
// A delivery that fails again after that, while others succeed, has failed by its own fault. It
// stays on its schedule; otherwise each success would send it again. The lane's lock guards it.
type recovery struct {
	waiting  bool               // deliveries may wait because the receiver failed
	due      bool               // there was a success: waiting deliveries are to be made due
	running  bool               // MakeDue is running
	ownFault map[int64]struct{} // pending deliveries that fail by their own fault
}

// ownFaultsMost bounds the deliveries that failed by their own fault. With more of them, the
// receiver fails in a way that one success does not end, and all stay on their schedules.
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

// madeDueEarly reports whether a delivery that had failed was made due before its scheduled time.
func madeDueEarly(d store.Delivery) bool {
	return d.Attempts > 0 && !d.NextAt.After(d.PendingSince)
}

func (c *recovery) succeeded() {
	if c.waiting && len(c.ownFault) <= ownFaultsMost {
		c.waiting, c.due = false, true
	}
}

func (c *recovery) ended(id int64) { delete(c.ownFault, id) }

// makeWaitingDue makes waiting deliveries due after a success whose outcome is stored. The caller
// holds the lane's lock.
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
		l.d.log.Info("receiver works again: waiting deliveries are due", zap.String("webhook", l.name), zap.Int("deliveries", n))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recovery.running = false
	l.recovery.waiting = l.recovery.waiting || err != nil // the next success tries again
	if n > 0 {
		l.refetch()
	}
}
