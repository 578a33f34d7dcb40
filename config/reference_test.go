package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// examples holds the values of reference.yaml that are not defaults.
const examples = `
upstreams:
  - {type: registry, url: http://127.0.0.1:5000, external_url: https://registry.example.com}
  - {type: chartmuseum, url: http://127.0.0.1:8081, external_url: https://charts.example.com}
projects:
  - match: "team-*"
scanners:
  - {name: trivy, url: http://trivy-adapter:8080}
replication:
  - {name: dr-site, match: {user_agents: ["regclient/regsync*"]}}
webhooks:
  - name: deploy
    url: https://ci.example.com/hooks/registry
    signatures: [{header: X-Hub-Signature-256, prefix: "sha256=", secret: an example}]
admin:
  users: [{name: ops, password_hash: $2y$10$abcdefghijklmnopqrstuuwmDMYMjJVHbLIqGcFlHIBtV6U7r6oWC, projects: [team]}]
  tokens: [{name: ci, token: at least 16 characters, projects: [team]}]
`

func TestReferenceShowsTheDefaults(t *testing.T) {
	got, warnings, err := Parse("reference.yaml", Reference(), noEnv)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("problems:\n%v\nwarnings:\n%v", err, warnings)
	}
	if diff := cmp.Diff(mustParse(t, examples), got, compareURLs, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("the reference differs from the defaults (-default +reference):\n%s", diff)
	}
}

func TestReferenceHasEveryKey(t *testing.T) {
	found := &findings{file: "reference.yaml", bad: map[string]bool{}}
	got := map[string]bool{}
	nodePaths(readTree(Reference(), found), "", got)
	want := map[string]bool{}
	typePaths(reflect.TypeFor[Config](), "", want)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("keys (-supported +reference):\n%s", diff)
	}
}

func TestReferenceIsReadable(t *testing.T) {
	for i, line := range strings.Split(string(Reference()), "\n") {
		if strings.Contains(line, "\t") || len(line) > 130 {
			t.Errorf("line %d has a tab or %d bytes", i+1, len(line))
		}
	}
}

// nodePaths collects the paths of all keys below n, with [] for every index.
func nodePaths(n *node, path string, into map[string]bool) {
	for _, item := range n.items {
		nodePaths(item, path+"[]", into)
	}
	for _, k := range n.keys {
		into[join(path, k.name)] = true
		nodePaths(k.value, join(path, k.name), into)
	}
}

// typePaths collects the paths of all keys that are supported.
func typePaths(t reflect.Type, path string, into map[string]bool) {
	if t.Kind() == reflect.Slice {
		typePaths(t.Elem(), path+"[]", into)
	}
	if !isBlock(t) {
		return
	}
	for _, f := range fieldsOf(t) {
		at := join(path, f.name)
		into[at] = true
		typePaths(t.Field(f.index).Type, at, into)
	}
}
