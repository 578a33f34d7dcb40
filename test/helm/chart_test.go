package helm

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../../deploy/helm/bellbuoy"
	manifests = "../../deploy/kubernetes/"
)

// options are switches of the values. Each test case combines a mode with some of them.
var options = map[string]string{
	"registry":       "registry: {envFrom: [{secretRef: {name: s3}}], resources: {limits: {memory: 1Gi}}}",
	"no registry":    "registry: {enabled: false}",
	"no volume":      "persistence: {enabled: false}\nregistry: {persistence: {enabled: false}}",
	"claims":         "persistence: {existingClaim: a}\nregistry: {persistence: {existingClaim: b}}",
	"tls":            "tls: {existingSecret: cert}\nconfig: {tls: {client_ca_file: /ca/ca.crt}}",
	"ingress":        "ingress: {enabled: true, host: registry.example.com, className: nginx, tlsSecret: cert, annotations: {a: b}}",
	"network policy": "networkPolicy: {enabled: true, clients: [{podSelector: {}}], monitoring: [{namespaceSelector: {}}], egress: [{}]}",
	"monitoring": "serviceMonitor: {enabled: true, labels: {release: p}}\nprometheusRule: {enabled: true, labels: {release: p}}\n" +
		"dashboard: {enabled: true}",
	"no account": "serviceAccount: {create: false, name: other}\npodDisruptionBudget: {enabled: false}\nreplicaCount: 1",
	"pods": `podAnnotations: {a: b}
podLabels: {a: b}
nodeSelector: {a: b}
tolerations: [{key: a, operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]
priorityClassName: high
imagePullSecrets: [{name: pull}]
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
env: [{name: A, value: b}]
envFrom: [{secretRef: {name: s}}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /ca}]
service: {type: LoadBalancer, port: 443, annotations: {a: b}, sessionAffinity: None}
serviceAccount: {annotations: {a: b}}`,
}

var modes = map[string]string{
	"sidecar": "mode: sidecar\nconfig: {upstreams: [{type: registry, url: \"http://127.0.0.1:5000\"}]}",
	"replicas": "mode: replicas\ndatabase: {existingSecret: db}\n" +
		"config: {upstreams: [{type: registry, url: \"http://registry:5000\"}]}",
}

// Every combination of the options renders objects that Kubernetes accepts, in both modes.
func TestEveryCombinationOfValuesRendersValidObjects(t *testing.T) {
	conform, chart := conformance(t), openChart(t)
	names, seen, combinations := slices.Sorted(maps.Keys(options)), map[string]bool{}, 0
	for mode, base := range modes {
		for bits := range 1 << len(names) {
			on := []string{mode}
			values := parse(t, base)
			for i, name := range names {
				if bits&(1<<i) != 0 {
					on = append(on, name)
					values = loader.MergeMaps(values, parse(t, options[name]))
				}
			}
			combinations++
			for file, text := range render(t, chart, values) {
				if !seen[text] {
					seen[text] = true
					conform(t, fmt.Sprintf("%s with %s", file, strings.Join(on, ", ")), text)
				}
			}
		}
	}
	t.Logf("%d combinations render %d different files", combinations, len(seen))
}

func TestChartPassesHelmLint(t *testing.T) {
	for mode, values := range modes {
		linter := lint.RunAll(chartDir, parse(t, values), "default")
		for _, message := range linter.Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("helm lint of the mode %s: %s", mode, message)
			}
		}
	}
}

// Values that would not work are refused with a message that names the value.
func TestChartRefusesWrongValues(t *testing.T) {
	for _, tc := range []struct{ values, want string }{
		{"mode: cluster", "/mode"},
		{"replicas: 3", "replicas"},
		{"config: {listen: \":80\"}", "/config/listen"},
		{"mode: replicas\nconfig: {upstreams: [{type: registry}]}", "/database/existingSecret"},
		{"mode: replicas\ndatabase: {existingSecret: db}", "config.upstreams is empty"},
		{"registry: {enabled: false}", "config.upstreams is empty"},
		{"externalURL: registry.example.com", "/externalURL"},
		{"externalURL: https://a.example\nconfig: {upstreams: [{type: registry}]}", "externalURL is for the registry of the pod"},
		{"ingress: {enabled: true}", "ingress.host is missing"},
	} {
		_, err := tryRender(openChart(t), parse(t, tc.values))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want an error with %q", tc.values, err, tc.want)
		}
	}
}

func TestConformanceFindsWrongObjects(t *testing.T) {
	check := conformer(t)
	for _, wrong := range []string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {}, template: {}, replica: 1}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: http}]}",
		"apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\nspec: {selector: {}, endpoint: []}",
	} {
		if err := check(wrong); err == nil {
			t.Errorf("this is taken for valid:\n%s", wrong)
		}
	}
}

// deploy/kubernetes has the chart's output, for those who do not use Helm.
func TestManifestsAreThoseOfTheChart(t *testing.T) {
	conform := conformance(t)
	for _, mode := range slices.Sorted(maps.Keys(modes)) {
		values, err := os.ReadFile(manifests + mode + ".values.yaml")
		if err != nil {
			t.Fatal(err)
		}
		text := plain(mode, render(t, openChart(t), parse(t, string(values))))
		conform(t, mode, text)
		name := manifests + mode + ".yaml"
		if *update {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, _ := os.ReadFile(name); string(have) != text {
			t.Errorf("%s differs from the chart's output; run this test with -update", name)
		}
	}
}

// plain joins rendered files, without the parts that only Helm reads.
func plain(mode string, files map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made of deploy/helm/bellbuoy with %s.values.yaml; change those. Apply it with\n"+
		"#   kubectl apply -f %s.yaml\n", mode, mode)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for document := range strings.SplitSeq("\n"+files[name], "\n---\n") {
			fmt.Fprintf(&b, "---\n")
			for line := range strings.Lines(strings.TrimSpace(document) + "\n") {
				if !strings.Contains(line, "helm.sh/") && !strings.Contains(line, "app.kubernetes.io/managed-by") &&
					strings.TrimSpace(line) != "" && strings.TrimSpace(line) != "annotations:" {
					b.WriteString(line)
				}
			}
		}
	}
	return b.String()
}

// conformance returns the function of conformer, which fails the test instead of returning an
// error.
func conformance(t *testing.T) func(t *testing.T, name, text string) {
	t.Helper()
	check := conformer(t)
	return func(t *testing.T, name, text string) {
		t.Helper()
		if err := check(text); err != nil {
			t.Errorf("kubeconform refuses %s: %v\n%s", name, err, text)
		}
	}
}

// conformer returns kubeconform with the schemas of Kubernetes and of the Prometheus operator.
func conformer(t *testing.T) func(text string) error {
	t.Helper()
	v, err := validator.New([]string{schemas(t)}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		for _, result := range v.Validate("", io.NopCloser(strings.NewReader(text))) {
			if result.Status == validator.Invalid || result.Status == validator.Error {
				return result.Err
			}
		}
		return nil
	}
}

func openChart(t *testing.T) *v2.Chart {
	t.Helper()
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return chart
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatalf("decoding YAML: %v in\n%s", err, text)
	}
	return values
}

func render(t *testing.T, chart *v2.Chart, values map[string]any) map[string]string {
	t.Helper()
	files, err := tryRender(chart, values)
	if err != nil {
		t.Fatalf("rendering the chart: %v with\n%v", err, values)
	}
	return files
}

// tryRender does the same as helm template. It returns the objects by file.
func tryRender(chart *v2.Chart, values map[string]any) (map[string]string, error) {
	release := common.ReleaseOptions{Name: "bellbuoy", Namespace: "default", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(files, func(name, text string) bool {
		return path.Ext(name) != ".yaml" || strings.TrimSpace(text) == ""
	})
	return files, nil
}
