package helm

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The modules with the definitions of Kubernetes and of the Prometheus operator. They are not
// compiled.
const (
	kubernetes = "k8s.io/kubernetes@v1.37.2"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// schemas writes a JSON Schema of each kind of object into a directory, under the name by which
// kubeconform looks for it, and returns the location that kubeconform takes. They are strict: an
// unknown field is an error.
func schemas(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	fromOpenAPI(t, filepath.Join(module(t, kubernetes), "api/openapi-spec/swagger.json"), dir)
	for _, kind := range []string{"servicemonitors", "prometheusrules"} {
		fromCRD(t, filepath.Join(module(t, operator), "example/prometheus-operator-crd/monitoring.coreos.com_"+kind+".yaml"), dir)
	}
	return dir + "/{{ .ResourceKind }}{{ .KindSuffix }}.json"
}

// module returns the directory of a module's source.
func module(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", name)
	cmd.Dir = t.TempDir() // outside of this module, which does not require it
	out, err := cmd.Output()
	var found struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &found); jsonErr != nil || err != nil {
		t.Fatalf("downloading the module %s: %v %v %s", name, err, jsonErr, found.Error)
	}
	return found.Dir
}

type groupVersionKind struct{ Group, Version, Kind string }

func (k groupVersionKind) file() string {
	group, _, _ := strings.Cut(k.Group, ".")
	if group != "" {
		group += "-"
	}
	return strings.ToLower(fmt.Sprintf("%s-%s%s.json", k.Kind, group, k.Version))
}

// kinds are the kinds of objects that the chart may make.
var kinds = []string{
	"ConfigMap", "Deployment", "Ingress", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget", "Service",
	"ServiceAccount",
}

func fromOpenAPI(t *testing.T, file, dir string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(content, &spec); err != nil {
		t.Fatalf("decoding %s: %v", file, err)
	}
	wanted := map[string]bool{}
	for _, kind := range kinds {
		wanted[kind] = true
	}
	for name, definition := range spec.Definitions {
		for _, kind := range kindsOf(t, definition) {
			if !wanted[kind.Kind] {
				continue
			}
			used := map[string]any{}
			reach(spec.Definitions, name, used)
			writeSchema(t, filepath.Join(dir, kind.file()), map[string]any{"$ref": "#/definitions/" + name, "definitions": used})
		}
	}
}

func kindsOf(t *testing.T, definition map[string]any) (kinds []groupVersionKind) {
	t.Helper()
	raw, err := json.Marshal(definition["x-kubernetes-group-version-kind"])
	if err == nil {
		err = json.Unmarshal(raw, &kinds)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

// reach collects into used the definition of that name and all that it refers to.
func reach(all map[string]map[string]any, name string, used map[string]any) {
	if _, ok := used[name]; ok {
		return
	}
	definition := maps.Clone(all[name])
	used[name] = definition
	switch name {
	case "io.k8s.apimachinery.pkg.util.intstr.IntOrString", "io.k8s.apimachinery.pkg.api.resource.Quantity":
		used[name] = map[string]any{"type": []any{"string", "number"}}
		return
	}
	refs(definition, func(ref string) { reach(all, strings.TrimPrefix(ref, "#/definitions/"), used) })
}

func refs(value any, found func(string)) {
	switch v := value.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			found(ref)
		}
		for _, child := range v {
			refs(child, found)
		}
	case []any:
		for _, child := range v {
			refs(child, found)
		}
	}
}

func fromCRD(t *testing.T, file, dir string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(content, &crd); err != nil {
		t.Fatalf("decoding %s: %v", file, err)
	}
	for _, version := range crd.Spec.Versions {
		kind := groupVersionKind{crd.Spec.Group, version.Name, crd.Spec.Names.Kind}
		writeSchema(t, filepath.Join(dir, kind.file()), version.Schema.OpenAPIV3Schema)
	}
}

func writeSchema(t *testing.T, file string, schema map[string]any) {
	t.Helper()
	strict(schema)
	content, err := json.Marshal(schema)
	if err == nil {
		err = os.WriteFile(file, content, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// strict forbids fields that a schema does not name.
func strict(value any) {
	switch v := value.(type) {
	case map[string]any:
		if v["x-kubernetes-int-or-string"] == true {
			delete(v, "anyOf")
			v["type"] = []any{"string", "integer"}
		}
		_, named := v["properties"].(map[string]any)
		if _, said := v["additionalProperties"]; named && !said && v["x-kubernetes-preserve-unknown-fields"] == nil {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			strict(child)
		}
	case []any:
		for _, child := range v {
			strict(child)
		}
	}
}
