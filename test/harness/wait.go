package harness

import (
	"fmt"
	"strings"
	"time"
)

// Soon is how long tests wait for what takes no time on an idle machine. It is much longer than
// anything takes on a busy one.
const Soon = time.Minute

// Eventually calls ok again and again until it returns true or time is over. It reports whether ok
// did in time; the caller describes the failure.
func Eventually(timeout time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// Metric returns the sum of a metric's series whose labels contain all of the given texts.
func (b *Buoy) Metric(name string, labels ...string) (sum float64) {
	b.t.Helper()
	for line := range strings.SplitSeq(b.Metrics(), "\n") {
		series, value, ok := strings.Cut(line, " ")
		if !ok || series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, label := range labels {
			ok = ok && strings.Contains(series, label)
		}
		if ok {
			var v float64
			fmt.Sscanf(value, "%g", &v)
			sum += v
		}
	}
	return sum
}
