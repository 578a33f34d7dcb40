package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	alertsFile    = "../../deploy/helm/bellbuoy/files/alerts.yaml"
	dashboardFile = "../../deploy/helm/bellbuoy/files/dashboard.json"
)

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type ruleFile struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file ruleFile
	if err := yaml.UnmarshalWithOptions(harness.ReadFile(t, alertsFile), &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

// panels returns the queries of the dashboard by the title of their panel.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(harness.ReadFile(t, dashboardFile), &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string][]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".+").Replace(target.Expr)
			queries[panel.Title] = append(queries[panel.Title], expr)
		}
	}
	return queries
}

// A running bellbuoy exports every metric and label of the alerts and panels.
func TestMetricsOfAlertsAndDashboardExist(t *testing.T) {
	t.Parallel()
	exported := exportedMetrics(t)
	for _, alert := range alerts(t) {
		exported.check(t, alert.Alert, alert.Expr)
	}
	for title, queries := range panels(t) {
		for _, query := range queries {
			exported.check(t, title, query)
		}
	}
	if problem := exported.problem("sum by (operation) (bellbuoy_open_intents)"); problem == "" {
		t.Error("a label that the metric lacks is not found")
	}
}

// metrics has the names of metrics, each with the names of its labels.
type metrics map[string]map[string]bool

var (
	metricName = regexp.MustCompile(`\b(?:bellbuoy|process|go)_[a-z0-9_]+`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	label      = regexp.MustCompile(`([a-zA-Z_]+)="`)
	suffix     = regexp.MustCompile(`_(?:bucket|sum|count)$`)
)

// exportedMetrics runs bellbuoy, causes something of each kind, and reads its metrics.
func exportedMetrics(t *testing.T) metrics {
	t.Helper()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	hooks := harness.NewReceiver(t)
	buoy := harness.Bellbuoy(t, fmt.Sprintf(`upstreams:
  - {name: registry, type: registry, url: %q}
  - {name: gone, type: registry, url: "http://127.0.0.1:1", hosts: [gone.example.com]}
webhooks: [{name: ci, url: %q}]
projects: [{match: "*", quota: {limit: 1GiB}}]
`, registry.URL, hooks.URL("/ci")))
	harness.Push(t, buoy.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	// A delivery is counted after the receiver has got it.
	if !harness.Eventually(harness.Soon, func() bool { return buoy.Metric("bellbuoy_deliveries_total") > 0 }) {
		t.Fatal("no webhook was delivered")
	}
	resp, err := harness.Send(http.MethodGet, buoy.ProxyURL+"/v2/", nil, "Host", "gone.example.com")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Fatalf("an upstream that does not listen: %s", resp.Status)
	}
	found := metrics{}
	for line := range strings.Lines(buoy.Metrics()) {
		name := metricName.FindString(line)
		if name == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name = suffix.ReplaceAllString(name, "")
		if found[name] == nil {
			found[name] = map[string]bool{"instance": true} // Prometheus adds it
		}
		for _, l := range label.FindAllStringSubmatch(line, -1) {
			found[name][l[1]] = true
		}
	}
	return found
}

func (m metrics) check(t *testing.T, where, expr string) {
	t.Helper()
	if problem := m.problem(expr); problem != "" {
		t.Errorf("%s: %s, in\n%s", where, problem, expr)
	}
}

func (m metrics) problem(expr string) string {
	labels := map[string]bool{}
	for _, name := range metricName.FindAllString(expr, -1) {
		name = suffix.ReplaceAllString(name, "")
		if m[name] == nil {
			return "there is no metric " + name
		}
		for l := range m[name] {
			labels[l] = true
		}
	}
	for _, by := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(by[1], ",") {
			if l = strings.TrimSpace(l); !labels[l] {
				return "no metric of the query has the label " + l
			}
		}
	}
	return ""
}

func TestPromtoolAcceptsAlertsAndQueries(t *testing.T) {
	t.Parallel()
	promtool := harness.Part(t, "promtool")
	harness.Run(t, nil, promtool, "check", "rules", alertsFile)
	var queries []rule
	for _, exprs := range panels(t) {
		for _, expr := range exprs {
			queries = append(queries, rule{Record: fmt.Sprintf("panel:%d", len(queries)), Expr: expr})
		}
	}
	harness.Run(t, nil, promtool, "check", "rules", writeRules(t, queries))
}

func writeRules(t *testing.T, rules []rule) string {
	t.Helper()
	return writeYAML(t, "rules.yaml", ruleFile{[]ruleGroup{{"bellbuoy", rules}}})
}

func writeYAML(t *testing.T, name string, value any) string {
	t.Helper()
	content, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	harness.WriteFile(t, path, string(content))
	return path
}

// firing has, for each alert, a series that makes it fire, and one that does not.
var firing = map[string]struct {
	series      string
	bad, good   string
	at          string
	labels      map[string]string // of the alert, besides severity
	more        map[string]string // further series, with the same values in both cases
	instanceToo bool
}{
	"BellbuoyAbsent":          {series: `bellbuoy_build_info{instance="a"}`, bad: "_x60", good: "1x60", at: "10m"},
	"BellbuoyEventsLost":      {series: `bellbuoy_events_lost_total{instance="a"}`, bad: "0x20 1x40", good: "0x60", at: "25m", instanceToo: true},
	"BellbuoyStoreFails":      {series: `bellbuoy_events_kept{instance="a"}`, bad: "3x60", good: "0x60", at: "10m", instanceToo: true},
	"BellbuoyIntentsOpen":     {series: `bellbuoy_open_intents{instance="a"}`, bad: "2x60", good: "2x5 0x55", at: "20m", instanceToo: true},
	"BellbuoyIntentsGivenUp":  {series: `bellbuoy_intents_given_up_total{instance="a"}`, bad: "0x20 1x40", good: "4x60", at: "25m", instanceToo: true},
	"BellbuoyCircuitOpen":     {series: `bellbuoy_circuit_open{instance="a",webhook="ci"}`, bad: "1x60", good: "1x5 0x55", at: "20m", labels: map[string]string{"webhook": "ci"}},
	"BellbuoyWebhookDisabled": {series: `bellbuoy_webhook_disabled{instance="a",webhook="ci"}`, bad: "1x60", good: "0x60", at: "10m", labels: map[string]string{"webhook": "ci"}},
	"BellbuoyDeliveryLate":    {series: `bellbuoy_oldest_pending_seconds{instance="a",webhook="ci"}`, bad: "0+60x90", good: "0+10x90", at: "60m", labels: map[string]string{"webhook": "ci"}},
	"BellbuoyDeadLetters":     {series: `bellbuoy_dead_deliveries{instance="a",webhook="ci"}`, bad: "0x20 5x40", good: "5x60", at: "30m", labels: map[string]string{"webhook": "ci"}},
	"BellbuoyEventsUnnamed":   {series: `bellbuoy_events_unnamed_total{instance="a"}`, bad: "0x20 1x40", good: "1x60", at: "25m", instanceToo: true},
	"BellbuoyReloadFailed":    {series: `bellbuoy_config_reload_success{instance="a"}`, bad: "0x60", good: "1x60", at: "10m", instanceToo: true},
	"BellbuoyUpstreamFails": {series: `bellbuoy_upstream_errors_total{upstream="r",kind="dial"}`, bad: "0+10x60", good: "0+1x60", at: "20m",
		labels: map[string]string{"upstream": "r"}, more: map[string]string{`bellbuoy_requests_total{upstream="r"}`: "0+100x60"}},
	"BellbuoyForwardedHeadersIgnored": {series: `bellbuoy_untrusted_forwarded_headers_total{instance="a"}`, bad: "0+1x60", good: "9x60", at: "40m", instanceToo: true},
	"BellbuoyPanics":                  {series: `bellbuoy_panics_total{instance="a"}`, bad: "0x20 1x40", good: "1x60", at: "25m", instanceToo: true},
	"BellbuoyStoreSlow": {series: `bellbuoy_store_commit_seconds_bucket{instance="a",le="0.1"}`, bad: "0x60", good: "0+10x60", at: "30m", instanceToo: true,
		more: map[string]string{`bellbuoy_store_commit_seconds_bucket{instance="a",le="1"}`: "0+10x60", `bellbuoy_store_commit_seconds_bucket{instance="a",le="+Inf"}`: "0+10x60"}},
}

// Every alert fires in its situation, and does not otherwise.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	promtool := harness.Part(t, "promtool")
	rules := alerts(t)
	var tests []map[string]any
	for i := range rules {
		rules[i].Annotations = nil // promtool would compare them
		f, ok := firing[rules[i].Alert]
		if !ok {
			t.Errorf("%s lacks a series that makes it fire", rules[i].Alert)
			continue
		}
		labels := map[string]string{"severity": rules[i].Labels["severity"]}
		for name, value := range f.labels {
			labels[name] = value
		}
		if f.instanceToo {
			labels["instance"] = "a"
		}
		fires := []map[string]any{{"exp_labels": labels}}
		tests = append(tests, alertTest(rules[i].Alert, f.series, f.bad, f.more, f.at, fires),
			alertTest(rules[i].Alert, f.series, f.good, f.more, f.at, nil))
	}
	file := writeYAML(t, "test.yaml", map[string]any{"rule_files": []string{writeRules(t, rules)}, "evaluation_interval": "1m", "tests": tests})
	harness.Run(t, nil, promtool, "test", "rules", file)
}

func alertTest(name, series, values string, more map[string]string, at string, fires []map[string]any) map[string]any {
	input := []map[string]string{{"series": series, "values": values}}
	for series, values := range more {
		input = append(input, map[string]string{"series": series, "values": values})
	}
	return map[string]any{"interval": "1m", "input_series": input,
		"alert_rule_test": []map[string]any{{"eval_time": at, "alertname": name, "exp_alerts": fires}}}
}

// An alert says what to do, and its text uses only labels that it has.
func TestAlertsSayWhatToDo(t *testing.T) {
	for _, alert := range alerts(t) {
		if alert.Annotations["summary"] == "" || alert.Annotations["description"] == "" {
			t.Errorf("%s lacks a summary or a description", alert.Alert)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, alert.Labels["severity"]) {
			t.Errorf("%s has severity %q", alert.Alert, alert.Labels["severity"])
		}
	}
}
