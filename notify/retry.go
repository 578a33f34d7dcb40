package notify

import (
	"math/rand/v2"
	"time"
)

// schedule is the time before each attempt, the first included.
type schedule []time.Duration

// next is the wait after attempt number made (1 is the first); false: that was the last one.
// What the receiver asked to wait counts where it is longer.
func (s schedule) next(made int, asked time.Duration) (time.Duration, bool) {
	if made >= len(s) {
		return 0, false
	}
	return max(jitter(s[made]), asked), true
}

// longest is the longest time that a delivery may wait for its next attempt.
func (s schedule) longest() time.Duration {
	most := longestAsked
	for _, step := range s {
		most = max(most, step+step/5)
	}
	return most
}

// longestAsked is how long a receiver may ask to wait.
const longestAsked = 24 * time.Hour

// remaining is how much time the schedule gives a delivery after made attempts, counted from when its next one is due.
func (s schedule) remaining(made int) time.Duration {
	var sum time.Duration
	for i := made + 1; i < len(s); i++ {
		sum += s[i]
	}
	return sum
}

// jitter spreads d by ±20 %, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/5 + rand.N(2*(d/5)+1)
}
