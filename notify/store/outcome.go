package store

import "time"

// outcome is an Outcome in the database's terms.
type outcome struct {
	state    int64
	next     int64
	finished int64
	reason   string
}

func newOutcome(o *Outcome, now time.Time) outcome {
	to := outcome{reason: clean(o.Reason)}
	switch o.State {
	case Delivered:
		to.state, to.finished = sDelivered, micros(now)
	case Dead:
		to.state, to.finished = sDead, micros(now)
	case Parked:
		to.state, to.finished = sParked, micros(now)
	default:
		// Waiting even when it is due at once: it has lost its place at the head of what is fresh.
		to.state, to.next = sWaiting, max(micros(o.NextAt), 1)
	}
	return to
}

// count is what becomes of a webhook's counts when one of its pending deliveries ends so.
func (o outcome) count(t *tally) {
	if o.state == sWaiting {
		return
	}
	t.pending--
	o.countEnd(t)
}

func (o outcome) countEnd(t *tally) {
	switch o.state {
	case sDead:
		t.dead++
	case sParked:
		t.parked++
	}
}
