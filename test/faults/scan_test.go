package faults

import (
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// bellbuoy is killed at each step of a scan: there is one event in the end.
func TestAScanThatIsKilled(t *testing.T) {
	t.Parallel()
	scanner := harness.Scanner(t)
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{}, "")
	for i, at := range []string{"submit", "submitted", "report", "reported"} {
		p := scanner.Stop(at)
		a := harness.NewImage(harness.ImageOptions{})
		harness.Push(s, s.Buoy.ProxyURL, "killed/"+at, "v1", a)
		<-p.Reached
		s.Buoy.Kill9()
		close(p.Go)
		s.Buoy.Start()
		harness.Eventually(harness.Soon, func() bool { return len(s.Scans("/full")) > i })
	}
	time.Sleep(harness.Strays)
	seen := map[string]map[string]bool{}
	for _, p := range s.Scans("/full") {
		if seen[p.Text("repository")] == nil {
			seen[p.Text("repository")] = map[string]bool{}
		}
		seen[p.Text("repository")][p.ID()] = true
	}
	for _, at := range []string{"submit", "submitted", "report", "reported"} {
		if n := len(seen["killed/"+at]); n != 1 {
			t.Errorf("killed at %s: %d events, want 1", at, n)
		}
	}
}
