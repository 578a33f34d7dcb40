package carry

import "time"

// allowance is the time that a peer has for the next bytes. Its deadline moves in steps of an
// eighth of the limit, for which it is an eighth longer: moving it costs more than a small
// write does.
type allowance struct {
	limit time.Duration // 0: no deadline
	at    time.Time     // when the deadline was last moved
}

// next returns a deadline from now on.
func (a *allowance) next(now time.Time) time.Time {
	a.at = now
	return now.Add(a.limit + a.limit/8)
}

// due returns the next deadline, and reports whether it is time to move it.
func (a *allowance) due(now time.Time) (deadline time.Time, due bool) {
	if a.limit <= 0 || now.Sub(a.at) <= a.limit/8 {
		return time.Time{}, false
	}
	return a.next(now), true
}
