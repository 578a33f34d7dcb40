package engine

import (
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Ending is an Outcome as the database stores it.
type Ending struct {
	State    int64
	Next     int64
	Finished int64
	Reason   string
}

// NewEnding returns the Ending of o. now is when the attempt ended.
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
		// It is waiting even if it is due at once, because it is no longer the oldest of
		// the fresh ones.
		to.State, to.Next = Waiting, max(Micros(o.NextAt), 1)
	}
	return to
}

// Count changes the counts of a webhook as the end of a pending delivery does.
func (o Ending) Count(t *Tally) {
	if o.State == Waiting {
		return
	}
	t.Pending--
	o.CountEnd(t)
}

// CountEnd counts only the new state of the delivery, not the one before.
func (o Ending) CountEnd(t *Tally) {
	switch o.State {
	case Dead:
		t.Dead++
	case Parked:
		t.Parked++
	}
}
