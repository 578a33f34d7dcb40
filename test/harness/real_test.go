package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestRegistryAcceptsHarnessImages(t *testing.T) {
	r := Registry(t, RegistryOptions{Delete: true})
	image, index := NewImage(ImageOptions{}), NewMultiArch(ImageOptions{}, "linux/amd64", "linux/arm64")
	Run(t, nil, "crane", "push", image.Layout(t, "v1"), r.Host+"/team/app:v1")
	Run(t, nil, "crane", "push", index.Layout(t, "v1"), r.Host+"/team/multi:v1")
	for name, want := range map[string]string{"team/app:v1": image.Digest.String(), "team/multi:v1": index.Digest.String()} {
		if got := strings.TrimSpace(Run(t, nil, "crane", "digest", r.Host+"/"+name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	Run(t, nil, "crane", "push", image.DockerArchive(t, "x/y:z"), r.Host+"/team/saved:v1")
	Run(t, nil, "crane", "delete", r.Host+"/team/app:v1")
	if _, err := Try(t, nil, "crane", "digest", r.Host+"/team/app:v1"); err == nil {
		t.Error("the deleted tag is still there")
	}
}

func TestRegistryKeepsItsDataWhenKilled(t *testing.T) {
	r := Registry(t, RegistryOptions{})
	Run(t, nil, "crane", "push", NewImage(ImageOptions{}).Layout(t, "v1"), r.Host+"/app:v1")
	r.Kill()
	if _, err := http.Get(r.URL + "/v2/"); err == nil {
		t.Fatal("it answers although it was killed")
	}
	r.Start()
	Run(t, nil, "crane", "digest", r.Host+"/app:v1")
}

func TestRegistryAsksForALogin(t *testing.T) {
	users := map[string]string{"ann": "pw"}
	tokens := NewTokenServer(t, TokenOptions{Users: users})
	for name, opts := range map[string]RegistryOptions{
		"htpasswd": {Htpasswd: users},
		"token":    {Token: tokens},
	} {
		t.Run(name, func(t *testing.T) {
			r, env := Registry(t, opts), Env(t)
			dir := NewImage(ImageOptions{}).Layout(t, "v1")
			// localhost, so that oras accepts a token server at another port of the
			// same host.
			ref := strings.Replace(r.Host, "127.0.0.1", "localhost", 1) + "/app:v1"
			push := []string{"cp", "--to-plain-http", "--from-oci-layout", dir + ":v1", ref}
			if _, err := Try(t, env, "oras", push...); err == nil {
				t.Fatal("a push without a login succeeded")
			}
			login := []string{"--to-username", "ann", "--to-password", "pw"}
			if name == "token" { // whichever realm the client accepts, the token itself must be good
				token := tokens.Sign("ann", []any{map[string]any{"type": "repository", "name": "app", "actions": []string{"pull"}}}, time.Now())
				wantStatus(t, r.URL+"/v2/app/tags/list", "Bearer "+token, http.StatusNotFound)
				return
			}
			Run(t, env, "oras", append(push, login...)...)
		})
	}
}

func TestRegistryNamesItsClientsHostAsTheRealm(t *testing.T) {
	r := Registry(t, RegistryOptions{Token: NewTokenServer(t, TokenOptions{}), TokenRealm: "auto"})
	req, _ := http.NewRequest(http.MethodGet, r.URL+"/v2/", nil)
	req.Header.Set("X-Forwarded-Proto", "http")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := resp.Header.Get("WWW-Authenticate"), `realm="`+r.URL+`/token"`; !strings.Contains(got, want) {
		t.Errorf("challenge %s, want %s", got, want)
	}
}

func TestConformanceCounts(t *testing.T) {
	r := Registry(t, RegistryOptions{Delete: true})
	all, possible := Conformance(t, r.Host), Conformance(t, r.Host, DistributionLacks...)
	if all.Passed == 0 || all.Failed == 0 {
		t.Errorf("of everything, %d passed and %d failed; want some of both", all.Passed, all.Failed)
	}
	if possible.Passed == 0 || possible.Failed != 0 {
		t.Errorf("settings that distribution supports: %d passed, %d failed\n%s", possible.Passed, possible.Failed, possible.Output)
	}
	t.Logf("%d passed of everything, %d of the settings that distribution supports", all.Passed, possible.Passed)
}

func wantStatus(t *testing.T, url, auth string, want int) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodGet, url, nil)
	req.Header.Set("Authorization", auth)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("GET %s: %d, want %d", url, resp.StatusCode, want)
	}
}

func TestChartMuseumAcceptsHarnessCharts(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts ChartMuseumOptions
		base string
	}{
		{"one tenant", ChartMuseumOptions{}, ""},
		{"depth 1, context path, login", ChartMuseumOptions{Depth: 1, ContextPath: "/charts", User: "ann", Password: "pw"}, "/charts/team"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, env := ChartMuseum(t, tc.opts), HelmEnv(t)
			login := []string{}
			if tc.opts.User != "" {
				login = []string{"--username", tc.opts.User, "--password", tc.opts.Password}
			}
			Run(t, env, "helm3", append([]string{"repo", "add", "museum", c.URL + tc.base}, login...)...)
			Run(t, env, "helm3", "cm-push", ChartFile(t, "app", "1.2.3", ChartOptions{}), "museum")
			Run(t, env, "helm3", "repo", "update")
			dir := t.TempDir()
			Run(t, env, "helm4", "pull", "museum/app", "--version", "1.2.3", "-d", dir)
			if _, err := os.Stat(filepath.Join(dir, "app-1.2.3.tgz")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPostgresKeepsCommittedData(t *testing.T) {
	p := Postgres(t)
	url := p.Database(t, "mine")
	execute(t, url, "CREATE TABLE t (n int)")
	for i, again := range []func(){p.Restart, func() { p.Kill(); p.Start() }} {
		execute(t, url, fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
		again()
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows, %v; want 2", n, err)
	}
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestErrorOfDaemonThatEndsEarly(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	rec := &record{T: t}
	d := &Daemon{name: "sh", path: "/bin/sh", args: []string{"-c", "echo no such option; exit 3"}, ready: answers("http://127.0.0.1:1/", 200)}
	d.launch(rec)
	if len(rec.failures) != 1 || !strings.Contains(rec.failures[0], "exit status 3") || !strings.Contains(rec.failures[0], "no such option") {
		t.Errorf("got the failures %q", rec.failures)
	}
}

func TestEnvHidesTheUser(t *testing.T) {
	t.Setenv("HELM_NAMESPACE", "mine")
	if out := Run(t, nil, "/usr/bin/env"); strings.Contains(out, "HELM_NAMESPACE") || strings.Contains(out, os.Getenv("HOME")+"\n") {
		t.Errorf("got the environment %s", out)
	}
}
