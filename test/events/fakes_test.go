package events

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A fake is a proxy in front of distribution that answers as a registry of another product does. It
// records requests that did not come through bellbuoy.
type fake struct {
	*httputil.ReverseProxy
	base string // the path below which its API is

	mu     sync.Mutex
	around []string
	issued map[string]bool // opaque tokens
}

// newFake starts a fake. change implements the difference, and reports whether it has answered.
func newFake(t *testing.T, base string, change func(m *fake, w http.ResponseWriter, r *http.Request) bool) (m *fake, address string) {
	t.Helper()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	target, err := url.Parse(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	m = &fake{base: base, issued: map[string]bool{}, ReverseProxy: &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = target.Scheme, target.Host, p.In.Host
		p.Out.Header.Del("Authorization")
	}}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-For") == "" && !strings.HasPrefix(r.UserAgent(), "bellbuoy/") {
			m.mu.Lock()
			m.around = append(m.around, r.Method+" "+r.URL.Path)
			m.mu.Unlock()
		}
		rest, below := strings.CutPrefix(r.URL.Path, base)
		if !below {
			http.Error(w, "nothing here: "+r.URL.Path, http.StatusNotFound)
			return
		}
		r.URL.Path, r.URL.RawPath = rest, ""
		if change == nil || !change(m, w, r) {
			m.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.around) > 0 {
			t.Errorf("around bellbuoy: %q", m.around)
		}
	})
	return m, srv.URL
}

// moved adds a prefix to the paths in Locations.
func (m *fake) moved(prefix string) {
	m.ModifyResponse = func(res *http.Response) error {
		if at, err := res.Location(); err == nil {
			at.Path, at.RawPath = prefix+at.Path, ""
			res.Header.Set("Location", at.String())
		}
		return nil
	}
}

// raiseAt starts bellbuoy in front of an upstream. more has further settings of that upstream,
// config further upstreams and settings.
func raiseAt(t *testing.T, login, address, more, config string) *stage {
	t.Helper()
	s := &stage{login: login, hooks: harness.NewReceiver(t)}
	s.buoy = harness.Bellbuoy(t, fmt.Sprintf("upstreams:\n  - {name: registry, type: registry, url: %s%s}\n", address, more)+config+
		s.webhook("format: bellbuoy, events: ['*']")+fmt.Sprintf("correlation: {untagged_push: %s, pull: %s, repeat: 2s}\n", quiet, quiet))
	return s
}

// crane runs crane, logged in as alice if the stage has a login.
func (s *stage) crane(t *testing.T, args ...string) {
	t.Helper()
	env := harness.Env(t)
	for _, kv := range env {
		dir, ok := strings.CutPrefix(kv, "DOCKER_CONFIG=")
		if !ok || s.login == "anonymous" {
			continue
		}
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		config, _ := json.Marshal(map[string]any{"auths": map[string]any{s.buoy.Host: map[string]string{"auth": auth}}})
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	harness.Run(t, env, "crane", args...)
}

// pushedAndPulled lets crane push and pull an image, and expects the two events.
func (s *stage) pushedAndPulled(t *testing.T, operator string) {
	t.Helper()
	a := image()
	ref := s.buoy.Host + "/seen/app:v1"
	s.crane(t, "push", "--insecure", a.Layout(t, "x"), ref)
	s.crane(t, "pull", "--insecure", ref, filepath.Join(t.TempDir(), "image.tar"))
	for i, e := range decode(t, s.hooks.Wait(2, time.Minute)) {
		want := []detect.Type{detect.PushArtifact, detect.PullArtifact}[i]
		if e.Type != want || e.Repository != "seen/app" || len(e.Tags) != 1 || e.Tags[0] != "v1" || e.Digest != string(a.Digest) {
			t.Errorf("%s of %s:%v, %s; want %s of seen/app:[v1], %s", e.Type, e.Repository, e.Tags, e.Digest, want, a.Digest)
		}
		if e.Operator != operator {
			t.Errorf("%s by %q (claimed %q), want %q", e.Type, e.Operator, e.OperatorClaimed, operator)
		}
	}
}

// A registry below a path, with Locations that contain that path and the registry's own host, as
// those of Artifactory and Nexus.
func TestRegistryBelowAPath(t *testing.T) {
	for _, host := range []string{"client", "upstream"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			const base = "/artifactory/api/docker/docker-local"
			m, address := newFake(t, base, nil)
			m.moved(base)
			s := raiseAt(t, "anonymous", address+base, ", host: "+host, "")
			s.pushedAndPulled(t, "")
			c := call(t, s.buoy.ProxyURL, "127.0.0.1", "crane/1")
			a := image()
			c.push("seen/app", "v2", a)
			c.want(http.StatusAccepted, http.MethodDelete, "/v2/seen/app/manifests/"+string(a.Digest))
			e := decode(t, s.hooks.Wait(4, time.Minute))[3]
			if e.Type != detect.DeleteArtifact || e.Size != a.TotalSize() || len(e.Tags) != 1 || e.Tags[0] != "v2" || e.TagsComplete != nil && *e.TagsComplete {
				t.Errorf("%s of %v, %d bytes, tags complete %v", e.Type, e.Tags, e.Size, e.TagsComplete)
			}
		})
	}
}

// A registry whose uploads and downloads have paths outside of /v2/, as Google's. If there is also
// a ChartMuseum, the configuration must name these paths; otherwise bellbuoy warns.
func TestUploadsOutsideOfTheAPI(t *testing.T) {
	const uploads, downloads = "/artifacts-uploads", "/artifacts-downloads"
	google := func(m *fake, w http.ResponseWriter, r *http.Request) bool {
		if rest, ok := strings.CutPrefix(r.URL.Path, uploads); ok {
			r.URL.Path = rest
		}
		if rest, ok := strings.CutPrefix(r.URL.Path, downloads); ok {
			r.URL.Path = rest
		} else if strings.Contains(r.URL.Path, "/blobs/sha256:") && r.Method == http.MethodGet {
			w.Header().Set("Location", downloads+r.URL.Path)
			w.WriteHeader(http.StatusFound)
			return true
		}
		return false
	}
	const charts = "  - {name: charts, type: chartmuseum, url: http://127.0.0.1:9}\n"
	start := func(t *testing.T, more string) *stage {
		m, address := newFake(t, "", google)
		m.ModifyResponse = func(res *http.Response) error {
			if at, err := res.Location(); err == nil && strings.Contains(at.Path, "/blobs/uploads/") {
				res.Header.Set("Location", uploads+at.RequestURI())
			}
			return nil
		}
		return raiseAt(t, "anonymous", address, more, charts)
	}
	t.Run("named", func(t *testing.T) {
		t.Parallel()
		start(t, ", paths: ["+uploads+", "+downloads+"]").pushedAndPulled(t, "")
	})
	t.Run("not named", func(t *testing.T) {
		t.Parallel()
		s := start(t, "")
		c := call(t, s.buoy.ProxyURL, "127.0.0.1", "x")
		for range 2 {
			if status, _ := c.do(http.MethodPost, "/v2/seen/app/blobs/uploads/", nil); status != http.StatusAccepted {
				t.Errorf("an upload's start: %d", status)
			}
		}
		if n := strings.Count(s.buoy.Logs(), "upstreams[].paths"); n != 1 {
			t.Errorf("%d warnings name paths, want 1", n)
		}
	})
}

// With opaque tokens (GHCR, olareg), the login by which a token was fetched through bellbuoy is the
// operator. GHCR refuses every DELETE.
func TestOpaqueTokens(t *testing.T) {
	for name, lenient := range map[string]bool{"a strict token server": false, "one that asks nobody": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := newFake(t, "", func(m *fake, w http.ResponseWriter, r *http.Request) bool {
				m.mu.Lock()
				defer m.mu.Unlock()
				if r.URL.Path == "/token" {
					if _, secret, _ := r.BasicAuth(); secret != password && !lenient {
						w.WriteHeader(http.StatusForbidden)
						return true
					}
					token := rand.Text()
					m.issued[token] = true
					fmt.Fprintf(w, `{"token":%q}`, token)
					return true
				}
				if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || !m.issued[token] {
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="ghcr",scope="repository:seen/app:pull"`, r.Host))
					w.WriteHeader(http.StatusUnauthorized)
					return true
				}
				if r.Method == http.MethodDelete {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return true
				}
				return false
			})
			s := raiseAt(t, "token", address, "", "")
			if lenient {
				s.pushedAndPulled(t, "")
				return
			}
			s.pushedAndPulled(t, user)
			s.keepsSecrets(t)
		})
	}
}

// ECR: Basic, and no Docker-Content-Digest on GET.
func TestNoDigestOnGet(t *testing.T) {
	t.Parallel()
	m, address := newFake(t, "", func(_ *fake, w http.ResponseWriter, r *http.Request) bool {
		if _, secret, _ := r.BasicAuth(); secret == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="https://123456789012.dkr.ecr.eu-central-1.amazonaws.com/",service="ecr.amazonaws.com"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	m.ModifyResponse = func(res *http.Response) error {
		if res.Request.Method == http.MethodGet {
			res.Header.Del("Docker-Content-Digest")
		}
		return nil
	}
	raiseAt(t, "basic", address, "", "").pushedAndPulled(t, user)
}

// Reads are open and writes need a login: nginx's limit_except, zot's anonymousPolicy, Nexus,
// Artifactory.
func TestReadsOpenWritesByLogin(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	address := nginx(t, registry.Host)
	s := raiseAt(t, "basic", address, "", "")
	a := image()
	c := call(t, s.buoy.ProxyURL, "127.0.0.1", "crane/1").with("Authorization", s.authorization())
	c.push("seen/app", "v1", a) // sends its login with the first request, so that no 401 shows that names are checked
	c.want(http.StatusAccepted, http.MethodDelete, "/v2/seen/app/manifests/"+string(a.Digest))
	for _, e := range decode(t, s.hooks.Wait(2, time.Minute)) {
		if e.Operator != user || e.OperatorClaimed != "" {
			t.Errorf("%s by %q, claimed %q", e.Type, e.Operator, e.OperatorClaimed)
		}
	}
	b := image()
	c.push("seen/app", "v2", b)
	reader := call(t, s.buoy.ProxyURL, "127.0.0.2", "docker/1").with("Authorization", s.authorization())
	reader.pull("seen/app", "v2", b)
	for _, e := range decode(t, s.hooks.Wait(4, time.Minute))[2:] {
		if e.Type == detect.PullArtifact && (e.Operator != "" || e.OperatorClaimed != user) {
			t.Errorf("a read by %q, claimed %q: anybody may read", e.Operator, e.OperatorClaimed)
		}
	}
}

// nginx starts nginx in front of a registry. It requires a login for writes.
func nginx(t *testing.T, registry string) (address string) {
	t.Helper()
	dir, port := t.TempDir(), harness.FreePort(t)
	config := fmt.Sprintf(`daemon off; master_process off; pid nginx.pid; error_log stderr error;
events {}
http {
  access_log off; client_max_body_size 0;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen 127.0.0.1:%d;
    location / {
      proxy_pass http://%s; proxy_set_header Host $http_host;
      limit_except GET HEAD { auth_basic registry; auth_basic_user_file %s/users; }
    }
  }
}`, port, registry, dir)
	for name, text := range map[string]string{"nginx.conf": config, "users": user + ":{PLAIN}" + password + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address = fmt.Sprintf("127.0.0.1:%d", port)
	harness.Serve(t, address, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	return "http://" + address
}

// The token server has the public name of the registry, as in Harbor. bellbuoy gets its own tokens
// at the upstream's address, because the public name leads to bellbuoy itself.
func TestTokenServerAtThePublicName(t *testing.T) {
	t.Parallel()
	mint := harness.NewTokenServer(t, harness.TokenOptions{Users: map[string]string{user: password}})
	port := harness.FreePort(t)
	public := fmt.Sprintf("http://registry.example.test:%d", port)
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true, Token: mint, TokenRealm: public + "/token"})
	door := sideDoor(t, registry.URL, mint.URL)
	s := &stage{login: "token", operator: user, tokens: mint, registry: registry, direct: door, hooks: harness.NewReceiver(t)}
	s.buoy = harness.BellbuoyWith(t, harness.BuoyOptions{Port: port}, fmt.Sprintf(
		"upstreams: [{name: registry, type: registry, url: \"http://%s\", external_url: %q, credentials: {username: %s, password: %s}}]\n", door, public, user, password)+
		s.webhook("format: bellbuoy, events: ['*']"))
	call(t, registry.URL, "127.0.0.1", "filler").with("Authorization", s.authorization()).push("seen/app", "v1", image())
	out, err := s.buoy.Command("index", "registry", "seen/app")
	if err != nil || !strings.Contains(out, "repositories: 1, tags read: 1, skipped: 0") {
		t.Errorf("bellbuoy index: %v\n%s", err, out)
	}
	s.keepsSecrets(t)
}

// If the registry has no catalog (GHCR, ECR, GAR, olareg), index prints what to do. If nothing
// answers, it fails at once.
func TestIndexWithoutCatalog(t *testing.T) {
	t.Parallel()
	_, address := newFake(t, "", func(_ *fake, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/_catalog" {
			http.NotFound(w, r)
		}
		return r.URL.Path == "/v2/_catalog"
	})
	s := raiseAt(t, "anonymous", address, "", "  - {name: gone, type: registry, url: http://127.0.0.1:9, hosts: [gone.example.com]}\n")
	call(t, s.buoy.ProxyURL, "127.0.0.1", "x").push("seen/app", "v1", image())
	for name, want := range map[string]string{"registry": "give the repositories: bellbuoy index registry REPOSITORY…", "gone": "refused"} {
		began := time.Now()
		out, err := s.buoy.Command("index", name)
		if err == nil || !strings.Contains(fmt.Sprint(err, out), want) || time.Since(began) > 10*time.Second {
			t.Errorf("index %s took %v: %v\n%s", name, time.Since(began), err, out)
		}
	}
	if out, err := s.buoy.Command("index", "registry", "seen/app"); err != nil || !strings.Contains(out, "tags read: 1") {
		t.Errorf("index of a repository that is named: %v\n%s", err, out)
	}
}
