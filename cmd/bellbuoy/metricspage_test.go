package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/test/docpage"
)

//go:generate go test -run PresetPages|MetricsPage|CommandsPage -update .

const metricsIntro = "`/metrics` at `health.listen` (`:5081`) is in Prometheus' text format and needs no login. Besides the " +
	"metrics below it has those of the Go runtime (`go_*`), of the process (`process_*`) and of the page itself (`promhttp_*`). " +
	"Counters begin at 0 at each start.\n\n" +
	"[Alert rules and a dashboard](../../deploy/README.md) for Grafana are in `deploy/`; the last column names the rules that use the metric."

// metricSections are the sections of the page, with the names of their metrics up to a prefix.
var metricSections = []struct {
	title    string
	prefixes []string
}{
	{"Traffic", []string{"request", "response_", "time_to_first_byte", "upstream_errors", "untrusted_", "panics"}},
	{"Events", []string{"events_", "open_intents", "intents_", "writes_in_flight", "held_pushes", "derivations_", "replication_"}},
	{"Deliveries", []string{"deliver", "pending_", "oldest_", "dead_", "circuit_", "webhook_"}},
	{"Quotas and scans", []string{"quota_", "scans_"}},
	{"Store and memory", []string{"store_", "correlation_", "tag_index_", "observations_"}},
	{"Process", []string{"build_info", "config_"}},
}

// metricLabels says what the values of a label are, and what bounds their number.
func metricLabels(t *testing.T) map[string]string {
	t.Helper()
	var actions []string
	for a := range detect.Actions {
		actions = append(actions, detect.Action(a).String())
	}
	return map[string]string{
		"upstream":  "A name of `upstreams`; empty for a request that no upstream is for.",
		"operation": "What the request was: " + docpage.Codes(slices.Sorted(slices.Values(actions))) + ".",
		"class":     "Class of the status that the client got: `1xx` to `5xx` (`4xx` also if the client went away); `0xx`: no valid status.",
		"kind":      "Why there was no answer: " + docpage.Codes(failureKinds(t)) + ".",
		"type":      "A [type of event](events.md).",
		"webhook":   "A name of a webhook. Its series end with the webhook.",
		"outcome":   "Of an attempt to deliver: `delivered`, `retry` (failed, is sent again), `dead` (failed for good). Of a scan: `completed`, `failed`.",
		"project":   "A project with a quota; at most 500 are exported.",
		"scanner":   "A name of `scanners`.",
		"version":   "The version of bellbuoy.",
	}
}

// failureKinds returns the kinds of failures that the proxy declares.
func failureKinds(t *testing.T) (kinds []string) {
	t.Helper()
	source, err := os.ReadFile("../../proxy/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`return failure\{"(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		kinds = append(kinds, match[1])
	}
	if len(kinds) < 5 {
		t.Fatalf("only %d kinds of failures", len(kinds))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// TestMetricsPage makes docs/reference/metrics.md of what a bellbuoy exports after it did something
// of each kind.
func TestMetricsPage(t *testing.T) {
	found := gatheredMetrics(t)
	for _, name := range declaredMetrics(t) {
		if found[name] == nil {
			t.Errorf("%s is declared, but the bellbuoy of this test does not export it: let it do what the metric counts", name)
		}
	}
	alerts := metricAlerts(t, found)
	page := docpage.New("metrics", "Metrics", "go generate ./cmd/bellbuoy")
	page.Paragraph(metricsIntro)
	labels := map[string]bool{}
	for _, section := range metricSections {
		page.Heading(2, section.title)
		var rows [][]string
		for _, name := range slices.Sorted(maps.Keys(found)) {
			if !hasPrefix(strings.TrimPrefix(name, "bellbuoy_"), section.prefixes) {
				continue
			}
			m := found[name]
			maps.Copy(labels, m.labels)
			rows = append(rows, []string{docpage.Code(name), m.kind, docpage.Codes(slices.Sorted(maps.Keys(m.labels))), docpage.Plain(m.help), strings.Join(alerts[name], ", ")})
			delete(found, name)
		}
		page.Table([]string{"Metric", "Type", "Labels", "Meaning", "Alerts"}, rows)
	}
	for name := range found {
		t.Errorf("%s belongs to no section of the page", name)
	}
	writeLabels(t, page, labels)
	page.Check(t, *update)
}

func writeLabels(t *testing.T, page *docpage.Page, labels map[string]bool) {
	t.Helper()
	meanings := metricLabels(t)
	var rows [][]string
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if meanings[label] == "" {
			t.Errorf("the label %s has no meaning: say what bounds its values", label)
		}
		rows = append(rows, []string{docpage.Code(label), meanings[label]})
		delete(meanings, label)
	}
	for label := range meanings {
		t.Errorf("no metric has the label %s", label)
	}
	page.Heading(2, "Labels")
	page.Paragraph("The values of labels are bounded by the configuration, by the code, or by a number.")
	page.Table([]string{"Label", "Values"}, rows)
}

func hasPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// A shownMetric is a metric as /metrics shows it.
type shownMetric struct {
	help, kind string
	labels     map[string]bool
}

// gatheredMetrics runs bellbuoy with an upstream, one that does not listen, a webhook, a scanner
// and a quota, pushes an image, and reads what it exports.
func gatheredMetrics(t *testing.T) map[string]*shownMetric {
	t.Helper()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer registry.Close()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	r := start(t, fmt.Sprintf(`upstreams:
  - {type: registry, url: %q, external_url: "http://localhost:1"}
  - {name: gone, type: registry, url: "http://127.0.0.1:1", external_url: "http://gone.example.com", hosts: [gone.example.com]}
webhooks: [{name: ci, url: %q}]
projects: [{match: "*", quota: {limit: 1GiB}}]
scanners: [{name: trivy, url: "http://127.0.0.1:1"}]
health: {listen: "127.0.0.1:0"}
`, registry.URL, receiver.URL))
	var first struct{ Listen, Health string }
	if err := json.Unmarshal([]byte(r.first), &first); err != nil {
		t.Fatal(err)
	}
	part := `{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:` + strings.Repeat("a", 64) + `","size":2}`
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` +
		fmt.Sprintf(part, "config.v1+json") + `,"layers":[` + fmt.Sprintf(part, "layer.v1.tar+gzip") + `]}`
	ask(t, http.MethodPut, "http://"+first.Listen+"/v2/team/app/manifests/v1", "", manifest)
	ask(t, http.MethodGet, "http://"+first.Listen+"/v2/", "gone.example.com", "")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text := ask(t, http.MethodGet, "http://"+first.Health+"/metrics", "", "")
		if strings.Contains(text, "\nbellbuoy_deliveries_total{") && strings.Contains(text, "\nbellbuoy_scans_total{") || time.Now().After(deadline) {
			return parseMetrics(text)
		}
	}
}

func ask(t *testing.T, method, url, host, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	metricHelp   = regexp.MustCompile(`^# HELP (bellbuoy_\S+) (.*)`)
	metricType   = regexp.MustCompile(`^# TYPE (bellbuoy_\S+) (\S+)`)
	metricSample = regexp.MustCompile(`^(bellbuoy_[a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	metricLabel  = regexp.MustCompile(`([a-z_]+)="`)
)

// parseMetrics reads Prometheus' text format. The label le of histograms is no label of ours.
func parseMetrics(text string) map[string]*shownMetric {
	found := map[string]*shownMetric{}
	for line := range strings.Lines(text) {
		if m := metricHelp.FindStringSubmatch(line); m != nil {
			found[m[1]] = &shownMetric{help: m[2], labels: map[string]bool{}}
		} else if m := metricType.FindStringSubmatch(line); m != nil {
			found[m[1]].kind = m[2]
		} else if m := metricSample.FindStringSubmatch(line); m != nil && found[m[1]] != nil {
			for _, label := range metricLabel.FindAllStringSubmatch(m[2], -1) {
				if label[1] != "le" {
					found[m[1]].labels[label[1]] = true
				}
			}
		}
	}
	return found
}

// declaredMetrics returns the names of metrics that stand in the code.
func declaredMetrics(t *testing.T) []string {
	t.Helper()
	names := map[string]bool{}
	for _, dir := range []string{"cmd", "detect", "notify", "proxy"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil && metricName.MatchString(text) {
						names[text] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %d metrics are declared", len(names))
	}
	return slices.Sorted(maps.Keys(names))
}

var metricName = regexp.MustCompile(`^bellbuoy_[a-z_]*[a-z]$`)

// metricAlerts returns the names of the alerts that use a metric.
func metricAlerts(t *testing.T, found map[string]*shownMetric) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("../../deploy/helm/bellbuoy/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	alerts := map[string][]string{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			for name := range found {
				if regexp.MustCompile(`\b` + name + `(_bucket|_sum|_count)?\b`).MatchString(rule.Expr) {
					alerts[name] = append(alerts[name], docpage.Code(rule.Alert))
				}
			}
		}
	}
	return alerts
}
