package detect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"
)

// archive packs files, given as name and content in turn, the way helm does.
func archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for i := 0; i < len(files); i += 2 {
		if err := tw.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(tw, files[i+1])
	}
	_ = tw.Close()
	_ = zw.Close()
	return b.Bytes()
}

const demoYAML = "apiVersion: v2\nname: demo\nversion: 1.0.0-rc.1+build.5\ntype: library\nappVersion: \"7\"\n"

func TestReadChart(t *testing.T) {
	b := archive(t, "demo/values.yaml", "a: 1", "demo/charts/sub/Chart.yaml", "name: sub\nversion: 9.9.9\n", "demo/Chart.yaml", demoYAML)
	c, err := ReadChart(bytes.NewReader(b))
	want := Chart{Name: "demo", Version: "1.0.0-rc.1+build.5", Type: "library", AppVersion: "7", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(b)), Size: int64(len(b))}
	if err != nil || *c != want {
		t.Errorf("%+v %v", c, err)
	}
}

func TestReadChartBad(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":         nil,
		"no gzip":       []byte("PK\x03\x04 not a chart"),
		"truncated":     archive(t, "demo/Chart.yaml", demoYAML)[:40],
		"no Chart.yaml": archive(t, "demo/values.yaml", "a: 1", "Chart.yaml", demoYAML),
		"no YAML":       archive(t, "demo/Chart.yaml", "\t- : ]["),
		"no name":       archive(t, "demo/Chart.yaml", "version: 1.0.0"),
		"path as name":  archive(t, "demo/Chart.yaml", "name: ../x\nversion: 1.0.0"),
	} {
		c, err := ReadChart(bytes.NewReader(b))
		if !errors.Is(err, ErrNotChart) || c == nil || c.Name != "" || c.Size != int64(len(b)) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
}

func TestReadChartBody(t *testing.T) {
	chart := archive(t, "demo/Chart.yaml", demoYAML)
	form := func(parts ...string) (string, []byte) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := 0; i < len(parts); i += 3 {
			p, _ := w.CreateFormFile(parts[i], parts[i+1])
			_, _ = io.WriteString(p, parts[i+2])
		}
		_ = w.Close()
		return w.FormDataContentType(), b.Bytes()
	}
	contentType, both := form("prov", "demo-1.tgz.prov", "-----BEGIN PGP", "chart", "demo-1.tgz", string(chart))
	if c, err := ReadChartBody(contentType, bytes.NewReader(both)); err != nil || c.Name != "demo" || c.Size != int64(len(chart)) {
		t.Errorf("form: %+v %v", c, err)
	}
	contentType, hinted := form("chart", "my-app-2-1.0.0-rc.1.tgz", "not a gzip")
	if c, err := ReadChartBody(contentType, bytes.NewReader(hinted)); err != nil || c.Name != "my-app-2" || c.Version != "1.0.0-rc.1" {
		t.Errorf("hint: %+v %v", c, err)
	}
	contentType, prov := form("prov", "demo-1.0.0.tgz.prov", "text")
	if c, err := ReadChartBody(contentType, bytes.NewReader(prov)); !errors.Is(err, ErrNotChart) || c != nil {
		t.Errorf("provenance alone: %+v %v", c, err)
	}
	if c, err := ReadChartBody("application/x-www-form-urlencoded", bytes.NewReader(chart)); err != nil || c.Name != "demo" {
		t.Errorf("raw: %+v %v", c, err)
	}
}

func TestSplitChartFile(t *testing.T) {
	for file, want := range map[string]string{
		"demo-0.1.0.tgz":                  "demo 0.1.0",
		"demo-1.0.0-2.tgz":                "demo 1.0.0-2",
		"my-app-2-1.0.0-rc.1+build.5.tgz": "my-app-2 1.0.0-rc.1+build.5",
		"v2-2-0.1.0.tgz":                  "v2-2 0.1.0",
		"a-1.0.0-1.0.0.tgz":               "a-1.0.0 1.0.0",
		"demo-v1.2.3.tgz":                 "demo v1.2.3",
		"demo-1.2.tgz":                    "demo 1.2",
		"demo-1.2.3.tgz.prov":             "demo 1.2.3",
		"demo.tgz":                        " ",
		"-1.0.0.tgz":                      " ",
	} {
		name, version, ok := SplitChartFile(file)
		if got := name + " " + version; got != want || ok != (name != "") {
			t.Errorf("%s: %q %v, want %q", file, got, ok, want)
		}
	}
}

func TestIndexedCharts(t *testing.T) {
	index := `apiVersion: v1
entries:
  demo:
  - name: demo
    version: 1.0.0-2
    digest: abc
    urls: [charts/demo-1.0.0-2.tgz, "https://cdn.example.com/x/demo-1.0.0-2.tgz?sig=1"]
`
	var got []string
	if err := IndexedCharts(strings.NewReader(index), func(file, name, version, digest string) {
		got = append(got, file+" "+name+" "+version+" "+digest)
	}); err != nil || len(got) != 2 || got[0] != "demo-1.0.0-2.tgz demo 1.0.0-2 sha256:abc" || got[1] != got[0] {
		t.Errorf("%q %v", got, err)
	}
	if err := IndexedCharts(strings.NewReader("entries: ["), func(_, _, _, _ string) {}); !errors.Is(err, ErrNotChart) {
		t.Error(err)
	}
}

func FuzzReadChart(f *testing.F) {
	f.Add(archive(f, "demo/Chart.yaml", demoYAML), "")
	f.Add([]byte("no chart"), "multipart/form-data; boundary=x")
	f.Fuzz(func(t *testing.T, b []byte, contentType string) {
		c, err := ReadChartBody(contentType, bytes.NewReader(b))
		if err == nil && (c == nil || c.Name == "" || c.Version == "" || hasControl(c.Name+c.Version)) {
			t.Errorf("no error, but %+v", c)
		}
	})
}

func FuzzChartYAML(f *testing.F) {
	f.Add([]byte(demoYAML))
	f.Add([]byte("name: &a [*a]\nversion: !!binary x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseChartYAML(b)
		if (err == nil) == (c == nil) || err != nil && !errors.Is(err, ErrNotChart) {
			t.Errorf("%+v %v", c, err)
		}
	})
}
