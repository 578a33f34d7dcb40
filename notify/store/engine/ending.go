package engine

import (
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Ending is an Outcome in the database's terms.
type Ending struct {
	State    int64
	Next     int64
	Finished int64
	Reason   string
}

// NewEnding puts o into those terms; now is when it ended.
func NewEnding(o *store.Outcome, now time.Time) Ending {
	to := Ending{Reason: Clean(o.Reason)}
	switch o.State {
	case store.Delivered:
		to.State, to.Finished = Delivered, Micros(now)
	case store.Dead:
		to.State, to.Finished = Dead, Micros(now)
	case store.Parked:
		to.State, to.Finished = Parked, Micros(now)
	default:
		// Waiting even when it is due at once: it has lost its place at the head of what is
		// fresh.
		to.State, to.Next = Waiting, max(Micros(o.NextAt), 1)
	}
	return to
}

// Count is what becomes of a webhook's counts when one of its pending deliveries ends so.
func (o Ending) Count(t *Tally) {
	if o.State == Waiting {
		return
	}
	t.Pending--
	o.CountEnd(t)
}

// CountEnd counts only the state that it came to, not the one that it left.
func (o Ending) CountEnd(t *Tally) {
	switch o.State {
	case Dead:
		t.Dead++
	case Parked:
		t.Parked++
	}
}
