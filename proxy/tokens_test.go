package proxy

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// tokenRegistry challenges for a token of /token at the host that the client used, and accepts one.
type tokenRegistry struct{ answer, takes string }

func (r *tokenRegistry) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	switch {
	case in.URL.Path == "/token" && in.Header.Get("Authorization") == basic("ann"):
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, r.answer)
	case in.URL.Path == "/token" || in.Header.Get("Authorization") != "Bearer "+r.takes:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, in.Host))
		w.WriteHeader(http.StatusUnauthorized)
	default:
		registry(w, in)
	}
}

// A token without a name stands for the login that fetched it through bellbuoy, if the token server
// refuses other logins.
func TestTokensWithoutAName(t *testing.T) {
	gitea := "e30." + segment(map[string]any{"UserID": 2, "exp": time.Now().Add(time.Hour).Unix()}) + ".AAAA"
	named := "e30." + segment(map[string]any{"sub": "robot"}) + ".AAAA"
	for _, c := range []struct {
		name, answer, takes string
		lenient             bool   // the token server gives tokens to every login
		login               string // of the fetch; "": ann's
		want                detect.Client
	}{
		{name: "opaque", answer: `{"token":"opaque","expires_in":300}`, takes: "opaque", want: detect.Client{Operator: "ann"}},
		{name: "access_token", answer: `{"access_token":"opaque"}`, takes: "opaque", want: detect.Client{Operator: "ann"}},
		{name: "a number that is no claim of ours", answer: `{"token":"` + gitea + `"}`, takes: gitea, want: detect.Client{Operator: "ann"}},
		{name: "names somebody", answer: `{"token":"` + named + `"}`, takes: named, want: detect.Client{Operator: "robot"}},
		{name: "anybody gets one", answer: `{"token":"opaque"}`, takes: "opaque", lenient: true, want: detect.Client{Claimed: "ann"}},
		{name: "another token", answer: `{"token":"opaque"}`, takes: "stolen", want: detect.Client{}},
		{name: "a refused login", answer: `{"token":"opaque"}`, takes: "opaque", login: basic("eve"), want: detect.Client{}},
		{name: "no login", answer: `{"token":"opaque"}`, takes: "opaque", login: "none", want: detect.Client{}},
		{name: "no token", answer: `{"token":1}`, takes: "1", want: detect.Client{}},
	} {
		for _, method := range []string{"GET", "PUT"} {
			a := &asker{refuses: !c.lenient}
			s := newStand(t, &tokenRegistry{c.answer, c.takes}, func(o *Options) {
				o.Upstreams[0].Asker, o.Identity.Claims = a, []string{"sub"}
			})
			s.do("GET", "/v2/", nil)
			fetch := []string{"Authorization", basic("ann")}
			switch c.login {
			case "":
			case "none":
				fetch = nil
			default:
				fetch[1] = c.login
			}
			if _, body := s.do("GET", "/token?service=x&scope=y", nil, fetch...); c.login == "" && body != c.answer {
				t.Fatalf("%s: token answer %q", c.name, body)
			}
			if method == "GET" {
				s.do("GET", "/v2/a/manifests/v1", nil, "Authorization", "Bearer "+c.takes, "User-Agent", "x")
			} else {
				s.do("PUT", "/v2/a/manifests/v1", nil, "Authorization", "Bearer "+c.takes, "User-Agent", "x")
			}
			var got detect.Client
			if method == "PUT" {
				got = s.tracker.settled[0].Client
			} else {
				got = s.tracker.lastEnded(3).Client
			}
			c.want.Address, c.want.UserAgent = "127.0.0.1", "x"
			if got != c.want {
				t.Errorf("%s, %s: got %+v, want %+v", c.name, method, got, c.want)
			}
			a.mu.Lock()
			if len(a.madeUp) > 1 {
				t.Errorf("%s: made-up logins at %q", c.name, a.madeUp)
			}
			a.mu.Unlock()
		}
	}
}

// A path that no upstream has named as its token server is none, whatever it answers. A token is
// valid for one upstream only.
func TestTokensOfUnknownServers(t *testing.T) {
	a := &asker{refuses: true}
	r := &tokenRegistry{`{"token":"opaque"}`, "opaque"}
	s := newStand(t, r, func(o *Options) { o.Upstreams[0].Asker, o.Identity.Claims = a, []string{"sub"} })
	s.handler.evidence.Anonymous("registry", "a", detect.ManifestGet, 401, time.Now())
	s.do("GET", "/token?service=x", nil, "Authorization", basic("ann")) // before a 401 has named it
	s.do("GET", "/v2/a/manifests/v1", nil, "Authorization", "Bearer opaque")
	if got := s.tracker.lastEnded(2).Client; got.Operator != "" || got.Claimed != "" || len(a.madeUp) != 0 {
		t.Errorf("got %+v, and the made-up logins %q", got, a.madeUp)
	}
	s.do("GET", "/v2/", nil)
	s.do("GET", "/token?service=x", nil, "Authorization", basic("ann"))
	o := s.handler.now.Load().Options
	o.Upstreams[0].Name = "other"
	if err := s.handler.Configure(o); err != nil {
		t.Fatal(err)
	}
	s.handler.evidence.Anonymous("other", "a", detect.ManifestGet, 401, time.Now())
	s.do("GET", "/v2/a/manifests/v1", nil, "Authorization", "Bearer opaque")
	if got := s.tracker.lastEnded(5).Client; got.Operator != "" || got.Claimed != "" {
		t.Errorf("at another upstream: %+v", got)
	}
}

func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			token   string
			seconds float64
			want    time.Duration
		}{
			{"opaque", 0, time.Minute},
			{"opaque", 300, 5 * time.Minute},
			{"opaque", 1e18, 24 * time.Hour},
			{"opaque", -1, time.Minute},
			{"e30." + segment(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}) + ".A", 300, time.Hour},
			{"e30." + segment(map[string]any{"exp": time.Now().Add(1000 * time.Hour).Unix()}) + ".A", 300, 24 * time.Hour},
			{"e30." + segment(map[string]any{"exp": 1e300}) + ".A", 300, 5 * time.Minute},
		} {
			if got := tokenLife(c.token, c.seconds); got != c.want {
				t.Errorf("%s, %v: lives %v, want %v", c.token, c.seconds, got, c.want)
			}
		}
		x := &exchange{g: &generation{h: &Handler{tokens: newTokens()}}, in: &http.Request{Header: http.Header{"Authorization": {basic("ann")}}}, route: &route{Upstream: Upstream{Name: "r"}}, start: time.Now()}
		x.name = identification{x: x}
		x.name.fetches = &fetchedToken{serves: []string{"r"}}
		x.name.keepToken([]byte(`{"token":"opaque","expires_in":300}`))
		for after, want := range map[time.Duration]string{299 * time.Second: "ann", 300 * time.Second: ""} {
			x.start = time.Now().Add(after)
			if got := x.name.fetchedBy("opaque"); got != want {
				t.Errorf("after %v: got %q, want %q", after, got, want)
			}
		}
	})
}
