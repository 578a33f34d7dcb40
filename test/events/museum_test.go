package events

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The clients of charts, at ChartMuseum with each depth.
func TestChartClients(t *testing.T) {
	login := harness.Login{User: user, Password: password}
	for name, tc := range map[string]struct {
		museum harness.ChartMuseumOptions
		tenant string
		login  harness.Login
	}{
		"one tenant":                {},
		"tenants with a login":      {harness.ChartMuseumOptions{Depth: 1, User: user, Password: password}, "team", login},
		"depth 2":                   {harness.ChartMuseumOptions{Depth: 2}, "org/team", harness.Login{}},
		"below a context path":      {harness.ChartMuseumOptions{Depth: 2, ContextPath: "/museum"}, "org/team", harness.Login{}},
		"dynamic":                   {harness.ChartMuseumOptions{DepthDynamic: true, ContextPath: "/museum"}, "a/b/c", harness.Login{}},
		"dynamic, called like APIs": {harness.ChartMuseumOptions{DepthDynamic: true}, "charts/api", harness.Login{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			museum := harness.ChartMuseum(t, tc.museum)
			prefix := ""
			if tc.museum.ContextPath != "" {
				prefix = ", path_prefix: " + tc.museum.ContextPath
			}
			s := harness.NewStage(t, harness.ChartUpstream(museum.URL, prefix))
			s.Direct = museum.URL
			m := chartStage{s, tc.tenant, tc.museum.ContextPath, tc.login}
			m.known()
			m.curl()
			m.helm("helm3")
			m.helm("helm4")
			s.End()
			keepsSecrets(t, s.Buoy, s.Hooks)
		})
	}
}

type chartStage struct {
	*harness.Stage
	tenant  string
	context string
	login   harness.Login
}

// url returns the URL of a path below the tenant. api is what is between it and the context path:
// "" or "/api".
func (m chartStage) url(api, path string) string {
	base := m.Buoy.ProxyURL + m.context + api
	if m.tenant != "" {
		base += "/" + m.tenant
	}
	return base + path
}

func (m chartStage) event(kind, name, version string, archive []byte) harness.Event {
	return harness.Charted(kind, m.tenant, name, version, archive).By(m.login.User)
}

// known downloads charts that were there before bellbuoy. Their file names can be split in two
// ways; an index.yaml shows the right one.
func (m chartStage) known() {
	header := m.login.Header()
	charts := [][2]string{{"demo", "1.0.0-2"}, {"my-app-2", "1.0.0-rc.1+build.5"}, {"v2-2", "0.1.0"}, {"plain", "3.2.1"}}
	archives := map[string][]byte{}
	for _, c := range charts {
		archives[c[0]] = harness.NewChart(c[0], c[1], harness.ChartOptions{})
		harness.Must(m, http.StatusCreated, http.MethodPost, m.direct(m.url("/api", "/charts")), archives[c[0]], header...)
	}
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/index.yaml"), nil, header...)
	for _, c := range charts {
		harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/charts/"+url.PathEscape(c[0]+"-"+c[1]+".tgz")), nil, header...)
		e := m.event("DOWNLOAD_CHART", c[0], c[1], archives[c[0]])
		m.Expect(e.Repository, e)
	}
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("/api", "/charts/plain/3.2.1"), nil, header...)
	env, login := harness.HelmEnv(m), m.login.Flags("helm", "--username", "--password")
	harness.Run(m, env, "helm3", append([]string{"repo", "add", "museum", m.url("", "")}, login...)...)
	for _, client := range []string{"helm3", "helm4"} {
		harness.Run(m, env, client, "pull", "museum/my-app-2", "--version", charts[1][1], "-d", m.TempDir())
		e := m.event("DOWNLOAD_CHART", charts[1][0], charts[1][1], archives["my-app-2"])
		m.Expect(e.Repository, e)
	}
	harness.Run(m, env, "helm3", append([]string{"pull", "--repo", m.url("", ""), "plain", "--version", "3.2.1", "-d", m.TempDir()}, login...)...)
	e := m.event("DOWNLOAD_CHART", "plain", "3.2.1", archives["plain"])
	m.Expect(e.Repository, e)
}

// direct returns the URL at ChartMuseum itself.
func (m chartStage) direct(url string) string {
	return strings.Replace(url, m.Buoy.ProxyURL, m.Direct, 1)
}

// curl sends every request of an operation by itself, also unusual ones.
func (m chartStage) curl() {
	const name, version = "new-1-2", "0.0.1-3"
	header := m.login.Header()
	archive, charts := harness.NewChart(name, version, harness.ChartOptions{}), m.url("/api", "/charts")
	uploaded := m.event("UPLOAD_CHART", name, version, archive)
	repo := uploaded.Repository
	harness.Must(m, http.StatusCreated, http.MethodPost, charts, archive, header...)
	m.Expect(repo, uploaded)
	harness.Must(m, http.StatusConflict, http.MethodPost, charts, archive, header...)
	harness.Must(m, http.StatusInternalServerError, http.MethodPost, charts, []byte("no chart"), header...)
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/index.yaml"), nil, header...)
	harness.Must(m, http.StatusOK, http.MethodGet, charts+"/"+name+"/"+version, nil, header...)
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/charts/"+name+"-"+version+".tgz"), nil, header...)
	m.Expect(repo, m.event("DOWNLOAD_CHART", name, version, archive))
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/charts/"+name+"-"+version+".tgz"), nil, header...) // each GET is a download
	m.Expect(repo, m.event("DOWNLOAD_CHART", name, version, archive))
	harness.Must(m, http.StatusNotFound, http.MethodGet, m.url("", "/charts/"+name+"-9.9.9.tgz"), nil, header...)
	harness.Must(m, http.StatusOK, http.MethodDelete, charts+"/"+name+"/"+version, nil, header...)
	m.Expect(repo, m.event("DELETE_CHART", name, version, archive))
	harness.Must(m, http.StatusNotFound, http.MethodDelete, charts+"/"+name+"/"+version, nil, header...)

	// A name and a version that the file name does not separate clearly, in a form.
	odd := harness.NewChart("my-app-2", "1.0.0-2+b.5", harness.ChartOptions{Type: "library", AppVersion: "v9"})
	body, contentType := harness.Form(m, "chart", "my-app-2-1.0.0-2+b.5.tgz", odd)
	harness.Must(m, http.StatusCreated, http.MethodPost, charts, body, append(header, "Content-Type", contentType)...)
	details := func(e *harness.Event) { e.Chart.Type, e.Chart.AppVersion = "library", "v9" }
	e := m.event("UPLOAD_CHART", "my-app-2", "1.0.0-2+b.5", odd).With(details)
	m.Expect(e.Repository, e)
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/charts/my-app-2-1.0.0-2+b.5.tgz"), nil, header...)
	m.Expect(e.Repository, m.event("DOWNLOAD_CHART", "my-app-2", "1.0.0-2+b.5", odd).With(details))
	if m.login.User != "" {
		harness.Must(m, http.StatusUnauthorized, http.MethodPost, charts, archive)
	}
}

// helm pushes with the cm-push plugin, also a chart that exists already, and pulls.
func (m chartStage) helm(client string) {
	env := harness.HelmEnv(m)
	base, login := m.url("", ""), m.login.Flags("helm", "--username", "--password")
	name := "from-" + client
	harness.Run(m, env, client, append([]string{"repo", "add", "museum", base}, login...)...)
	push := func(opts harness.ChartOptions, flags ...string) (archive []byte) {
		path := harness.ChartFile(m, name, "0.1.0", opts)
		if client == "helm3" {
			harness.Run(m, env, client, append([]string{"cm-push", path, "museum"}, flags...)...)
		} else { // helm 4 has no such command: the plugin's program runs by itself
			harness.Run(m, env, "cm-push", append(append([]string{path, base}, flags...), login...)...)
		}
		stored := harness.Must(m, http.StatusOK, http.MethodGet, m.direct(m.url("", "/charts/"+name+"-0.1.0.tgz")), nil, m.login.Header()...)
		return []byte(harness.BodyOf(stored)) // cm-push makes a new archive
	}
	uploaded := m.event("UPLOAD_CHART", name, "0.1.0", push(harness.ChartOptions{}))
	m.Expect(uploaded.Repository, uploaded)
	archive := push(harness.ChartOptions{AppVersion: "2"}, "--force")
	details := func(e *harness.Event) { e.Chart.AppVersion = "2" }
	m.Expect(uploaded.Repository, m.event("UPLOAD_CHART", name, "0.1.0", archive).With(details).With(func(e *harness.Event) { e.Previous = uploaded.Digest }))
	harness.Run(m, env, client, "repo", "update")
	harness.Run(m, env, client, "pull", "museum/"+name, "-d", m.TempDir())
	m.Expect(uploaded.Repository, m.event("DOWNLOAD_CHART", name, "0.1.0", archive).With(details))
	harness.Run(m, env, client, "search", "repo", name)
}
