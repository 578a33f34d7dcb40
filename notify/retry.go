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

// lifetime is how old a delivery becomes at most: its attempts come to an end before that unless it waits for something else, an open circuit or
// a rate.
func (s schedule) lifetime() time.Duration {
	var sum time.Duration
	for _, step := range s {
		sum += step
	}
	return max(2*sum, shortestLife)
}

const shortestLife = 7 * 24 * time.Hour

// jitter spreads d by ±20 %, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/5 + rand.N(2*(d/5)+1)
}
