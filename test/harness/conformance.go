package harness

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ConformanceResult has the counts of one run of the OCI conformance program.
type ConformanceResult struct {
	Passed, Failed, Skipped, Disabled int
	Output                            string // what it printed
}

// DistributionLacks turns off what the distribution registry v3.1.2 cannot do, so that the
// conformance program passes there.
var DistributionLacks = []string{
	"OCI_API_REFERRER=false", "OCI_DATA_SHA512=false", "OCI_DATA_SUBJECT=false", "OCI_DATA_SUBJECT_LIST=false",
	"OCI_DATA_SUBJECT_MISSING=false", "OCI_DATA_NONDISTRIBUTABLE=false",
}

// Conformance runs the OCI conformance program against the registry at host (host:port, plain HTTP
// unless settings say otherwise). Settings are its environment variables. Its failures are counted,
// not fatal: they may be the registry's.
func Conformance(t T, host string, settings ...string) ConformanceResult {
	t.Helper()
	dir := t.TempDir()
	env := append(Env(t), "OCI_REGISTRY="+host, "OCI_TLS=disabled", "OCI_REPO1=conformance/one", "OCI_REPO2=conformance/two",
		"OCI_VERSION=1.1", "OCI_RESULTS_DIR="+dir, "OCI_CONFIGURATION=/dev/null")
	output, runErr := Try(t, append(env, settings...), "conformance")
	junit, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatalf("the conformance program left no result: %v\n%v", err, runErr)
	}
	result, err := countJUnit(junit)
	if err != nil {
		t.Fatalf("reading the conformance program's result: %v", err)
	}
	result.Output = output
	return result
}

// ConformanceDirect returns the counts of the conformance program at the distribution registry
// itself, for comparison. It runs once for the same settings.
func ConformanceDirect(t T, settings ...string) ConformanceResult {
	t.Helper()
	direct.mu.Lock()
	defer direct.mu.Unlock()
	key := strings.Join(settings, " ")
	if got, ok := direct.results[key]; ok {
		return got
	}
	got := Conformance(t, Registry(t, RegistryOptions{Delete: true}).Host, settings...)
	direct.results[key] = got
	return got
}

var direct = struct {
	mu      sync.Mutex
	results map[string]ConformanceResult
}{results: map[string]ConformanceResult{}}

// countJUnit reads the totals in the root element of a JUnit report.
func countJUnit(report []byte) (ConformanceResult, error) {
	var totals struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Disabled int      `xml:"disabled,attr"`
	}
	if err := xml.Unmarshal(report, &totals); err != nil {
		return ConformanceResult{}, err
	}
	r := ConformanceResult{Failed: totals.Failures, Skipped: totals.Skipped, Disabled: totals.Disabled}
	r.Passed = totals.Tests - r.Failed - r.Skipped - r.Disabled
	return r, nil
}
