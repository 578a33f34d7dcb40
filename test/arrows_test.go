// Package test checks rules of the repository as a whole: which package may import which, and what
// the image is made of. The packages below it start real programs and test bellbuoy end to end.
package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/bellbuoy/bellbuoy/"

// arrows lists every package with the packages of this module that it may import. When a package is
// added here, its package comment says why it imports them. Imports of tests do not count.
var arrows = map[string][]string{
	"config":                 {"notify/format/presets"},
	"detect":                 {},
	"detect/quota":           {"detect"},
	"detect/replication":     {"detect"},
	"detect/scan":            {"detect"},
	"detect/scan/adapter":    {"detect/scan"}, // its HTTP client: imports the contract that it implements
	"detect/track":           {"detect", "detect/track/pulls", "detect/track/tagindex"},
	"detect/track/pulls":     {"detect", "detect/track/tagindex"},
	"detect/track/tagindex":  {"detect"},
	"proxy":                  {"detect", "detect/track", "proxy/carry", "proxy/listen", "proxy/upstream"},
	"proxy/buffers":          {},
	"proxy/carry":            {"proxy/buffers", "proxy/listen"},
	"proxy/listen":           {"proxy/buffers"},
	"proxy/upstream":         {},
	"notify":                 {"detect", "notify/counters", "notify/store", "notify/format", "notify/webhook"},
	"notify/counters":        {"notify/store"},
	"notify/store":           {},
	"notify/store/engine":    {"notify/store"},
	"notify/store/sqlite":    {"notify/store", "notify/store/engine"},
	"notify/store/postgres":  {"notify/store", "notify/store/engine"},
	"notify/store/storetest": {"notify/store", "notify/store/engine"}, // only tests import it
	"notify/format":          {"detect"},
	"notify/format/presets":  {},
	"notify/webhook":         {},
	"notify/access":          {"notify/store"},
	"notify/api":             {"detect", "notify/access", "notify/counters", "notify/format", "notify/manage", "notify/store"},
	"notify/instant":         {"config"}, // its durations
	"notify/manage":          {"config", "detect", "notify", "notify/access", "notify/counters", "notify/format", "notify/store", "notify/webhook"},
	"notify/console":         {"detect", "notify/access", "notify/counters", "notify/format", "notify/format/presets", "notify/instant", "notify/manage"}, // pages: imports what it displays
	"cmd/bellbuoy":           {"config", "detect", "detect/quota", "detect/replication", "detect/scan", "detect/scan/adapter", "detect/track", "notify", "notify/access", "notify/api", "notify/console", "notify/counters", "notify/format", "notify/format/presets", "notify/instant", "notify/manage", "notify/store", "notify/store/postgres", "notify/store/sqlite", "notify/webhook", "proxy", "proxy/listen", "proxy/upstream"},
}

func TestImportArrows(t *testing.T) {
	found := packages(t)
	for _, p := range found {
		if violation := check(p); violation != "" {
			t.Error(violation)
		}
	}
	for _, stale := range stale(found) {
		t.Error(stale)
	}
}

// stale lists the entries of the table that no package needs.
func stale(found []listed) (problems []string) {
	imports := map[string][]string{}
	for _, p := range found {
		imports[p.name] = append([]string{}, p.imports...)
	}
	for name, allowed := range arrows {
		has, exists := imports[name]
		if !exists {
			problems = append(problems, "there is no package "+name)
			continue
		}
		for _, a := range allowed {
			if !slices.Contains(has, module+a) {
				problems = append(problems, name+" does not import "+a)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func TestStaleArrowsAreFound(t *testing.T) {
	var found []listed
	for name, allowed := range arrows {
		p := listed{name: name}
		for _, a := range allowed {
			p.imports = append(p.imports, module+a)
		}
		found = append(found, p)
	}
	if got := stale(found); len(got) > 0 {
		t.Errorf("a table that is right has %q", got)
	}
	found = slices.DeleteFunc(found, func(p listed) bool { return p.name == "config" })
	for i := range found {
		if found[i].name == "notify/format" {
			found[i].imports = nil
		}
	}
	if got, want := stale(found), []string{"notify/format does not import detect", "there is no package config"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestForbiddenImportsAreFound(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    listed
		want string
	}{
		{"allowed", listed{"proxy", []string{"net/http", module + "detect"}}, ""},
		{"a forbidden import", listed{"detect", []string{module + "notify"}}, "detect must not import notify"},
		{"an unknown package", listed{"util", nil}, "util is not in the table"},
		{"bellbuoy does not import tests", listed{"cmd/bellbuoy", []string{module + "test/harness"}}, "cmd/bellbuoy must not import test/harness"},
		{"tests may import what they need", listed{"test/events", []string{module + "detect"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := check(tc.p); !strings.HasPrefix(got, tc.want) || (tc.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// listed is a package, by its path in the module, and all its imports.
type listed struct {
	name    string
	imports []string
}

// check describes what is wrong with the imports of a package; "" if nothing is.
func check(p listed) string {
	if p.name == "test" || strings.HasPrefix(p.name, "test/") {
		return ""
	}
	allowed, known := arrows[p.name]
	if !known {
		return p.name + " is not in the table of arrows: add it with what it may import, and say why it exists"
	}
	for _, imported := range p.imports {
		if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(allowed, ours) {
			return p.name + " must not import " + ours
		}
	}
	return ""
}

// packages returns every package of the module, as `go list` sees them on this machine.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-pgo=off", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var found []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		found = append(found, listed{strings.TrimPrefix(p.ImportPath, module), p.Imports})
	}
	if len(found) < 3 {
		t.Fatalf("go list found only %d packages", len(found))
	}
	return found
}
