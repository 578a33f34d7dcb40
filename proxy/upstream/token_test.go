package upstream

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const authHost = "auth.test"

// guarded lets a registry answer requests with the token. Others get a challenge with the realm.
func guarded(r *registry, challenge, token string) {
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Header.Get("Authorization") == token {
			return false
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return true
	}
}

func basicOf(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func bearerTo(realm string) string {
	return fmt.Sprintf(`Bearer realm=%q,service="registry.test",scope="repository:team/app:pull"`, realm)
}

func TestBasicIsOfferedOnceAndThenRemembered(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	want := r.put("team/app", "v1", "{}")
	guarded(r, `Basic realm="x, y"`, basicOf("bell", "s3cret"))
	c := n.client(withLogin)
	for range 2 {
		m, err := c.Head(t.Context(), "team/app", "v1", Own)
		if err != nil || m.Digest != want || m.Size != 2 {
			t.Fatalf("Head = %+v, %v", m, err)
		}
	}
	if got := len(n.requests()); got != 3 {
		t.Errorf("%d requests, want 3: %q", got, n.requests())
	}
}

// tokenServer answers with a configured token and records the requests.
type tokenServer struct {
	answer string
	noGet  int // the status of GET, if GET is not supported
	asked  []url.Values
	auth   []string
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet && s.noGet != 0 {
		w.WriteHeader(s.noGet)
		return
	}
	if err := req.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.asked = append(s.asked, req.Form)
	s.auth = append(s.auth, req.Header.Get("Authorization"))
	fmt.Fprint(w, s.answer)
}

func tokenWorld(t *testing.T, server http.Handler) (*network, *registry) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"], n.hosts[authHost] = r, server
	n.mayKnow[authHost] = true
	r.put("team/app", "v1", "{}")
	guarded(r, bearerTo("https://auth.test/token?x=1"), "Bearer tok")
	return n, r
}

func withRealm(realms ...string) func(*Options) { return func(o *Options) { o.Realms = realms } }

func TestTokenIsFetchedAndKeptUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &tokenServer{answer: `{"token":"tok","expires_in":300}`}
		n, _ := tokenWorld(t, server)
		c := n.client(withLogin, withRealm("auth.test"))
		head := func() {
			t.Helper()
			if _, err := c.Head(t.Context(), "team/app", "v1", Own); err != nil {
				t.Fatal(err)
			}
		}
		head()
		time.Sleep(269 * time.Second)
		head()
		if len(server.asked) != 1 {
			t.Fatalf("got %d token requests within the token's life", len(server.asked))
		}
		time.Sleep(2 * time.Second)
		head()
		if len(server.asked) != 2 {
			t.Fatalf("got %d token requests after the token's life", len(server.asked))
		}
		q := server.asked[0]
		if q.Get("service") != "registry.test" || q.Get("scope") != "repository:team/app:pull" || q.Get("account") != "bell" || q.Get("x") != "1" {
			t.Errorf("token query %v", q)
		}
		if server.auth[0] != basicOf("bell", "s3cret") {
			t.Errorf("token request carried %q", server.auth[0])
		}
	})
}

func TestRevokedTokenIsReplaced(t *testing.T) {
	server := &tokenServer{answer: `{"access_token":"tok"}`}
	n, r := tokenWorld(t, server)
	c := n.client(withLogin, withRealm("auth.test"))
	if _, err := c.Head(t.Context(), "team/app", "v1", Own); err != nil {
		t.Fatal(err)
	}
	guarded(r, bearerTo("https://auth.test/token"), "Bearer tok2")
	server.answer = `{"token":"tok2"}`
	if _, err := c.Head(t.Context(), "team/app", "v1", Own); err != nil {
		t.Fatal(err)
	}
}

func TestTokenByPostIfGetIsNotSupported(t *testing.T) {
	for _, status := range []int{404, 405} {
		server := &tokenServer{answer: `{"access_token":"tok"}`, noGet: status}
		n, _ := tokenWorld(t, server)
		c := n.client(withLogin, withRealm("https://auth.test/token"))
		if _, err := c.Head(t.Context(), "team/app", "v1", Own); err != nil {
			t.Fatalf("GET answered %d: %v", status, err)
		}
		q := server.asked[0]
		if q.Get("grant_type") != "password" || q.Get("username") != "bell" || q.Get("password") != "s3cret" {
			t.Errorf("got the form %v", q)
		}
		if q.Get("scope") != "repository:team/app:pull" {
			t.Errorf("got the scope %q", q.Get("scope"))
		}
	}
}

func TestAnonymousToken(t *testing.T) {
	server := &tokenServer{answer: `{"token":"tok"}`}
	n, _ := tokenWorld(t, server)
	n.mayKnow[authHost] = false
	if _, err := n.client(withRealm("auth.test")).Head(t.Context(), "team/app", "v1", Own); err != nil {
		t.Fatal(err)
	}
	if server.asked[0].Has("account") {
		t.Error("an account without a name")
	}
}

func TestForeignRealmGetsNoRequest(t *testing.T) {
	for _, realm := range []string{
		"https://evil.test/token", "http://registry.test:6000/token", "//evil.test/token", "https://auth.test.evil.test/token",
		"https://auth.test:444/token", "http://auth.test/token", "https://auth.test/tokens", "ftp://auth.test/token",
		"https://bell:x@auth.test/token", "https:///token", "", "::", "https://auth.test@evil.test/token",
	} {
		n, r := newNetwork(t), newRegistry()
		n.hosts["registry.test:5000"] = r
		guarded(r, bearerTo(realm), "Bearer tok")
		_, err := n.client(withLogin, withRealm("https://auth.test/token")).Head(t.Context(), "team/app", "v1", Own)
		if err == nil {
			t.Fatalf("realm %q: no error", realm)
		}
		if got := n.requests(); len(got) != 1 {
			t.Errorf("realm %q: requests %q", realm, got)
		}
		var refused *RealmError
		if errors.As(err, &refused) && !strings.Contains(err.Error(), "credentials.realms") {
			t.Errorf("realm %q: %v does not name the key", realm, err)
		}
	}
}

func TestRealms(t *testing.T) {
	for _, test := range []struct {
		upstream, realm, address string
		want                     bool
	}{
		{"https://r.test", "", "https://r.test/token", true},
		{"https://r.test", "", "https://R.test:443/token", true},
		{"https://r.test", "", "http://r.test/token", false},
		{"https://r.test", "", "https://r.test:8443/token", false},
		{"https://r.test:5000", "", "http://r.test:5000/token", false},
		{"http://r.test", "", "https://r.test/token", true},
		{"http://r.test:5000", "", "http://r.test:5000/token", true},
		{"http://r.test:5000", "", "https://r.test/token", false},
		{"https://r.test", "auth.test", "https://auth.test/a", true},
		{"https://r.test", "auth.test", "https://auth.test:9443/a", true},
		{"https://r.test", "auth.test", "http://auth.test/a", false},
		{"http://r.test", "auth.test", "http://auth.test/a", true},
		{"https://r.test", "auth.test:9443", "https://auth.test:9443/a", true},
		{"https://r.test", "auth.test:9443", "https://auth.test/a", false},
		{"https://r.test", "http://auth.test", "http://auth.test:80/a", true},
		{"https://r.test", "http://auth.test", "https://auth.test/a", false},
		{"https://r.test", "https://auth.test/jwt/", "https://auth.test/jwt/auth", true},
		{"https://r.test", "https://auth.test/jwt", "https://auth.test/jwtx", false},
		{"https://r.test", "[::1]:5001", "https://[::1]:5001/a", true},
		{"https://r.test", "", "https://evil.test/a", false},
		{"https://r.test", "ftp://auth.test", "ftp://auth.test/a", false},
	} {
		base, err := url.Parse(test.upstream)
		if err != nil {
			t.Fatal(err)
		}
		address, err := url.Parse(test.address)
		if err != nil {
			t.Fatal(err)
		}
		c := New(Options{URL: base, Realms: []string{test.realm}})
		if got := c.own.trusts(address); got != test.want {
			t.Errorf("%s with realms [%s] trusts %s = %v", test.upstream, test.realm, test.address, got)
		}
	}
}

func TestTransportsOfRealms(t *testing.T) {
	inside, outside := newNetwork(t), newNetwork(t)
	outside.mayKnow[authHost] = true
	server := &tokenServer{answer: `{"token":"tok"}`}
	outside.hosts[authHost] = server
	r := newRegistry()
	r.put("team/app", "v1", "{}")
	inside.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			server.ServeHTTP(w, req)
			return
		}
		r.ServeHTTP(w, req)
	})
	for _, realm := range []string{"https://auth.test/token", "/token", "http://registry.test:5000/token"} {
		guarded(r, bearerTo(realm), "Bearer tok")
		c := inside.client(withLogin, withRealm("auth.test"), func(o *Options) { o.RealmTransport = outside })
		if _, err := c.Head(t.Context(), "team/app", "v1", Own); err != nil {
			t.Errorf("realm %s: %v", realm, err)
		}
	}
	if len(outside.requests()) != 1 || len(server.asked) != 3 {
		t.Errorf("outside saw %q of %d", outside.requests(), len(server.asked))
	}
}

func TestTokenServersThatFail(t *testing.T) {
	redirect := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "https://evil.test/token", http.StatusTemporaryRedirect)
	})
	for name, server := range map[string]http.Handler{
		"redirect":  redirect,
		"refusal":   answering(401, "application/json", `{"errors":[{"code":"UNAUTHORIZED"}]}`),
		"no json":   answering(200, "text/html", "<html>"),
		"no token":  answering(200, "application/json", `{"token":""}`),
		"newline":   answering(200, "application/json", `{"token":"a\nX-Evil: 1"}`),
		"oversize":  answering(200, "application/json", `{"token":"`+strings.Repeat("x", maxTokenAnswer)+`"}`),
		"too long":  answering(200, "application/json", `{"token":"`+strings.Repeat("x", maxToken+1)+`"}`),
		"no gzip":   answering(200, "application/json", ``),
		"500":       answering(500, "text/plain", "s3cret"),
		"bad token": answering(200, "application/json", `{"token":"other"}`),
	} {
		n, _ := tokenWorld(t, server)
		_, err := n.client(withLogin, withRealm("auth.test")).Head(t.Context(), "team/app", "v1", Own)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v must not mean that it is gone", name, err)
		}
		noSecret(t, err)
	}
}

// noSecret fails the test if an error contains a secret.
func noSecret(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{"s3cret", basicOf("bell", "s3cret")[6:], "tok2", "clientpw"} {
		if err != nil && strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
			t.Errorf("error gives a secret away: %v", err)
		}
	}
}

func TestBearerFirstAndBasicIfTheRealmIsNotTrusted(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	r.put("team/app", "v1", "{}")
	guarded(r, bearerTo("https://evil.test/token")+`, Basic realm="x"`, basicOf("bell", "s3cret"))
	if _, err := n.client(withLogin).Head(t.Context(), "team/app", "v1", Own); err != nil {
		t.Fatal(err)
	}
}

func TestWrongPasswordIsTriedOnce(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	guarded(r, `Basic realm="x"`, "Basic other")
	c := n.client(withLogin)
	_, err := c.Head(t.Context(), "team/app", "v1", Own)
	if !errors.Is(err, ErrUnauthorized) || tooNarrow(err) {
		t.Errorf("got the error %v", err)
	}
	noSecret(t, err)
	n.forget()
	if _, err = c.Head(t.Context(), "team/app", "v1", Own); !errors.Is(err, ErrUnauthorized) || len(n.requests()) != 1 {
		t.Errorf("err = %v after %q", err, n.requests())
	}
}

func TestClientsCredentialsAreSentUnchanged(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	guarded(r, bearerTo("http://registry.test:5000/token")+`,error="insufficient_scope"`, "Bearer theirs")
	r.put("team/app", "v1", "{}")
	c := n.client(withLogin)
	if _, err := c.Head(t.Context(), "team/app", "v1", As{Authorization: "Bearer theirs"}); err != nil {
		t.Fatal(err)
	}
	_, err := c.Head(t.Context(), "team/app", "v1", As{Authorization: "Bearer clientpw"})
	if !tooNarrow(err) || !errors.Is(err, ErrUnauthorized) {
		t.Errorf("got the error %v", err)
	}
	noSecret(t, err)
	if _, err = c.Head(t.Context(), "team/app", "v1", Anonymous); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("anonymous: got the error %v", err)
	}
	if got := n.requests(); len(got) != 3 {
		t.Errorf("got the requests %q", got)
	}
}

func TestRedirects(t *testing.T) {
	for location, want := range map[string]bool{
		"https://storage.test/m":                          false,
		"http://registry.test:5001/v2/moved/manifests/v1": false,
		"/v2/moved/manifests/v1":                          true,
		"http://registry.test:5000/v2/moved/manifests/v1": true,
		"/v2/team/app/manifests/v1":                       false, // a cycle
		"":                                                false,
	} {
		n, r := newNetwork(t), newRegistry()
		n.hosts["registry.test:5000"] = r
		r.put("moved", "v1", "{}")
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			if !strings.Contains(req.URL.Path, "/team/app/") {
				return false
			}
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		_, err := n.client().Head(t.Context(), "team/app", "v1", As{Authorization: basicOf("joe", "clientpw")})
		if (err == nil) != want {
			t.Errorf("redirect to %q: %v", location, err)
		}
		noSecret(t, err)
	}
}

func TestTokensAreBounded(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			fmt.Fprint(w, `{"token":"tok"}`)
			return
		}
		r.ServeHTTP(w, req)
	})
	guarded(r, bearerTo("/token"), "Bearer tok")
	c := n.client(withLogin)
	for i := range keptTokens + 50 {
		repository := fmt.Sprintf("r%d", i)
		r.put(repository, "v1", "{}")
		if _, err := c.Head(t.Context(), repository, "v1", Own); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.own.tokens.Len(); got != keptTokens {
		t.Errorf("%d tokens kept", got)
	}
}

func TestUpstreamThatChangesFromBasicToTokens(t *testing.T) {
	server := &tokenServer{answer: `{"token":"tok"}`}
	n, r := tokenWorld(t, server)
	tokens := r.before
	c := n.client(withLogin, withRealm("auth.test"))
	guarded(r, `Basic realm="x"`, basicOf("bell", "s3cret"))
	for range 3 {
		if _, err := c.Head(t.Context(), "team/app", "v1", Own); err != nil {
			t.Fatal(err)
		}
		r.before = tokens
	}
	// Basic is refused, then accepted; Basic is refused, a token is fetched and accepted; the
	// token is used at once.
	if got := n.requests(); len(got) != 6 || len(server.asked) != 1 {
		t.Errorf("got %d requests: %q", len(got), got)
	}
}

func tooNarrow(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.InsufficientScope
}

// A token server at the host of the external URL is the upstream's. The request goes to the
// upstream, because the external name may lead to bellbuoy or may not resolve here.
func TestRealmAtTheExternalURL(t *testing.T) {
	for _, c := range []struct{ base, external, realm, want string }{
		{"", "https://registry.example.com", "https://registry.example.com/service/token", "/service/token"},
		{"", "https://registry.example.com:443", "https://REGISTRY.example.com/token", "/token"},
		{"/below/docker", "https://registry.example.com", "https://registry.example.com/v2/token", "/below/docker/v2/token"},
		{"/below/docker", "https://registry.example.com", "https://registry.example.com/further/token", "/further/token"},
		{"", "https://registry.example.com", "https://registry.example.com:8443/token", ""},
		{"", "https://registry.example.com", "http://registry.example.com/token", "/token"},
		{"", "https://registry.example.com", "http://registry.example.com:443/token", ""},
		{"", "https://registry.example.com", "https://auth.example.com/token", ""},
	} {
		n, r := newNetwork(t), newRegistry()
		server, host := &tokenServer{answer: `{"token":"tok"}`}, ""
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == c.want {
				host = req.Host
				server.ServeHTTP(w, req)
				return
			}
			http.StripPrefix(c.base, r).ServeHTTP(w, req)
		})
		r.put("team/app", "v1", "{}")
		guarded(r, bearerTo(c.realm), "Bearer tok")
		external, _ := url.Parse(c.external)
		client := n.client(withLogin, func(o *Options) {
			o.URL.Path, o.External, o.Host, o.Paths = c.base, external, external.Host, []string{"/further"}
		})
		_, err := client.Head(t.Context(), "team/app", "v1", Own)
		var untrusted *RealmError
		if c.want == "" && !errors.As(err, &untrusted) || c.want != "" && (err != nil || host != external.Host || len(server.asked) != 1) {
			t.Errorf("realm %s with external_url %s: %v; got %d requests with the host %q", c.realm, c.external, err, len(server.asked), host)
		}
	}
}
