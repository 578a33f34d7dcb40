package upstream

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const indexYAML = `apiVersion: v1
entries:
  demo:
  - apiVersion: v2
    created: "2026-01-02T03:04:05Z"
    dependencies:
    - name: redis
      repository: https://charts.example.com
      version: 9.9.9
    description: |-
      name: evil
      - name: evil
        version: 6.6.6
    digest: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    maintainers:
    - name: joe
    name: demo
    urls:
    - charts/demo-1.0.0-2.tgz
    - https://mirror.example.com/x.tgz
    version: 1.0.0-2
  - name: demo
    urls: [charts/demo-flow.tgz]
    version: "1.0"
  my-app-2:
  # a comment
  - created: "2026-01-02T03:04:05Z"

    name: my-app-2
    version: 1.0.0-rc.1+build.5 # quoted below
    urls:
      - 'https://x.example.com/team/charts/my-app-2-1.0.0-rc.1+build.5.tgz?a=b'
  broken:
  - name: broken
  empty: []
generated: "2026-01-02T03:04:05Z"
serverInfo: {}
other:
  - name: x
    version: 1.2.3
`

const fooDigest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

func scanAll(text string) (charts []Chart, err error) {
	err = scanIndex(strings.NewReader(text), maxIndexYAML, func(c Chart) error {
		charts = append(charts, c)
		return nil
	})
	return charts, err
}

func TestScanIndex(t *testing.T) {
	want := []Chart{
		{Name: "demo", Version: "1.0.0-2", File: "demo-1.0.0-2.tgz", Digest: fooDigest, Exists: true},
		{Name: "demo", Version: "1.0", File: "demo-1.0.tgz", Exists: true},
		{Name: "my-app-2", Version: "1.0.0-rc.1+build.5", File: "my-app-2-1.0.0-rc.1+build.5.tgz", Exists: true},
	}
	indented := strings.ReplaceAll(indexYAML, "\n    ", "\n      ")
	indented = strings.ReplaceAll(indented, "\n  - ", "\n    - ")
	for name, text := range map[string]string{"helm": indexYAML, "indented": indented, "crlf": strings.ReplaceAll(indexYAML, "\n", "\r\n")} {
		got, err := scanAll(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, want)
		}
	}
}

func TestScanIndexIsBounded(t *testing.T) {
	text := "entries:\n  a:\n" + strings.Repeat("  - name: a\n    version: 1.0.0\n", 100)
	n := 0
	err := scanIndex(strings.NewReader(text), 500, func(Chart) error { n++; return nil })
	if !errors.Is(err, ErrTooLarge) || n > 20 {
		t.Errorf("%v after %d charts", err, n)
	}
	if _, err := scanAll("entries:\n" + strings.Repeat(" ", maxIndexLine+1)); err == nil {
		t.Error("a line without end was read")
	}
}

func TestChartByFile(t *testing.T) {
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = answering(200, "text/yaml", indexYAML)
	c := n.client()
	got, err := c.ChartByFile(t.Context(), "team", "demo-1.0.0-2.tgz", Anonymous)
	if err != nil || got.Name != "demo" || got.Version != "1.0.0-2" || got.Digest != fooDigest {
		t.Errorf("%+v, %v", got, err)
	}
	if n.requests()[0] != "GET registry.test:5000/team/index.yaml" {
		t.Errorf("asked %q", n.requests())
	}
	if _, err = c.ChartByFile(t.Context(), "", "none-1.0.0.tgz", Anonymous); !errors.Is(err, ErrNotFound) {
		t.Errorf("err = %v", err)
	}
	n.hosts["registry.test:5000"] = answering(502, "text/html", "<html>")
	if _, err = c.ChartByFile(t.Context(), "", "none-1.0.0.tgz", Anonymous); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("err = %v", err)
	}
}

func FuzzScanIndex(f *testing.F) {
	f.Add(indexYAML)
	f.Add("entries:\n- name: a\n  version: \"\\x\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		charts, err := scanAll(text)
		if err != nil {
			return
		}
		for _, c := range charts {
			if c.Name == "" || c.Version == "" || c.File == "" || c.Digest != "" && digest.Digest(c.Digest).Validate() != nil {
				t.Errorf("%+v", c)
			}
		}
		// What is written in helm's form after any text that ends is found.
		with := text + fmt.Sprintf("\nentries:\n  z:\n  - name: z\n    version: 1.0.0\n    digest: %s\n", fooDigest[7:])
		again, err := scanAll(with)
		if err == nil && (len(again) == 0 || again[len(again)-1].Digest != fooDigest) {
			t.Errorf("the last chart was lost: %+v", again)
		}
	})
}
