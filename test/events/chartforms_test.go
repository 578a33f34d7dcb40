package events

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

func chartYAML(name, version string) string {
	return "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"
}

// TestChartForms uploads charts by curl in forms, at ChartMuseum with each flag that changes paths
// or fields, and archives that helm did not make. Every upload that ChartMuseum stores causes an
// event, and nothing else does.
func TestChartForms(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real ChartMuseum")
	}
	renamed := []string{"--chart-post-form-field-name", "mychart", "--prov-post-form-field-name", "myprov"}
	for name, tc := range map[string]struct {
		museum harness.ChartMuseumOptions
		tenant string
	}{
		"plain":                  {},
		"depth 2":                {harness.ChartMuseumOptions{Depth: 2}, "org/team"},
		"dynamic context path":   {harness.ChartMuseumOptions{DepthDynamic: true, ContextPath: "/charts/museum"}, "a/b/c"},
		"renamed fields":         {harness.ChartMuseumOptions{Flags: renamed}, ""},
		"renamed fields depth":   {harness.ChartMuseumOptions{Depth: 1, ContextPath: "/x", Flags: renamed}, "api"},
		"overwriting is allowed": {harness.ChartMuseumOptions{Flags: []string{"--allow-overwrite"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			museum := harness.ChartMuseum(t, tc.museum)
			s := &stage{login: "anonymous", hooks: harness.NewReceiver(t)}
			s.buoy = harness.Bellbuoy(t, "upstreams: [{name: charts, type: chartmuseum, url: "+museum.URL+", path_prefix: '"+tc.museum.ContextPath+"'}]\n"+
				s.webhook("format: bellbuoy, events: ['*']"))
			c := charts{t: t, s: s, caller: call(t, s.buoy.ProxyURL, "127.0.0.1", "curl/7.88.1"), prefix: tc.museum.ContextPath, tenant: tc.tenant}
			c.forms(len(tc.museum.Flags) > 1)
			c.archives()
			c.settle()
		})
	}
}

// charts sends requests to a chart repository and has the lines of their events.
type charts struct {
	t              *testing.T
	s              *stage
	caller         *caller
	prefix, tenant string
	want           []string
}

func (c *charts) path(api, rest string) string {
	if c.tenant != "" {
		api += "/" + c.tenant
	}
	return c.prefix + api + rest
}

func (c *charts) expectsLine(verb, name, version string) {
	tenant := c.tenant
	if tenant == "" {
		tenant = "library"
	}
	c.want = append(c.want, verb+" "+tenant+"/"+name+" "+version+" by \""+c.s.operator+"\"")
}

func (c *charts) expect(by *caller, status int, method, path string, body []byte) {
	c.t.Helper()
	if got, answer := by.do(method, path, body); got != status {
		c.t.Errorf("%s %s: got %d %s, want %d", method, path, got, answer, status)
	}
}

// file writes a file for curl.
func (c *charts) file(name string, content []byte) string {
	path := filepath.Join(c.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// curl uploads with curl and returns the status.
func (c *charts) curl(args ...string) string {
	c.t.Helper()
	url := c.s.buoy.ProxyURL + c.path("/api", "/charts")
	return harness.Run(c.t, nil, "curl", append([]string{"-s", "-o", "/dev/null", "-w", "%{http_code}", url}, args...)...)
}

func (c *charts) form(status string, args ...string) {
	c.t.Helper()
	var form []string
	for _, a := range args {
		form = append(form, "-F", a)
	}
	if got := c.curl(form...); got != status {
		c.t.Errorf("curl %q: got %s, want %s", args, got, status)
	}
}

// forms uploads charts in forms. renamed: ChartMuseum also accepts the parts mychart and myprov.
func (c *charts) forms(renamed bool) {
	chart := func(name string) string {
		return "@" + c.file(name+"-1.0.0.tgz", harness.NewChart(name, "1.0.0", harness.ChartOptions{}))
	}
	prov := func(name string) string {
		return "@" + c.file(name+"-1.0.0.tgz.prov", []byte("-----BEGIN PGP SIGNED MESSAGE-----\n\nname: "+name+"\nversion: 1.0.0\n"))
	}
	c.form("201", "chart="+chart("one"), "prov="+prov("one"))
	c.expectsLine("upload", "one", "1.0.0")
	c.form("201", "prov="+prov("alone"))
	c.form("201", "file="+chart("claimed"), "chart="+chart("stored"))
	c.expectsLine("upload", "stored", "1.0.0")
	c.form("201", "chart="+chart("first"), "chart="+chart("second"))
	c.expectsLine("upload", "first", "1.0.0")
	c.form("400", "file="+chart("claimed"))
	if !renamed {
		c.form("400", "mychart="+chart("claimed"))
		return
	}
	c.form("201", "mychart="+chart("mine"), "myprov="+prov("mine"))
	c.expectsLine("upload", "mine", "1.0.0")
	c.form("201", "mychart="+chart("both-mine"), "chart="+chart("both"))
	c.expectsLine("upload", "both-mine", "1.0.0")
	c.expectsLine("upload", "both", "1.0.0")
	c.form("201", "myprov="+prov("alone-too"))
	c.form("201", "mychart="+chart("kept"), "file="+chart("claimed"))
	c.expectsLine("upload", "kept", "1.0.0")
}

// archives uploads unusual archives, as bodies and in forms.
func (c *charts) archives() {
	t := c.t
	padding := "# " + strings.Repeat("x", 70_000) + "\n"
	for name, archive := range map[string][]byte{
		"windows":  harness.ChartArchive(`b\values.yaml`, "a: 1\n", `b\Chart.yaml`, chartYAML("windows", "1.0.0"), `b\templates\x.yaml`, ""),
		"twice":    harness.ChartArchive("b/Chart.yaml", chartYAML("before", "0.0.1"), "b/Chart.yaml", chartYAML("twice", "1.0.0")),
		"key":      harness.ChartArchive("b/Chart.yaml", chartYAML("key", "1.0.0")+"deprecated: true\ndeprecated: true\n"),
		"unread":   harness.ChartArchive("b/Chart.yaml", padding+chartYAML("unread", "1.0.0")), // longer than bellbuoy reads: it finds the chart in the index
		"required": harness.ChartArchive("b/requirements.yaml", "name: required\n", "b/Chart.yaml", chartYAML("before", "1.0.0")),
	} {
		if got := c.curl("--data-binary", "@"+c.file(name+".tgz", archive)); got != "201" {
			t.Errorf("upload of %s: got %s", name, got)
		}
		c.expectsLine("upload", name, "1.0.0")
	}
	c.form("201", "chart=@"+c.file("x.tgz", harness.ChartArchive(`b\Chart.yaml`, chartYAML("windows", "2.0.0"))))
	c.expectsLine("upload", "windows", "2.0.0")
	number := harness.ChartArchive("b/Chart.yaml", "apiVersion: v2\nname: number\nversion: 1.10\n")
	c.form("201", "chart=@"+c.file("number.tgz", number))
	c.expectsLine("upload", "number", "1.1")
	deep := harness.ChartArchive("b/Chart.yaml", strings.Repeat("[", 100_000))
	if got := c.curl("--data-binary", "@"+c.file("deep.tgz", deep)); got != "500" && got != "400" && got != "502" {
		t.Errorf("brackets without end: %s", got)
	}
	c.expect(c.caller, http.StatusOK, http.MethodGet, c.path("", "/charts/number-1.1.tgz"), nil)
	c.expectsLine("download", "number", "1.1")
}

// settle compares the events with the expected lines.
func (c *charts) settle() {
	posts := c.s.hooks.Wait(len(c.want), time.Minute)
	c.s.hooks.Quiet(500 * time.Millisecond)
	var got []string
	for _, e := range decode(c.t, posts) {
		got = append(got, line(&e))
	}
	if missing, extra := differ(c.want, got); len(missing)+len(extra) > 0 {
		c.t.Errorf("missing\n  %s\nextra\n  %s", strings.Join(missing, "\n  "), strings.Join(extra, "\n  "))
	}
}

// TestStaticCharts lets helm pull from a directory of files with the archives beside index.yaml. A
// 206 with all bytes, as nginx may send it, is a download, too.
func TestStaticCharts(t *testing.T) {
	if testing.Short() {
		t.Skip("runs helm")
	}
	dir := t.TempDir()
	for _, version := range []string{"1.0.0", "1.0.0-2"} {
		if err := os.WriteFile(filepath.Join(dir, "demo-"+version+".tgz"), harness.NewChart("demo", version, harness.ChartOptions{}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other.tgz"), []byte("no chart"), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Run(t, nil, "helm3", "repo", "index", dir)
	files := httptest.NewServer(http.StripPrefix("/stable", http.FileServer(http.Dir(dir))))
	t.Cleanup(files.Close)
	s := &stage{login: "anonymous", hooks: harness.NewReceiver(t)}
	s.buoy = harness.Bellbuoy(t, "upstreams: [{name: charts, type: chartmuseum, url: "+files.URL+"}]\n"+s.webhook("format: bellbuoy, events: ['*']"))
	c := charts{t: t, s: s, caller: call(t, s.buoy.ProxyURL, "127.0.0.1", "curl/7.88.1"), tenant: "stable"}
	for _, client := range []string{"helm3", "helm4"} {
		env := harness.HelmEnv(t)
		harness.Run(t, env, client, "repo", "add", "files", s.buoy.ProxyURL+"/stable")
		harness.Run(t, env, client, "pull", "files/demo", "--version", "1.0.0", "-d", t.TempDir())
		c.expectsLine("download", "demo", "1.0.0")
		harness.Run(t, env, client, "pull", "files/demo", "--version", "1.0.0-2", "-d", t.TempDir())
		c.expectsLine("download", "demo", "1.0.0-2")
	}
	c.expect(c.caller, http.StatusOK, http.MethodGet, "/stable/other.tgz", nil)
	c.expect(c.caller.with("Range", "bytes=0-"), http.StatusPartialContent, http.MethodGet, "/stable/demo-1.0.0.tgz", nil)
	c.expectsLine("download", "demo", "1.0.0")
	c.expect(c.caller.with("Range", "bytes=10-"), http.StatusPartialContent, http.MethodGet, "/stable/demo-1.0.0.tgz", nil)
	c.settle()
	if posts := s.hooks.Posts(""); !slices.ContainsFunc(posts, func(p harness.Post) bool {
		return strings.Contains(string(p.Body), "/stable/demo-1.0.0.tgz") && !strings.Contains(string(p.Body), "/charts/")
	}) {
		t.Error("no event has the path of the archive")
	}
}
