package events

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Charts with the clients that move them, at a ChartMuseum for one and at one with tenants and a
// login.
func TestChartClients(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		museum harness.ChartMuseumOptions
		tenant string
		login  harness.Login
	}{
		"one tenant":           {},
		"tenants with a login": {harness.ChartMuseumOptions{Depth: 1, User: "ann", Password: "pw"}, "team", harness.Login{User: "ann", Password: "pw"}},
		"below a context path": {harness.ChartMuseumOptions{Depth: 2, ContextPath: "/museum"}, "org/team", harness.Login{}},
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
			m.curl()
			m.helm("helm3")
			m.helm("helm4")
			s.End()
		})
	}
}

type chartStage struct {
	*harness.Stage
	tenant  string
	context string
	login   harness.Login
}

// url is a path below the tenant, with what stands between it and the context path: "" or "/api".
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

// curl: every request by hand, the odd ones too.
func (m chartStage) curl() {
	header := m.login.Header()
	archive, charts := harness.NewChart("app", "1.0.0", harness.ChartOptions{}), m.url("/api", "/charts")
	uploaded := m.event("UPLOAD_CHART", "app", "1.0.0", archive)
	repo := uploaded.Repository
	harness.Must(m, http.StatusCreated, http.MethodPost, charts, archive, header...)
	m.Expect(repo, uploaded)
	harness.Must(m, http.StatusConflict, http.MethodPost, charts, archive, header...)
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/index.yaml"), nil, header...)
	harness.Must(m, http.StatusOK, http.MethodGet, charts+"/app/1.0.0", nil, header...)
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/charts/app-1.0.0.tgz"), nil, header...)
	m.Expect(repo, m.event("DOWNLOAD_CHART", "app", "1.0.0", archive))
	harness.Must(m, http.StatusOK, http.MethodGet, m.url("", "/charts/app-1.0.0.tgz"), nil, header...) // each is one
	m.Expect(repo, m.event("DOWNLOAD_CHART", "app", "1.0.0", archive))
	harness.Must(m, http.StatusNotFound, http.MethodGet, m.url("", "/charts/app-9.9.9.tgz"), nil, header...)
	harness.Must(m, http.StatusOK, http.MethodDelete, charts+"/app/1.0.0", nil, header...)
	m.Expect(repo, m.event("DELETE_CHART", "app", "1.0.0", archive))
	harness.Must(m, http.StatusNotFound, http.MethodDelete, charts+"/app/1.0.0", nil, header...)

	// A name and a version that cannot be told apart by their file name, in a form.
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

// helm pushes with the cm-push plugin, and pulls.
func (m chartStage) helm(client string) {
	env := harness.HelmEnv(m)
	base, login := m.url("", ""), m.login.Flags("helm", "--username", "--password")
	name := "from-" + client
	path := harness.ChartFile(m, name, "0.1.0", harness.ChartOptions{})
	harness.Run(m, env, client, append([]string{"repo", "add", "museum", base}, login...)...)
	if client == "helm3" {
		harness.Run(m, env, client, "cm-push", path, "museum")
	} else { // helm 4 knows no such command: the plugin's program is called by itself
		harness.Run(m, env, "cm-push", append([]string{path, base}, login...)...)
	}
	stored := harness.Must(m, http.StatusOK, http.MethodGet, strings.Replace(m.url("", "/charts/"+name+"-0.1.0.tgz"), m.Buoy.ProxyURL, m.Direct, 1), nil, m.login.Header()...)
	archive := []byte(harness.BodyOf(stored)) // cm-push packs a chart anew
	uploaded := m.event("UPLOAD_CHART", name, "0.1.0", archive)
	m.Expect(uploaded.Repository, uploaded)
	harness.Run(m, env, client, "repo", "update")
	harness.Run(m, env, client, "pull", "museum/"+name, "-d", m.TempDir())
	m.Expect(uploaded.Repository, m.event("DOWNLOAD_CHART", name, "0.1.0", archive))
	harness.Run(m, env, client, "search", "repo", name)
}
