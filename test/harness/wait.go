package harness

import (
	"fmt"
	"strings"
	"time"
)

// Soon is how long tests wait for what comes at once on an idle machine: far more than anything
// takes, also on a busy one.
const Soon = time.Minute

// Eventually polls until ok, and reports whether that happened in time. What is wrong otherwise is
// for the caller to say.
func Eventually(timeout time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// Metric is the sum of a metric's series whose labels contain all of some texts.
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
