package events

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestCharts: ChartMuseum at every depth: names that can be split in two ways, what stood there
// before bellbuoy came, and helm.
func TestCharts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a real ChartMuseum")
	}
	for name, tc := range map[string]struct {
		museum harness.ChartMuseumOptions
		tenant string
	}{
		"depth 0":              {tenant: ""},
		"depth 1":              {harness.ChartMuseumOptions{Depth: 1, User: user, Password: password}, "team"},
		"depth 2":              {harness.ChartMuseumOptions{Depth: 2}, "org/team"},
		"dynamic":              {harness.ChartMuseumOptions{DepthDynamic: true, ContextPath: "/museum"}, "a/b/c"},
		"dynamic, charts, api": {harness.ChartMuseumOptions{DepthDynamic: true}, "charts/api"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			museum := harness.ChartMuseum(t, tc.museum)
			s := &stage{login: "anonymous", hooks: harness.NewReceiver(t)}
			s.buoy = harness.Bellbuoy(t, "upstreams: [{name: charts, type: chartmuseum, url: "+museum.URL+", path_prefix: '"+tc.museum.ContextPath+"'}]\n"+
				s.webhook("format: bellbuoy, events: ['*']"))
			c := charts{t: t, s: s, caller: call(t, s.buoy.ProxyURL, "127.0.0.1", "curl/7.88.1"), prefix: tc.museum.ContextPath, tenant: tc.tenant}
			if tc.museum.User != "" {
				s.login, s.operator = "basic", user
				c.caller = c.caller.with("Authorization", s.authorization())
			}
			c.direct = call(t, museum.URL, "127.0.0.1", "filler")
			c.direct.header = c.caller.header.Clone()
			c.play()
			if tc.museum.User != "" {
				s.keepsSecrets(t)
			}
		})
	}
}

type charts struct {
	t              *testing.T
	s              *stage
	caller, direct *caller
	prefix, tenant string
	want           []string
}

func (c *charts) path(api, rest string) string {
	if c.tenant != "" {
		api += "/" + c.tenant
	}
	return c.prefix + api + rest
}

func (c *charts) tells(verb, name, version string) {
	tenant := c.tenant
	if tenant == "" {
		tenant = "library"
	}
	c.want = append(c.want, verb+" "+tenant+"/"+name+" "+version+" by \""+c.s.operator+"\"")
}

func (c *charts) expect(by *caller, status int, method, path string, body []byte) {
	c.t.Helper()
	if got, answer := by.do(method, path, body); got != status {
		c.t.Errorf("%s %s: %d %s, want %d", method, path, got, answer, status)
	}
}

func (c *charts) play() {
	t := c.t
	odd := [][2]string{{"demo", "1.0.0-2"}, {"my-app-2", "1.0.0-rc.1+build.5"}, {"v2-2", "0.1.0"}, {"plain", "3.2.1"}}
	for _, chart := range odd { // past bellbuoy
		c.expect(c.direct, http.StatusCreated, http.MethodPost, c.path("/api", "/charts"), harness.NewChart(chart[0], chart[1], harness.ChartOptions{}))
	}
	c.expect(c.caller, http.StatusOK, http.MethodGet, c.path("", "/index.yaml"), nil)
	for _, chart := range odd {
		file := url.PathEscape(chart[0] + "-" + chart[1] + ".tgz")
		c.expect(c.caller, http.StatusOK, http.MethodGet, c.path("", "/charts/"+file), nil)
		c.tells("download", chart[0], chart[1])
	}
	archive := harness.NewChart("new-1-2", "0.0.1-3", harness.ChartOptions{})
	c.expect(c.caller, http.StatusCreated, http.MethodPost, c.path("/api", "/charts"), archive)
	c.tells("upload", "new-1-2", "0.0.1-3")
	c.expect(c.caller, http.StatusConflict, http.MethodPost, c.path("/api", "/charts"), archive)
	c.expect(c.caller, http.StatusInternalServerError, http.MethodPost, c.path("/api", "/charts"), []byte("no chart"))
	c.expect(c.caller, http.StatusOK, http.MethodGet, c.path("", "/charts/new-1-2-0.0.1-3.tgz"), nil)
	c.tells("download", "new-1-2", "0.0.1-3")
	c.expect(c.caller, http.StatusNotFound, http.MethodGet, c.path("", "/charts/new-1-2-9.9.9.tgz"), nil)
	c.expect(c.caller, http.StatusOK, http.MethodGet, c.path("/api", "/charts/plain/3.2.1"), nil)
	c.helm()
	c.expect(c.caller, http.StatusOK, http.MethodDelete, c.path("/api", "/charts/new-1-2/0.0.1-3"), nil)
	c.tells("delete", "new-1-2", "0.0.1-3")
	c.expect(c.caller, http.StatusNotFound, http.MethodDelete, c.path("/api", "/charts/new-1-2/0.0.1-3"), nil)

	posts := c.s.hooks.Wait(len(c.want), time.Minute)
	c.s.hooks.Quiet(500 * time.Millisecond)
	var got []string
	for _, e := range decode(t, posts) {
		got = append(got, line(&e))
	}
	if missing, extra := differ(c.want, got); len(missing)+len(extra) > 0 {
		t.Errorf("missing\n  %s\nextra\n  %s", strings.Join(missing, "\n  "), strings.Join(extra, "\n  "))
	}
	if !slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "delete ") }) {
		t.Error("no delete was told")
	}
}

// helm pulls with both clients, and pushes with the plugin.
func (c *charts) helm() {
	t := c.t
	env := harness.HelmEnv(t)
	login := []string{}
	if c.s.login == "basic" {
		login = []string{"--username", user, "--password", password}
	}
	repo := strings.TrimSuffix(c.s.buoy.ProxyURL+c.path("", ""), "/")
	harness.Run(t, env, "helm3", append([]string{"repo", "add", "museum", repo}, login...)...)
	harness.Run(t, env, "helm3", "cm-push", harness.ChartFile(t, "pushed", "1.0.0", harness.ChartOptions{}), "museum")
	c.tells("upload", "pushed", "1.0.0")
	harness.Run(t, env, "helm3", "cm-push", "--force", harness.ChartFile(t, "pushed", "1.0.0", harness.ChartOptions{AppVersion: "2"}), "museum")
	c.tells("upload", "pushed", "1.0.0")
	harness.Run(t, env, "helm3", "repo", "update")
	for _, client := range []string{"helm3", "helm4"} {
		harness.Run(t, env, client, "pull", "museum/my-app-2", "--version", "1.0.0-rc.1+build.5", "-d", t.TempDir())
		c.tells("download", "my-app-2", "1.0.0-rc.1+build.5")
	}
	harness.Run(t, env, "helm3", append([]string{"pull", "--repo", repo, "plain", "--version", "3.2.1", "-d", t.TempDir()}, login...)...)
	c.tells("download", "plain", "3.2.1")
}
