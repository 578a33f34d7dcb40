package harness

import (
	"fmt"
	"strings"
	"testing"
)

// A ScanStage is a stage whose scanner pulls through bellbuoy. It has one more webhook, at /bad:
// Harbor's CloudEvents of scans with new and severe findings.
type ScanStage struct{ *Stage }

// NewScanStage starts a registry, and bellbuoy with a scanner. more are further settings of the
// scanner, each with its comma.
func NewScanStage(t *testing.T, scanner *ScannerServer, registry RegistryOptions, more string) *ScanStage {
	t.Helper()
	r, hooks, port := Registry(t, registry), NewReceiver(t), FreePort(t)
	config := RegistryUpstream(r.URL) + Quick +
		fmt.Sprintf("scanners: [{name: test, url: %q, registry_url: %q, timeout: 1m%s}]\n", scanner.URL, fmt.Sprintf("http://127.0.0.1:%d", port), more) +
		Webhooks(hooks, fmt.Sprintf("  - {name: bad, url: %q, events: [SCANNING_COMPLETED], format: cloudevents, match: {min_severity: High, new_findings: true}}\n", hooks.URL("/bad")))
	s := &ScanStage{StageOn(t, hooks, BellbuoyWith(t, BuoyOptions{Port: port}, config))}
	s.Direct = r.URL
	return s
}

// Scans returns the posts of scans to a path.
func (s *ScanStage) Scans(path string) (found []Post) {
	for _, p := range s.Hooks.Posts(path) {
		if strings.Contains(string(p.Body), "SCANNING_") || strings.Contains(string(p.Body), "harbor.scan.") {
			found = append(found, p)
		}
	}
	return found
}

// WaitScans waits for n posts of scans to a path.
func (s *ScanStage) WaitScans(path string, n int) []Post {
	s.Helper()
	Eventually(Soon, func() bool { return len(s.Scans(path)) >= n })
	got := s.Scans(path)
	if len(got) != n {
		s.Fatalf("%d scans at %s, want %d", len(got), path, n)
	}
	return got
}
