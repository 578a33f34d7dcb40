package carry

import "time"

// allowance is the time that a peer has for the next bytes. Moving a deadline costs more than a
// small write. So the deadline is an eighth of the limit later than it must be, and moves only when
// that eighth is over.
type allowance struct {
	limit time.Duration // 0: no deadline
	at    time.Time     // when the deadline was last moved
}

// next returns the deadline for bytes that are awaited from now on.
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
