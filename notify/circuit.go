package notify

import (
	"encoding/json"
	"time"
)

const (
	circuitAfter = 5 // failures in a row that open it
	circuitFirst = 5 * time.Second
	circuitMost  = 5 * time.Minute
)

// circuit stops deliveries to a receiver that fails. While it is open, deliveries wait and one of
// them probes from time to time. A Retry-After opens it at once, for the time that it names.
//
//	closed ─── five retryable failures in a row, ───► open ◄── fails: twice the wait ─┐
//	   ▲       or one with Retry-After                  └────── wait over ──► one probe ┤
//	   └──────────────────────── any answer that is no such failure ────────────────────┘
//
// The lane's lock guards it.
type circuit struct {
	failures int
	open     bool
	// opened by failures, not only by a Retry-After; only this is logged
	byFailures bool
	wait       time.Duration  // before jitter, the wait for the next probe
	retryAt    time.Time      // when the next probe may begin
	probed     map[int64]bool // deliveries that failed as a probe; others come first
}

// succeeded closes the circuit. It reports whether the circuit was open, and whether that was
// logged.
func (c *circuit) succeeded() (open, byFailures bool) {
	open, byFailures = c.open, c.byFailures
	*c = circuit{}
	return open, byFailures
}

// failed notes a failure and reports whether five failures in a row have opened the circuit now.
// retryAfter is the Retry-After of the answer. Once the circuit is open, failures other than a
// probe's only extend the wait.
func (c *circuit) failed(now time.Time, id int64, probe bool, retryAfter time.Duration) (opened bool) {
	c.failures++
	many := c.failures >= circuitAfter
	wait := retryAfter
	switch {
	case !c.open && !many && retryAfter == 0:
		return false
	case !c.open:
		c.open, c.wait, c.probed = true, circuitFirst, map[int64]bool{}
		if many {
			wait = max(jitter(c.wait), retryAfter)
		}
	case probe:
		c.wait = min(2*c.wait, circuitMost)
		c.probed[id] = true
		wait = max(jitter(c.wait), retryAfter)
	}
	if at := now.Add(wait); at.After(c.retryAt) {
		c.retryAt = at
	}
	opened = many && !c.byFailures
	c.byFailures = c.byFailures || many
	return opened
}

// choose returns the index of the delivery that probes: the first one that has not failed as a
// probe yet. So an event that the receiver always refuses does not block the others.
func (c *circuit) choose(n int, id func(int) int64) int {
	for i := range n {
		if !c.probed[id(i)] {
			return i
		}
	}
	clear(c.probed)
	return 0
}

// circuitState is the stored form of a circuit. It survives a restart and a change of the lane's
// owner.
type circuitState struct {
	Open    bool          `json:"open,omitempty"`
	Wait    time.Duration `json:"wait,omitempty"`
	RetryAt time.Time     `json:"retry_at,omitzero"`
	failureState
}

func (c *circuit) state(t failureState) []byte {
	data, err := json.Marshal(circuitState{c.open, c.wait, c.retryAt, t})
	if err != nil {
		// a time after the year 9999 cannot be encoded: the state is not stored then
		return nil
	}
	return data
}

func readCircuit(data []byte) circuitState {
	var s circuitState
	if json.Unmarshal(data, &s) != nil {
		return circuitState{}
	}
	return s
}

// restore loads a stored circuit. It corrects a time that only a wrong clock can have written.
func (c *circuit) restore(data []byte, now time.Time) {
	s := readCircuit(data)
	*c = circuit{}
	if !s.Open {
		return
	}
	*c = circuit{failures: circuitAfter, open: true, byFailures: true, retryAt: s.RetryAt, probed: map[int64]bool{},
		wait: min(max(s.Wait, circuitFirst), circuitMost)}
	if c.retryAt.After(now.Add(longestRetryAfter)) {
		c.retryAt = now.Add(c.wait)
	}
}
