package events

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestMain runs more tests at once than there are processors, because they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// The user who pushes and pulls. The tests search all files and logs of bellbuoy for the password.
const (
	user     = "alice"
	password = "throwaway-pw-7391"
)

// quiet is correlation.pull and correlation.untagged_push of the tests; repeat is
// correlation.repeat.
const quiet, repeat = 6 * time.Second, 2 * time.Second

// A stage is a registry with bellbuoy in front of it and a receiver.
type stage struct {
	login    string // anonymous | basic | token
	operator string // the operator of the events
	registry *harness.RegistryServer
	direct   string // host:port of the registry itself, not through bellbuoy
	buoy     *harness.Buoy
	hooks    *harness.Receiver
	tokens   *harness.TokenServer // nil if the login is by no token
	shared   bool                 // a blob is in all repositories at once, so a copy within the registry moves no blob
}

func (s *stage) realm() string {
	if s.tokens == nil {
		return "http://realm.invalid/token"
	}
	return s.tokens.URL + "/token"
}

// authorization returns the header of a client that has logged in, or "" if no login is required.
func (s *stage) authorization() string {
	switch s.login {
	case "basic":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	case "token":
		return "Bearer " + s.bearer(user)
	}
	return ""
}

// bearer returns a token with all permissions for the repositories of requests made by hand.
func (s *stage) bearer(subject string) string {
	var access []any
	for _, repository := range slices.Concat(repositories, []string{"curl", "curl/lone"}) {
		access = append(access, map[string]any{"type": "repository", "name": repository, "actions": []string{"pull", "push", "delete"}})
	}
	return s.tokens.Sign(subject, access, time.Now())
}

// logins are the kinds of login that a registry may require.
var logins = []string{"anonymous", "basic", "token"}

// raise starts a stage. more is further configuration.
func raise(t *testing.T, login, more string) *stage {
	t.Helper()
	return raiseWith(t, login, false, more)
}

// raiseWith is raise. With credentials, bellbuoy has a login of its own at the registry, and
// clients reach the token server at its own address.
func raiseWith(t *testing.T, login string, credentials bool, more string) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real registries and clients")
	}
	s := &stage{login: login, hooks: harness.NewReceiver(t)}
	opts := harness.RegistryOptions{Delete: true}
	var tokens string // a token server that is reached through the registry's host, as clients require
	switch login {
	case "basic":
		opts.Htpasswd = map[string]string{user: password}
	case "token":
		opts.Token = harness.NewTokenServer(t, harness.TokenOptions{Users: map[string]string{user: password}})
		s.tokens = opts.Token
		if !credentials {
			opts.TokenRealm, tokens = "auto", opts.Token.URL
		}
	}
	if login != "anonymous" {
		s.operator = user
	}
	s.registry = harness.Registry(t, opts)
	s.direct = s.registry.Host
	own := ""
	if credentials && login != "anonymous" {
		own = fmt.Sprintf(", credentials: {username: %s, password: %s, realms: [%q]}", user, password, s.realm())
	}
	upstream := fmt.Sprintf("upstreams:\n  - {name: registry, type: registry, url: %s%s}\n", s.registry.URL, own)
	if tokens != "" {
		s.direct = sideDoor(t, s.registry.URL, tokens)
		upstream += fmt.Sprintf("  - {name: tokens, type: registry, url: %s, paths: [/token]}\n", tokens)
	}
	s.front(t, upstream, more)
	return s
}

// front starts bellbuoy in front of upstreams, with the webhooks of a harness.Stage, and one more
// for the lines of scripts.
func (s *stage) front(t *testing.T, upstreams, more string) {
	t.Helper()
	all := fmt.Sprintf("  - {name: all, url: %s, format: bellbuoy, events: ['*']}\n", s.hooks.URL("/all"))
	s.buoy = harness.Bellbuoy(t, upstreams+harness.Webhooks(s.hooks, all)+
		fmt.Sprintf("correlation: {untagged_push: %s, pull: %s, repeat: %s}\n", quiet, quiet, repeat)+more)
}

// raiseOn starts a stage on a running registry. at is the URL by which bellbuoy reaches it.
func raiseOn(t *testing.T, login string, registry *harness.RegistryServer, at string) *stage {
	t.Helper()
	s := &stage{login: login, hooks: harness.NewReceiver(t), registry: registry, direct: registry.Host}
	if login != "anonymous" {
		s.operator = user
	}
	s.front(t, fmt.Sprintf("upstreams: [{name: registry, type: registry, url: %s}]\n", at), "")
	return s
}

// sideDoor starts a proxy to a registry and its token server.
func sideDoor(t *testing.T, registry, tokens string) string {
	t.Helper()
	to := func(base string) http.Handler {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		}}
	}
	mux := http.NewServeMux()
	mux.Handle("/", to(registry))
	mux.Handle("/token", to(tokens))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func (s *stage) webhook(options string) string {
	return fmt.Sprintf("webhooks: [{name: all, url: %s, %s}]\n", s.hooks.URL("/all"), options)
}

// A script runs a client, in repositories below its own name, and has the events that bellbuoy must
// send: as lines (expectsLine), or in every field and byte (expects).
type script struct {
	*stage
	t     *testing.T
	name  string
	env   []string
	exact *harness.Stage

	mu   sync.Mutex
	want []string
}

// script starts a script. Its environment has the login for the registry, in every file that
// clients read it from.
func (s *stage) script(t *testing.T, name string, env ...string) *script {
	t.Helper()
	sc := &script{stage: s, t: t, name: name, env: harness.Env(t, env...), exact: harness.StageOn(t, s.hooks, s.buoy)}
	auths := map[string]any{}
	if s.login != "anonymous" {
		entry := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
		auths[s.buoy.Host], auths[s.direct] = entry, entry
	}
	config, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	sc.write(filepath.Join(sc.home(), ".docker/config.json"), config)
	sc.write(filepath.Join(sc.home(), "auth.json"), config)
	sc.write(filepath.Join(sc.home(), ".config/helm/registry/config.json"), config)
	return sc
}

func (sc *script) home() string {
	for _, kv := range sc.env {
		if dir, ok := strings.CutPrefix(kv, "HOME="); ok {
			return dir
		}
	}
	return ""
}

func (sc *script) write(path string, content []byte) {
	sc.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		sc.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		sc.t.Fatal(err)
	}
}

// file writes a small file into the home directory and returns its path.
func (sc *script) file(name, content string) string {
	path := filepath.Join(sc.home(), name)
	sc.write(path, []byte(content))
	return path
}

// ref returns a reference as the client writes it: repository:tag or repository@digest, below the
// script's own name.
func (sc *script) ref(what string) string { return sc.buoy.Host + "/" + sc.name + "/" + what }

func (sc *script) run(client string, args ...string) string {
	sc.t.Helper()
	return harness.Run(sc.t, sc.env, client, args...)
}

// seed pushes directly to the registry.
func (sc *script) seed(what string, a harness.Artifact) {
	sc.t.Helper()
	sc.run("crane", "push", "--insecure", a.Layout(sc.t, "x"), sc.direct+"/"+sc.name+"/"+what)
}

// digest asks the registry itself, not through bellbuoy.
func (sc *script) digest(what string) string {
	sc.t.Helper()
	return strings.TrimSpace(sc.run("crane", "digest", "--insecure", sc.direct+"/"+sc.name+"/"+what))
}

// expectsLine adds an expected line: verb, repository and tags ("app:v1,v2", "app:" for none),
// digest.
func (sc *script) expectsLine(verb, what, digest string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.want = append(sc.want, fmt.Sprintf("%s %s/%s %s by %q", verb, sc.name, what, digest, sc.operator))
}

// expectsCopyLine is expectsLine for the pull of a copy within the registry, if the copy moves
// layers.
func (sc *script) expectsCopyLine(what, digest string) {
	if !sc.shared {
		sc.expectsLine("pull", what, digest)
	}
}

// expects adds expected events of one repository of the script, and waits for them. A script uses
// either expects or expectsLine.
func (sc *script) expects(events ...harness.Event) {
	sc.t.Helper()
	for i := range events {
		events[i] = events[i].By(sc.operator)
	}
	sc.exact.Expect(events[0].Repository, events...)
}

// pause waits so long that the next read of a reference is another pull.
func pause() { time.Sleep(repeat + 200*time.Millisecond) }

// lines returns the events in the script's repositories, as lines.
func (sc *script) lines(t *testing.T) (lines []string) {
	t.Helper()
	for _, e := range decode(t, sc.hooks.Posts("/all")) {
		if strings.HasPrefix(e.Repository, sc.name+"/") {
			lines = append(lines, line(&e))
		}
	}
	return lines
}

func decode(t *testing.T, posts []harness.Post) (events []format.BellbuoyEvent) {
	t.Helper()
	seen := map[string]bool{}
	for _, post := range posts {
		var e format.BellbuoyEvent
		if err := json.Unmarshal(post.Body, &e); err != nil {
			t.Fatalf("a webhook that cannot be read: %v\n%s", err, post.Body)
		}
		if !seen[post.Path+e.ID] {
			seen[post.Path+e.ID] = true
			events = append(events, e)
		}
	}
	return events
}

// line returns an event as a line of a script. A pull has only the tag that was resolved.
func line(e *format.BellbuoyEvent) string {
	verb := strings.ToLower(strings.NewReplacer("_ARTIFACT", "", "_CHART", "", "DELETE_TAG", "untag").Replace(string(e.Type)))
	tags := slices.Clone(e.Tags)
	if e.Type == detect.PullArtifact {
		tags = []string{e.TagAsked}
	}
	slices.Sort(tags)
	if e.Chart != nil {
		return fmt.Sprintf("%s %s %s by %q", verb, e.Repository, e.Chart.Version, e.Operator)
	}
	return fmt.Sprintf("%s %s:%s %s by %q", verb, e.Repository, strings.Join(tags, ","), e.Digest, e.Operator)
}

// A part is a named script.
type part struct {
	name string
	play func(*script)
}

// play runs scripts concurrently, waits for all expected events, and compares.
func (s *stage) play(t *testing.T, parts []part) {
	t.Helper()
	played := make([]*script, len(parts))
	t.Run("played", func(t *testing.T) {
		for i, p := range parts {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				sc := s.script(t, p.name)
				p.play(sc)
				played[i] = sc
			})
		}
	})
	played = slices.DeleteFunc(played, func(sc *script) bool { return sc == nil }) // skipped or failed
	s.settle(t, played)
	for _, sc := range played {
		t.Run(sc.name, func(t *testing.T) {
			sc.exact.T = t // the script's own T has ended
			if sc.exact.Compare(sc.name) {
				return
			}
			if missing, extra := differ(sc.want, sc.lines(t)); len(missing)+len(extra) > 0 {
				t.Errorf("missing\n  %s\nextra\n  %s", strings.Join(missing, "\n  "), strings.Join(extra, "\n  "))
			}
		})
	}
}

// settle waits until all expected lines have come, and in any case for longer than bellbuoy may
// delay an event.
func (s *stage) settle(t *testing.T, played []*script) {
	t.Helper()
	time.Sleep(quiet + 2*time.Second)
	lacks := func(sc *script) bool {
		missing, _ := differ(sc.want, sc.lines(t))
		return len(missing) > 0
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && slices.ContainsFunc(played, lacks); {
		time.Sleep(200 * time.Millisecond)
	}
}

func differ(want, got []string) (missing, extra []string) {
	missing = slices.Clone(want)
	for _, line := range got {
		if i := slices.Index(missing, line); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		} else {
			extra = append(extra, line)
		}
	}
	return missing, extra
}

// keepsSecrets fails the test if bellbuoy has logged, sent or stored a credential.
func (s *stage) keepsSecrets(t *testing.T) {
	t.Helper()
	keepsSecrets(t, s.buoy, s.hooks)
}

func keepsSecrets(t *testing.T, b *harness.Buoy, hooks *harness.Receiver) {
	t.Helper()
	secrets := []string{
		password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password)), "eyJhbGciOi", "Bearer ey",
	}
	places := map[string][]byte{"the log": []byte(b.Logs()), "the metrics": []byte(b.Metrics())}
	for i, p := range hooks.Posts("") {
		places[fmt.Sprintf("webhook %d", i)] = fmt.Appendf(nil, "%s %v", p.Body, p.Header)
	}
	files, err := filepath.Glob(filepath.Join(b.DataDir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", b.DataDir, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if places[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	for place, content := range places {
		for _, secret := range secrets {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s contains the secret %q", place, secret)
			}
		}
	}
}
