package detect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"os"
	"runtime"
	"strings"
	"testing"
)

// archive packs files as helm does. They are given as name and content in turn.
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
		t.Errorf("got %+v, %v", c, err)
	}
}

// An archive has the name and the version that Helm's loader reads, or none. test/helm compares the
// corpus with that loader.
func TestChartsAreReadAsHelmReadsThem(t *testing.T) {
	var all []struct {
		About          string
		Files          []struct{ Path, Text, Type string }
		Want           *Chart
		Lenient, Asked bool
	}
	b, err := os.ReadFile("testdata/charts.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		tw := tar.NewWriter(zw)
		for _, f := range s.Files {
			h := &tar.Header{Name: f.Path, Mode: 0o644, Size: int64(len(f.Text))}
			switch f.Type {
			case "dir":
				h.Typeflag = tar.TypeDir
			case "link":
				h.Typeflag, h.Linkname = tar.TypeSymlink, "elsewhere"
			case "global":
				h = &tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: f.Path, PAXRecords: map[string]string{"comment": "x"}}
			}
			if err := tw.WriteHeader(h); err != nil {
				t.Fatal(s.About, err)
			}
			_, _ = io.WriteString(tw, f.Text)
		}
		_, _ = tw.Close(), zw.Close()
		got, err := ReadChart(&b)
		if got == nil {
			t.Errorf("%s: got %v", s.About, err)
			continue
		}
		got.Digest, got.Size = "", 0
		switch {
		case s.Want == nil && err == nil && !s.Lenient:
			t.Errorf("%s: %+v, which Helm refuses", s.About, *got)
		case s.Want != nil && !s.Asked && (err != nil || *got != *s.Want):
			t.Errorf("%s: got %+v, %v, want %+v", s.About, *got, err, *s.Want)
		case s.Asked && err == nil:
			t.Errorf("%s: got %+v", s.About, *got)
		}
	}
}

func TestReadChartRefusesInvalidCharts(t *testing.T) {
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
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}

// form returns a form of files, each given as part, file name ("": a field) and content.
func form(parts ...string) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 3 {
		if parts[i+1] == "" {
			_ = w.WriteField(parts[i], parts[i+2])
			continue
		}
		p, _ := w.CreateFormFile(parts[i], parts[i+1])
		_, _ = io.WriteString(p, parts[i+2])
	}
	_ = w.Close()
	return w.FormDataContentType(), b.Bytes()
}

// ReadUpload reads the parts of a form that ChartMuseum stores.
func TestReadUpload(t *testing.T) {
	pack := func(name string) string {
		return string(archive(t, name+"/Chart.yaml", "name: "+name+"\nversion: 1.0.0\n"))
	}
	a, b := pack("a"), pack("b")
	const prov = "-----BEGIN PGP SIGNED MESSAGE-----"
	for name, tc := range map[string]struct {
		parts []string
		want  string // the chart, then the others; "?" is a chart without a name
	}{
		"chart":                     {[]string{"chart", "x.tgz", a}, "a"},
		"provenance before":         {[]string{"prov", "a.tgz.prov", prov, "chart", "x.tgz", a}, "a"},
		"provenance alone":          {[]string{"prov", "a.tgz.prov", prov}, "-"},
		"provenance, renamed":       {[]string{"signature", "a.tgz.prov", prov}, "-"},
		"an archive as provenance":  {[]string{"prov", "a.tgz.prov", a}, "-"},
		"another part first":        {[]string{"file", "a-1.0.0.tgz", a, "chart", "b-1.0.0.tgz", b}, "b a"},
		"another part alone":        {[]string{"file", "a-1.0.0.tgz", a}, "- a"},
		"chart twice: the first":    {[]string{"chart", "b", b, "chart", "a", a}, "b"},
		"chart as a field":          {[]string{"chart", "", a}, "-"},
		"a field, then a file":      {[]string{"chart", "", a, "chart", "b", b}, "b"},
		"not readable":              {[]string{"chart", "a-1.0.0.tgz", "no archive"}, "?"},
		"other case":                {[]string{"Chart", "a", a}, "- a"},
		"another part not readable": {[]string{"file", "a-1.0.0.tgz", a[:60], "force", "", "1"}, "- ?"},
		"many others":               {[]string{"1", "a", a, "2", "a", a, "3", "a", a, "4", "a", a, "5", "a", a}, "- a a a a"},
		"nothing":                   {nil, "-"},
	} {
		contentType, body := form(tc.parts...)
		up := ReadUpload(contentType, bytes.NewReader(body))
		word := func(c *Chart) string {
			switch {
			case c == nil:
				return "-"
			case c.Name == "":
				return "?"
			case c.Digest != digestOfBytes([]byte(pack(c.Name))):
				t.Errorf("%s: digest of %+v", name, c)
			}
			return c.Name
		}
		got := word(up.Chart)
		for _, c := range up.Others {
			got += " " + word(&c)
		}
		if got != tc.want || (up.Err != nil) != strings.Contains(got, "?") || up.Empty() != (got == "-") {
			t.Errorf("%s: got %s, want %s (%v)", name, got, tc.want, up.Err)
		}
	}
	for _, contentType := range []string{"", "application/gzip", "application/x-www-form-urlencoded", "Multipart/Form-Data; boundary=x", "multipart/mixed; boundary=x"} {
		if up := ReadUpload(contentType, strings.NewReader(a)); up.Err != nil || up.Chart.Name != "a" || len(up.Others) > 0 {
			t.Errorf("%q: got %+v", contentType, up)
		}
	}
	if up := ReadUpload("multipart/form-data", strings.NewReader(a)); !up.Empty() {
		t.Errorf("a form without boundary: %+v", up)
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
			t.Errorf("%s: got %q %v, want %q", file, got, ok, want)
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
		t.Errorf("got %q", got)
	}
}

// listed returns the archives that an index.yaml lists.
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

// index.yaml in the styles of programs and of people.
func TestIndexedChartsStyles(t *testing.T) {
	for name, index := range map[string]string{
		"helm": "apiVersion: v1\nentries:\n  a:\n  - apiVersion: v2\n    created: \"2026-01-01T00:00:00Z\"\n    dependencies:\n    - name: sub\n      version: 9.9.9\n" +
			"    description: 'two: lines\n      name: no\n      version: 3'\n    digest: abc\n    name: a\n    urls:\n    - a-1.0.0.tgz\n    version: 1.0.0\ngenerated: \"2026\"\n",
		"indented":   "entries:\n    a:\n      -   name: a\n          version: 1.0.0   # the first\n          digest: \"abc\"\n          urls:\n              - 'a-1.0.0.tgz'\n",
		"JSON":       `{"apiVersion":"v1","x":[{"entries":1}],"entries":{"b":[],"a":[null,3,{"name":"a","version":2},{"name":"a","urls":["a-1.0.0.tgz"],"version":"1.0.0","digest":"abc","x":{}}]},"y":1}`,
		"dash alone": "entries:\n  a:\n  -\n    name: a\n    version: 1.0.0\n    digest: sha256:abc\n    urls: [a-1.0.0.tgz]\n",
		"windows":    "entries:\r\n  a:\r\n  - name: a\r\n    version: 1.0.0\r\n    digest: abc\r\n    urls:\r\n    - a-1.0.0.tgz\r\n",
		"others":     "serverInfo:\n  a:\n  - name: a\nentries:\n  0:\n  - name: '0'\n  a:\n  - {name: a}\n  - name: a\n    name: a\n    version: 1.0.0\n    digest: abc\n    urls: [a-1.0.0.tgz]\n    icon: |\n      version: 2\n\n# end\n  b: []\nx:\n  y:\n  - name: b\n    version: 1\n    urls: [b]\n",
	} {
		if got := listed(t, index); len(got) != 1 || got[0] != "a-1.0.0.tgz a 1.0.0 sha256:abc" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := listed(t, "entries:\n  a:\n  - name: a\n    version: 1.10\n    urls: [a]\n"); len(got) != 1 || got[0] != "a a 1.1 " {
		t.Errorf("a number as version, as Helm reads it: %q", got)
	}
}

// allocated returns how many bytes f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// hostileYAML returns short YAML that is costly to read.
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

// The memory for reading a Chart.yaml is bounded, whatever its length.
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

// sparse returns an archive with an empty file of 1 TiB.
func sparse(t testing.TB) []byte {
	t.Helper()
	var raw bytes.Buffer
	block := make([]byte, 512)
	copy(block, "a/hole")
	copy(block[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        S")
	copy(block[257:], "ustar  \x00")
	copy(block[386:], "00000000000\x0000000000000\x00")
	size := block[483:495]
	binary.BigEndian.PutUint64(size[4:], 1<<40)
	size[0] = 0x80
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	raw.Write(block)
	raw.Write(make([]byte, 1024))
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write(raw.Bytes())
	_ = zw.Close()
	return packed.Bytes()
}

// bomb returns an archive that unpacks to size bytes before its Chart.yaml.
func bomb(t testing.TB, size int) []byte {
	t.Helper()
	return archive(t, "a/zeros", strings.Repeat("\x00", size), "a/Chart.yaml", "name: a\nversion: 1.0.0\n")
}

// The work for an upload is bounded, whatever its content, and however often it is sent.
func TestUploadsThatUnpackToMuch(t *testing.T) {
	const most = 8 << 20 // less than maxUnpacked, to save work
	b := bomb(t, most/2)
	var parts []string
	for range 300 {
		parts = append(parts, "chart", "a.tgz", string(b), "file", "a.tgz", string(b))
	}
	contentType, body := form(parts...)
	u := unpackingOf(most)
	var up Upload
	if n := allocated(func() { up = u.upload(contentType, bytes.NewReader(body)) }); n > 4<<20 {
		t.Errorf("%d bytes allocated", n)
	}
	if up.Chart == nil || up.Chart.Name != "a" || u.bytes < 0 || u.files < 0 && u.bytes > most/2 {
		t.Errorf("%+v, %d bytes and %d of files left", up.Chart, u.bytes, u.files)
	}
	header := archive(t, "a/x", "", "a/Chart.yaml", demoYAML)
	for name, tc := range map[string]struct {
		archive []byte
		memory  uint64
	}{
		"too large":    {bomb(t, most+1), 1 << 20},
		"sparse":       {sparse(t), 1 << 20},
		"long name":    {archive(t, "a/"+strings.Repeat("x/", 400_000), ""), 1 << 20},
		"empty gzips":  {bytes.Repeat(archive(t)[:], 10_000), 4 << 20},
		"many headers": {bytes.Repeat(header, 1000), 1 << 20},
	} {
		u := unpackingOf(most)
		if n := allocated(func() { _, _ = u.chart(bytes.NewReader(tc.archive)) }); n > tc.memory || u.bytes < 0 {
			t.Errorf("%s: %d bytes allocated, %d left", name, n, u.bytes)
		}
	}
	if _, err := ReadChart(bytes.NewReader(sparse(t))); !errors.Is(err, errUnpacked) {
		t.Errorf("sparse: %v", err)
	}
}

// The work for an index.yaml of 4 MiB is bounded, and nothing of it is kept.
func TestHostileIndex(t *testing.T) {
	indexes := hostileYAML(4 << 20)
	for name, text := range indexes {
		indexes["entries of "+name] = "entries:\n  a:\n  - name: " + text
	}
	indexes["entries"] = "entries:\n  a:\n" + strings.Repeat("  - name:\n", 1<<18)
	indexes["JSON"] = `{"entries":{"a":[` + strings.Repeat(`{"name":"a"},`, 1<<18)
	indexes["deep JSON"] = `{"entries":{"a":[` + strings.Repeat("[", 16<<20)
	indexes["urls"] = "entries:\n  a:\n  - name: a\n    version: 1.0.0\n    urls:\n" + strings.Repeat("    - a\n", 1<<18)
	for name, text := range indexes {
		charts := 0
		n := allocated(func() { _ = IndexedCharts(strings.NewReader(text), func(string, Chart) { charts++ }) })
		if n > 8<<10*maxIndexEntries || charts > maxIndexURLs {
			t.Errorf("%s: %d MiB allocated, %d archives", name, n>>20, charts)
		}
	}
}

// mostKept is more than an upload may leave in memory: four names, versions, types and the like.
const mostKept = 8 << 10

// Whatever a client sends, the memory for it is bounded, and only usable names are kept.
func FuzzReadUpload(f *testing.F) {
	f.Add(archive(f, "demo/Chart.yaml", demoYAML), "")
	f.Add([]byte("no chart"), "multipart/form-data; boundary=x")
	contentType, body := form("file", "a", string(archive(f, `b\Chart.yaml`, demoYAML)), "chart", "b", "x")
	f.Add(body, contentType)
	for _, text := range hostileYAML(2000) {
		f.Add(archive(f, "a/Chart.yaml", text), "")
	}
	f.Fuzz(func(t *testing.T, b []byte, contentType string) {
		var up Upload
		if n := allocated(func() { up = ReadUpload(contentType, bytes.NewReader(b)) }); n > 64<<20+uint64(len(b))*8 {
			t.Errorf("%d bytes allocated for %d", n, len(b))
		}
		kept, err := json.Marshal(up)
		if err != nil || len(kept) > mostKept || len(up.Others) > maxArchives {
			t.Errorf("%d bytes of %d are kept, %v", len(kept), len(b), err)
		}
		if up.Chart != nil && up.Err == nil && !up.Chart.Named() {
			t.Errorf("no error, but %+v", up)
		}
	})
}

func FuzzChartYAML(f *testing.F) {
	f.Add([]byte(demoYAML))
	f.Add([]byte("name: &a [*a]\nversion: !!binary x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m metadata
		if n := allocated(func() { _ = m.merge(b) }); len(b) <= maxChartYAML && n > 32<<20 {
			t.Errorf("%d bytes allocated for %d", n, len(b))
		}
	})
}
