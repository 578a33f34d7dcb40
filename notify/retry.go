package notify

import (
	"math/rand/v2"
	"time"
)

// schedule lists the wait before each attempt, including the first.
type schedule []time.Duration

// next returns the wait after the given number of attempts; false if that was the last one. A
// longer Retry-After replaces the wait.
func (s schedule) next(made int, retryAfter time.Duration) (time.Duration, bool) {
	if made >= len(s) {
		return 0, false
	}
	return max(jitter(s[made]), retryAfter), true
}

// longest returns the longest time that a delivery may wait for its next attempt.
func (s schedule) longest() time.Duration {
	most := longestRetryAfter
	for _, step := range s {
		most = max(most, step+step/5)
	}
	return most
}

// longestRetryAfter bounds a receiver's Retry-After.
const longestRetryAfter = 24 * time.Hour

// lifetime returns the greatest age of a delivery. Its attempts end before that, unless it waits
// for something else: an open circuit or a rate limit.
func (s schedule) lifetime() time.Duration {
	var sum time.Duration
	for _, step := range s {
		sum += step
	}
	return max(2*sum, shortestLife)
}

const shortestLife = 7 * 24 * time.Hour

// jitter varies d by ±20 %, so that deliveries that failed together are not retried together.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/5 + rand.N(2*(d/5)+1)
}
