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
	"runtime"
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
	const line = "demo 1.0.0-2 sha256:abc"
	got := listed(t, index)
	if len(got) != 2 || got[0] != "charts/demo-1.0.0-2.tgz "+line || got[1] != "https://cdn.example.com/x/demo-1.0.0-2.tgz?sig=1 "+line {
		t.Errorf("%q", got)
	}
}

// listed are the archives that an index.yaml lists.
func listed(t testing.TB, index string) (got []string) {
	t.Helper()
	err := IndexedCharts(strings.NewReader(index), func(url string, c Chart) {
		got = append(got, strings.Join([]string{url, c.Name, c.Version, c.Digest}, " "))
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// TestIndexedChartsStyles: index.yaml as programs and people write it.
func TestIndexedChartsStyles(t *testing.T) {
	for name, index := range map[string]string{
		"helm": "apiVersion: v1\nentries:\n  a:\n  - apiVersion: v2\n    created: \"2026-01-01T00:00:00Z\"\n    dependencies:\n    - name: sub\n      version: 9.9.9\n" +
			"    description: 'two: lines\n      name: no\n      version: 3'\n    digest: abc\n    name: a\n    urls:\n    - a-1.0.0.tgz\n    version: 1.0.0\ngenerated: \"2026\"\n",
		"indented":   "entries:\n    a:\n      -   name: a\n          version: 1.0.0   # the first\n          digest: \"abc\"\n          urls:\n              - 'a-1.0.0.tgz'\n",
		"dash alone": "entries:\n  a:\n  -\n    name: a\n    version: 1.0.0\n    digest: sha256:abc\n    urls: [a-1.0.0.tgz]\n",
		"windows":    "entries:\r\n  a:\r\n  - name: a\r\n    version: 1.0.0\r\n    digest: abc\r\n    urls:\r\n    - a-1.0.0.tgz\r\n",
		"others":     "serverInfo:\n  a:\n  - name: a\nentries:\n  0:\n  - name: '0'\n  a:\n  - {name: a}\n  - name: a\n    name: a\n    version: 1.0.0\n    digest: abc\n    urls: [a-1.0.0.tgz]\n    icon: |\n      version: 2\n\n# end\n  b: []\nx:\n  y:\n  - name: b\n    version: 1\n    urls: [b]\n",
	} {
		if got := listed(t, index); len(got) != 1 || got[0] != "a-1.0.0.tgz a 1.0.0 sha256:abc" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := listed(t, "entries:\n  a:\n  - name: a\n    version: 1.10\n    urls: [a]\n"); len(got) != 1 || got[0] != "a a 1.1 " {
		t.Errorf("a number as version, as Helm reads it: %q", got)
	}
}

// allocated is how many bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// hostileYAML is YAML that costs much more than it is long.
func hostileYAML(size int) map[string]string {
	laughs := "a0: &a0 [" + strings.Repeat("x,", 20) + "x]\n"
	for i := range 12 {
		laughs += fmt.Sprintf("a%d: &a%d [%sx]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 20))
	}
	return map[string]string{
		"brackets":     strings.Repeat("[", size),
		"braces":       strings.Repeat("{", size),
		"closed":       "a: " + strings.Repeat("[", size/2) + strings.Repeat("]", size/2),
		"dashes":       strings.Repeat("- ", size/2),
		"questions":    strings.Repeat("? ", size/2),
		"keys":         strings.Repeat("k:\n", size/3),
		"flow":         "a: [" + strings.Repeat("1,", size/2) + "]",
		"laughs":       laughs + "name: *a12\nversion: *a12\n",
		"long aliases": "b: &x " + strings.Repeat("y", size/2) + "\nname: [" + strings.Repeat("*x,", size/6) + "]",
		"merges":       "a: &a {" + strings.Repeat("x,", size/4) + "}\n" + strings.Repeat("<<: *a\n", size/14),
		"plain":        "name: a\nversion: " + strings.Repeat("1", size),
	}
}

// TestHostileChartYAML: no Chart.yaml costs more than a bounded amount of memory, whatever its length.
func TestHostileChartYAML(t *testing.T) {
	for _, size := range []int{60_000, 100_000, 1 << 20} {
		for name, text := range hostileYAML(size) {
			packed := archive(t, "demo/Chart.yaml", text)
			var err error
			if n := allocated(func() { _, err = ReadChart(bytes.NewReader(packed)) }); n > 24<<20 || !errors.Is(err, ErrNotChart) {
				t.Errorf("%s of %d bytes: %d MiB allocated, %v", name, size, n>>20, err)
			}
		}
	}
}

// TestHostileIndex: an index.yaml of 16 MiB costs a bounded amount of work beside itself, and keeps nothing of it.
func TestHostileIndex(t *testing.T) {
	indexes := hostileYAML(16 << 20)
	for name, text := range indexes {
		indexes["entries of "+name] = "entries:\n  a:\n  - name: " + text
	}
	indexes["entries"] = "entries:\n  a:\n" + strings.Repeat("  - name:\n", 1<<20)
	indexes["urls"] = "entries:\n  a:\n  - name: a\n    version: 1.0.0\n    urls:\n" + strings.Repeat("    - a\n", 1<<20)
	for name, text := range indexes {
		charts := 0
		n := allocated(func() { _ = IndexedCharts(strings.NewReader(text), func(string, Chart) { charts++ }) })
		if n > 8<<10*maxIndexEntries || charts > maxIndexURLs {
			t.Errorf("%s: %d MiB allocated, %d archives", name, n>>20, charts)
		}
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
