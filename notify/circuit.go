package notify

import (
	"encoding/json"
	"time"
)

const (
	circuitAfter = 5 // failures in a row open it
	circuitFirst = 5 * time.Second
	circuitMost  = 5 * time.Minute
)

// circuit keeps deliveries from a receiver that fails. While it is open they wait, and every now and then one of them probes. A receiver that
// asks to wait (Retry-After) opens it at once, for as long as it asks.
//
//	closed ── five retryable failures in a row, ──► open ── wait over ──► one probe ── fails: twice the wait ──► open
//	   ▲      or one with Retry-After                                        │
//	   └──────────────────── any answer that is no such failure ─────────────┘
//
// The owner of the lane guards it.
type circuit struct {
	failures int
	open     bool
	loud     bool           // open, and not only because the receiver has asked to wait
	wait     time.Duration  // until the next probe, as it was when the last one failed
	retryAt  time.Time      // of the next probe
	probed   map[int64]bool // deliveries whose probe failed since it opened; others come first
}

// succeeded closes it, and reports what it was.
func (c *circuit) succeeded() (open, loud bool) {
	open, loud = c.open, c.loud
	*c = circuit{}
	return open, loud
}

// failed notes a failure, and reports whether five in a row have opened it now. asked is how long the receiver asked to wait. A failure of what
// was under way when it opened changes nothing but that.
func (c *circuit) failed(now time.Time, id int64, probe bool, asked time.Duration) (opened bool) {
	c.failures++
	many := c.failures >= circuitAfter
	wait := asked
	switch {
	case !c.open && !many && asked == 0:
		return false
	case !c.open:
		c.open, c.wait, c.probed = true, circuitFirst, map[int64]bool{}
		if many {
			wait = max(jitter(c.wait), asked)
		}
	case probe:
		c.wait = min(2*c.wait, circuitMost)
		c.probed[id] = true
		wait = max(jitter(c.wait), asked)
	}
	if at := now.Add(wait); at.After(c.retryAt) {
		c.retryAt = at
	}
	opened = many && !c.loud
	c.loud = c.loud || many
	return opened
}

// choose is the place of the delivery that shall probe: the first that has not failed at it yet, so that one event that the receiver cannot
// digest does not keep the others away.
func (c *circuit) choose(n int, id func(int) int64) int {
	for i := range n {
		if !c.probed[id(i)] {
			return i
		}
	}
	clear(c.probed)
	return 0
}

// circuitState is what another owner of the lane, or this one after a restart, needs to know.
type circuitState struct {
	Open    bool          `json:"open,omitempty"`
	Wait    time.Duration `json:"wait,omitempty"`
	RetryAt time.Time     `json:"retry_at,omitzero"`
	failureState
}

func (c *circuit) state(t failureState) []byte {
	data, err := json.Marshal(circuitState{c.open, c.wait, c.retryAt, t})
	if err != nil {
		return nil // a time past the year 9999: then the next owner finds out by itself
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

// restore takes what is stored as it is, but for a time that only a wrong clock can have written.
func (c *circuit) restore(data []byte, now time.Time) {
	s := readCircuit(data)
	*c = circuit{}
	if !s.Open {
		return
	}
	*c = circuit{failures: circuitAfter, open: true, loud: true, retryAt: s.RetryAt, probed: map[int64]bool{},
		wait: min(max(s.Wait, circuitFirst), circuitMost)}
	if c.retryAt.After(now.Add(longestAsked)) {
		c.retryAt = now.Add(c.wait)
	}
}
