package events

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// newGiteaStage starts bellbuoy in front of a Gitea whose ROOT_URL is the address of bellbuoy.
func newGiteaStage(t *testing.T, users map[string]string) harness.FaultStage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Gitea and clients")
	}
	port, hooks := harness.FreePort(t), harness.NewReceiver(t)
	gitea := harness.Gitea(t, fmt.Sprintf("http://127.0.0.1:%d", port), users)
	h := harness.NewFaultProxy(t, gitea.URL)
	upstreams := fmt.Sprintf("upstreams:\n  - {type: registry, url: %s}\n  - {type: chartmuseum, name: charts, url: %s, "+
		"path_prefix: /api/packages/ann/helm, credentials: {username: ann, password: pw}}\n", h.URL, h.URL)
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Port: port}, upstreams+harness.Quick+harness.Webhooks(hooks))
	s := harness.StageOn(t, hooks, b)
	s.Direct = gitea.URL
	return harness.FaultStage{Stage: s, Proxy: h}
}

// A token of Gitea has the number of a user, and no name. Clients fetch it through bellbuoy with a
// login, and the name of that login is the operator.
func TestGitea(t *testing.T) {
	t.Parallel()
	ann := harness.Login{User: "ann", Password: "pw"}
	s := newGiteaStage(t, harness.Users)
	t.Run("clients", func(t *testing.T) {
		for client, play := range map[string]func(*harness.Stage, harness.Login){"crane": giteaCrane, "skopeo": giteaSkopeo, "helm3": giteaHelm, "helm4": giteaHelm} {
			t.Run(client, func(t *testing.T) {
				t.Parallel()
				mine := harness.StageOn(t, s.Hooks, s.Buoy)
				mine.Direct = s.Direct
				play(mine, ann)
				s.Adopt(mine)
			})
		}
	})
	lostUpload(s, ann)
	s.End()
}

// lostUpload kills bellbuoy before it gets the answer to an upload. Gitea has no API for whether
// the chart exists; bellbuoy asks for its archive.
func lostUpload(s harness.FaultStage, l harness.Login) {
	archive, charts := harness.NewChart("lost", "1.0.0", harness.ChartOptions{}), s.Buoy.ProxyURL+"/api/packages/ann/helm/api/charts"
	held := s.Proxy.HoldAfter(http.MethodPost, "/api/charts")
	s.Killed(held, func() (*http.Response, error) { return harness.Send(http.MethodPost, charts, archive, l.Header()...) })
	s.Settled()
	s.Expect("library/lost", harness.Charted("UPLOAD_CHART", "", "lost", "1.0.0", archive).By(l.User).AsInferred())
}

func giteaCrane(s *harness.Stage, l harness.Login) {
	env, repo := harness.Env(s), "ann/app"
	crane := func(args ...string) { harness.Run(s, env, "crane", args...) }
	crane("auth", "login", s.Buoy.Host, "-u", l.User, "-p", l.Password)
	one, many := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	crane("push", one.Layout(s, "x"), s.Ref(repo, "v1"))
	s.Expect(repo, harness.Pushed(repo, one, "v1").By(l.User))
	crane("tag", s.Ref(repo, "v1"), "v2")
	s.Expect(repo, harness.Pushed(repo, one, "v2").By(l.User))
	s.Pause()
	crane("pull", s.Ref(repo, "v1"), filepath.Join(s.TempDir(), "one.tar"))
	s.Expect(repo, harness.Pulled(repo, one, "v1", "v2").By(l.User))
	crane("push", many.Layout(s, "x"), s.Ref(repo, "many"))
	s.Expect(repo, harness.Pushed(repo, many, "many").By(l.User))
	crane("delete", s.Ref(repo, "v2"))
	s.Expect(repo, harness.Untagged(repo, one, "v2").By(l.User))
	crane("delete", s.Ref(repo, one.Digest.String()))
	s.Expect(repo, harness.Deleted(repo, one, "v1").By(l.User))
	if _, err := harness.Try(s, harness.Env(s), "crane", "push", one.Layout(s, "x"), s.Ref(repo, "v3")); err == nil {
		s.Error("a push without a login was taken")
	}
}

func giteaSkopeo(s *harness.Stage, l harness.Login) {
	env, repo := harness.Env(s), "ann/deep/skopeo"
	image := harness.NewImage(harness.ImageOptions{Layers: 2})
	creds := l.User + ":" + l.Password
	harness.Run(s, env, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", creds, "oci:"+image.Layout(s, "x")+":x", "docker://"+s.Ref(repo, "v1"))
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User))
	s.Pause()
	harness.Run(s, env, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--src-creds", creds, "docker://"+s.Ref(repo, "v1"), "oci:"+s.TempDir()+":x")
	s.Expect(repo, harness.Pulled(repo, image, "v1").By(l.User))
}

// giteaHelm uploads to a Helm repository of Gitea and pulls from it. The archives are beside
// index.yaml.
func giteaHelm(s *harness.Stage, l harness.Login) {
	client := filepath.Base(s.Name())
	env, at := harness.Env(s), s.Buoy.ProxyURL+"/api/packages/ann/helm"
	archive := harness.NewChart(client+"-app", "1.0.0", harness.ChartOptions{})
	repo := "library/" + client + "-app"
	harness.Must(s, http.StatusUnauthorized, http.MethodPost, at+"/api/charts", archive)
	harness.Must(s, http.StatusCreated, http.MethodPost, at+"/api/charts", archive, l.Header()...)
	s.Expect(repo, harness.Charted("UPLOAD_CHART", "", client+"-app", "1.0.0", archive).By(l.User))
	harness.Run(s, env, client, "repo", "add", "gitea", at, "--username", l.User, "--password", l.Password)
	dir := s.TempDir()
	harness.Run(s, env, client, "pull", "gitea/"+client+"-app", "--version", "1.0.0", "-d", dir)
	if got := harness.ReadFile(s, filepath.Join(dir, client+"-app-1.0.0.tgz")); !bytes.Equal(got, archive) {
		s.Errorf("the chart came as %d bytes of something else", len(got))
	}
	s.Expect(repo, harness.Charted("DOWNLOAD_CHART", "", client+"-app", "1.0.0", archive).With(func(e *harness.Event) {
		e.Claimed = l.User // reads need no login, so nothing has checked the name
		e.Chart.Path = "/api/packages/ann/helm/" + client + "-app-1.0.0.tgz"
	}))
}
