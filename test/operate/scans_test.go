package operate

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

const twoFindings = `{"id":"CVE-2099-0001","package":"bell","version":"1","fix_version":"2","severity":"Critical","description":"rings twice","links":["https://example.com/1"],` +
	`"preferred_cvss":{"score_v3":9.8,"vector_v3":"CVSS:3.1/x"}},{"id":"CVE-2099-0003","package":"buoy","version":"1","severity":"Low"}`

var scanTimes = regexp.MustCompile(`"(report_id|start_time|end_time|id|source|time|requestid)":"[^"]*"`)
var scanNumbers = regexp.MustCompile(`"(occur_at|duration)":\d+`)

// scanBody returns a body without its times and ids.
func scanBody(p harness.Post) string {
	return scanNumbers.ReplaceAllString(scanTimes.ReplaceAllString(string(p.Body), `"$1":"X"`), `"$1":N`)
}

func TestPushesAreScanned(t *testing.T) {
	t.Parallel()
	scanner := harness.Scanner(t)
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{Delete: true}, "")
	scanner.Findings("team/app", twoFindings)
	scanner.Report("team/app", func(polls int, w http.ResponseWriter) bool {
		if polls > 1 {
			return false
		}
		w.Header().Set("Location", "/api/v1/scan/other/report") // must not be followed
		w.Header().Set("Refresh-After", "1")
		w.WriteHeader(http.StatusFound)
		return true
	})
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Buoy.ProxyURL, "team/app", "v1", a)
	full := s.WaitScans("/full", 1)[0]
	for path, want := range map[string]string{
		"type": "SCANNING_COMPLETED", "scan.severity": "Critical", "scan.summary.total": "2", "scan.summary.fixable": "1", "scan.new": "2", "scan.by": "test", "kind": "image",
		"scan.findings.0.id": "CVE-2099-0001", "scan.findings.0.fixed_version": "2", "scan.findings.0.cvss": "9.8", "scan.findings.0.new": "true",
		"scan.findings.0.links.0": "https://example.com/1", "scan.scanner.vendor": "bellbuoy", "tags.0": "v1", "digest": a.Digest.String(),
	} {
		if got := full.Text(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	overview := `"scan_overview":{"application/vnd.security.vulnerability.report; version=1.1":{"report_id":"X","scan_status":"Success","severity":"Critical","duration":N,` +
		`"summary":{"total":2,"fixable":1,"summary":{"Critical":1,"Low":1}},"start_time":"X","end_time":"X","scanner":{"name":"Test","vendor":"bellbuoy","version":"1"},"complete_percent":100}}`
	data := fmt.Sprintf(`{"resources":[{"digest":%q,"tag":"v1","resource_url":%q,%s}],"repository":{"name":"app","namespace":"team","repo_full_name":"team/app","repo_type":"private"},"scan":{"scan_type":"vulnerability"}}`,
		a.Digest, s.Ref("team/app", "v1"), overview)
	if got, want := scanBody(s.WaitScans("/harbor", 1)[0]), `{"type":"SCANNING_COMPLETED","occur_at":N,"operator":"","event_data":`+data+`}`; got != want {
		t.Errorf("Harbor's body:\ngot  %s\nwant %s", got, want)
	}
	if got := scanBody(s.WaitScans("/bad", 1)[0]); !strings.Contains(got, `"type":"harbor.scan.completed"`) || !strings.Contains(got, `"data":`+data) {
		t.Errorf("the body of Harbor's CloudEvents: %s", got)
	}
	for _, p := range s.Hooks.Posts("/full") {
		if p.Text("type") == "PUSH_ARTIFACT" {
			says(s.T, s.Buoy, 0, []string{"explain", p.Text("id")}, "SCANNER  SCANS  BECAUSE\n", "test     yes    "+a.Digest.String()+" SCANNING_COMPLETED: "+full.Text("id"))
		}
	}
	scannedByHand(s, scanner, a)
	expectNoPulls(s)
}

// scannedByHand scans the same tag again: none of the findings is new.
func scannedByHand(s *harness.ScanStage, scanner *harness.ScannerServer, a harness.Artifact) {
	s.Helper()
	says(s.T, s.Buoy, 0, []string{"scan", "team/app:v1"}, "Critical: 2 findings, 1 of them fixable, 0 new", "CVE-2099-0001", "fixed in 2", a.Digest.String())
	scanner.Findings("team/app", "")
	says(s.T, s.Buoy, 0, []string{"scan", "team/app@" + a.Digest.String()}, "None: 0 findings")
	scanner.Report("team/app", func(_ int, w http.ResponseWriter) bool {
		http.Error(w, "broken\nlayer", http.StatusInternalServerError)
		return true
	})
	says(s.T, s.Buoy, 1, []string{"scan", "team/app:v1"}, "failed: the scanner answered 500: broken layer")
	says(s.T, s.Buoy, 1, []string{"scan", "team/app:none"}, "the registry has no such artifact")
	says(s.T, s.Buoy, 0, []string{"status"}, "SCANNER", "test")
	if got := s.Scans("/bad"); len(got) != 1 {
		s.Errorf("%d posts at a webhook that wants new findings, want 1", len(got))
	}
	if n := s.Buoy.Metric(`bellbuoy_scans_total{outcome="completed",scanner="test"}`); n != 3 {
		s.Errorf("%v scans completed, want 3", n)
	}
}

// expectNoPulls waits for as long as a pull may be undecided, and checks that there is none.
func expectNoPulls(s *harness.ScanStage) {
	s.Helper()
	time.Sleep(harness.Strays)
	for _, p := range s.Hooks.Posts("/full") {
		if p.Text("type") == "PULL_ARTIFACT" {
			s.Errorf("the scanner's own pull is an event: %s", p.Body)
		}
	}
	if n := s.Buoy.Metric("bellbuoy_events_lost_total"); n != 0 {
		s.Errorf("%v events were lost", n)
	}
}

func TestOnlyTheImagesOfAnIndexAreScanned(t *testing.T) {
	t.Parallel()
	scanner := harness.Scanner(t)
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{Delete: true, Htpasswd: map[string]string{"ann": "secret", "scan": "readonly"}},
		", registry_credentials: {username: scan, password: readonly}")
	ann := []string{"Authorization", "Basic YW5uOnNlY3JldA=="}
	index := harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64", "unknown/unknown")
	for _, child := range index.Children {
		harness.Push(s, s.Buoy.ProxyURL, "team/multi", child.Digest.String(), child, ann...)
	}
	harness.Push(s, s.Buoy.ProxyURL, "team/multi", "v1", index, ann...)
	image := harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Buoy.ProxyURL, "team/signed", "v1", image, ann...)
	harness.Push(s, s.Buoy.ProxyURL, "team/signed", "sha256-"+image.Digest.Encoded()+".sig", harness.NewImage(harness.ImageOptions{Subject: &image.Descriptor}), ann...)
	var platforms []string
	for _, p := range s.WaitScans("/full", 3) {
		platforms = append(platforms, p.Text("platforms.0")+p.Text("scan.index_tags.0")+p.Text("operator"))
		if p.Text("scan.index") != "" && (p.Text("scan.index") != index.Digest.String() || p.Text("tags.0") != "") {
			t.Errorf("an image of an index: %s", p.Body)
		}
	}
	slices.Sort(platforms)
	if want := []string{"ann", "linux/amd64v1ann", "linux/arm64v1ann"}; !slices.Equal(platforms, want) {
		t.Errorf("got %q, want %q", platforms, want)
	}
	for _, q := range scanner.Requests() {
		if q.Registry.Authorization != "Basic c2NhbjpyZWFkb25seQ==" {
			t.Errorf("the scanner was given %q", q.Registry.Authorization)
		}
	}
	expectNoPulls(s)
	if n := len(s.Scans("/full")); n != 3 {
		t.Errorf("%d scans, want 3", n)
	}
}

// The adapter is down, comes back, and forgets the scan. It requires a certificate and a key all
// the time.
func TestScannerBehindTLSThatFails(t *testing.T) {
	t.Parallel()
	certificates := authority.New(t)
	server, client := certificates.Issue("scanner"), certificates.Issue("bellbuoy")
	scanner := harness.ScannerTLS(t, &tls.Config{
		Certificates: []tls.Certificate{server.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: certificates.Pool(),
	})
	scanner.Insist("X-ScannerAdapter-API-Key", "the key")
	scanner.Down(true)
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{}, fmt.Sprintf(", auth: {type: api_key, token: the key}, tls: {ca_file: %q, cert_file: %q, key_file: %q}",
		certificates.CA(), client.Cert, client.Key))
	harness.Push(s, s.Buoy.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	if !harness.Eventually(harness.Soon, func() bool {
		out, _ := s.Buoy.Command("status")
		return strings.Contains(out, "scanner test: 1 scan waiting")
	}) {
		t.Error("status does not say that a scan waits")
	}
	forgotten := false
	scanner.Report("team/app", func(_ int, w http.ResponseWriter) bool {
		if forgotten {
			return false
		}
		forgotten = true
		scanner.Forget()
		w.WriteHeader(http.StatusFound)
		return true
	})
	scanner.Down(false)
	if p := s.WaitScans("/full", 1)[0]; p.Text("type") != "SCANNING_COMPLETED" || len(scanner.Requests()) != 2 {
		t.Errorf("got %d submissions: %s", len(scanner.Requests()), p.Body)
	}
}

// An artifact that was never pushed through bellbuoy is scanned too, once it is in the tag index,
// and again after each interval.
func TestTaggedArtifactsAreRescanned(t *testing.T) {
	t.Parallel()
	s := harness.NewScanStage(t, harness.Scanner(t), harness.RegistryOptions{}, ", every: 3s, trigger: manual")
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Direct, "team/old", "v1", a)
	says(t, s.Buoy, 0, []string{"index"})
	harness.Eventually(harness.Soon, func() bool { return len(s.Scans("/full")) >= 2 })
	scans := s.Scans("/full")
	if len(scans) < 2 {
		t.Fatalf("%d scans, want one in each interval", len(scans))
	}
	for _, p := range scans {
		if p.Text("type") != "SCANNING_COMPLETED" || p.Text("digest") != a.Digest.String() || p.Text("tags.0") != "v1" {
			t.Errorf("got the body %s", p.Body)
		}
	}
	expectNoPulls(s)
}
