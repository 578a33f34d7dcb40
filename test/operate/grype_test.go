package operate

import (
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The real scanner grype pulls through bellbuoy without a login. Its findings are in events, its
// pulls are not events, and it gets only images.
func TestRealScanner(t *testing.T) {
	t.Parallel()
	scanner := harness.Scanner(t)
	scanner.ScanWith(harness.Grype(t))
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{}, "")
	flawed := harness.AlpineFiles("bell=1.2.3-r0", "buoy=0.9.1-r0")
	image := harness.NewImage(harness.ImageOptions{Files: flawed})
	index := harness.NewMultiArch(harness.ImageOptions{Files: flawed}, "linux/amd64", "linux/arm64")
	push := func(repository, tag string, a harness.Artifact) { harness.Push(s, s.Buoy.ProxyURL, repository, tag, a) }
	push("team/flawed", "v1", image)
	push("team/clean", "v1", harness.NewImage(harness.ImageOptions{Files: harness.AlpineFiles("bell=1.2.4-r0")}))
	push("team/broken", "v1", harness.NewImage(harness.ImageOptions{Files: flawed, Broken: true}))
	for _, child := range index.Children {
		push("team/multi", child.Digest.String(), child)
	}
	push("team/multi", "v1", index)
	push("team/flawed", "sha256-"+image.Digest.Encoded()+".sig", harness.NewImage(harness.ImageOptions{Subject: &image.Descriptor}))
	harness.Run(s, nil, "helm3", "push", harness.ChartFile(s, "demo", "1.0.0", harness.ChartOptions{}), "oci://"+s.Buoy.Host+"/team/charts", "--plain-http")

	got := map[string]harness.Post{}
	for _, p := range s.WaitScans("/full", 5) {
		got[strings.TrimSpace(p.Text("repository")+" "+p.Text("platforms.0"))] = p
	}
	for name, want := range map[string]map[string]string{
		"team/flawed": {"type": "SCANNING_COMPLETED", "scan.severity": "Critical", "scan.summary.total": "2", "scan.summary.fixable": "1", "tags.0": "v1",
			"scan.findings.0.id": "CVE-2099-0001", "scan.findings.0.package": "bell", "scan.findings.0.fixed_version": "1.2.4-r0",
			"scan.findings.0.description": "An invented flaw: a bell rings twice.",
			"scan.findings.1.id":          "CVE-2099-0003", "scan.findings.1.version": "0.9.1-r0", "scan.findings.1.fixed_version": "", "scan.findings.1.severity": "Low"},
		"team/clean":             {"type": "SCANNING_COMPLETED", "scan.severity": "None", "scan.summary.total": "0"},
		"team/broken":            {"type": "SCANNING_FAILED"},
		"team/multi linux/amd64": {"type": "SCANNING_COMPLETED", "scan.severity": "Critical", "scan.index": index.Digest.String(), "scan.index_tags.0": "v1", "tags.0": ""},
		"team/multi linux/arm64": {"type": "SCANNING_COMPLETED", "scan.severity": "Critical", "scan.index": index.Digest.String(), "scan.index_tags.0": "v1", "tags.0": ""},
	} {
		p, ok := got[name]
		if !ok {
			t.Errorf("no scan of %s", name)
			continue
		}
		for path, text := range want {
			if p.Text(path) != text {
				t.Errorf("%s: %s: got %q, want %q", name, path, p.Text(path), text)
			}
		}
	}
	if reason := got["team/broken"].Text("scan.reason"); !strings.Contains(reason, "unexpected EOF") {
		t.Errorf("the reason of a broken layer: %q", reason)
	}
	expectNoPulls(s)
	if n := len(scanner.Requests()); n != 5 {
		t.Errorf("the scanner got %d requests for scans, want 5", n)
	}
}
