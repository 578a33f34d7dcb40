package proxy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":secret"))
}

// unsigned returns a token without a signature.
func unsigned(sub string) string {
	return "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"`+sub+`"}`)) + ".AAAA"
}

func TestVouching(t *testing.T) {
	for _, c := range []struct {
		name          string
		edit          func(*Options)
		anonymous     int // the upstream's answer to requests without credentials
		authorization string
		header        string // X-Forwarded-User
		want          detect.Client
	}{
		{name: "nobody", anonymous: 200, want: detect.Client{}},
		{name: "basic, upstream asks", anonymous: 401, authorization: basic("ann"), want: detect.Client{Operator: "ann"}},
		{name: "basic, upstream asks nobody", anonymous: 200, authorization: basic("ann"), want: detect.Client{Claimed: "ann"}},
		{name: "basic, upstream forbids", anonymous: 403, authorization: basic("ann"), want: detect.Client{Operator: "ann"}},
		{name: "upstream does not understand", anonymous: 404, authorization: basic("ann"), want: detect.Client{Claimed: "ann"}},
		{name: "upstream does not say", anonymous: 503, authorization: basic("ann"), want: detect.Client{Claimed: "ann"}},
		{name: "token, upstream asks", anonymous: 401, authorization: unsigned("bob"), want: detect.Client{Operator: "bob"}},
		{name: "token, trust_claims", anonymous: 200, authorization: unsigned("bob"), want: detect.Client{Operator: "bob"},
			edit: func(o *Options) { o.Identity.TrustClaims = true }},
		{name: "token, bad signature", anonymous: 401, authorization: unsigned("bob"), want: detect.Client{},
			edit: func(o *Options) { o.Identity.Verify = NewVerifier(VerifierOptions{File: "/nowhere"}) }},
		{name: "header of a stranger", anonymous: 401, header: "eve", want: detect.Client{}},
		{name: "header of a trusted proxy", anonymous: 200, header: "eve", authorization: basic("ann"), want: detect.Client{Operator: "eve"},
			edit: func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }},
	} {
		for _, method := range []string{"GET", "PUT"} {
			a := &asker{probe: func(string, string) (int, error) { return c.anonymous, nil }}
			s := newStand(t, http.HandlerFunc(registry), func(o *Options) {
				o.Upstreams[0].Asker = a
				o.Identity = Identity{Header: "X-Forwarded-User", Claims: []string{"sub"}}
				if c.edit != nil {
					c.edit(o)
				}
			})
			headers := []string{"User-Agent", "x"}
			if c.authorization != "" {
				headers = append(headers, "Authorization", c.authorization)
			}
			if c.header != "" {
				headers = append(headers, "X-Forwarded-User", c.header)
			}
			var body io.Reader
			if method == "PUT" {
				body = strings.NewReader(manifest)
			}
			s.do(method, "/v2/a/manifests/v1", body, headers...)
			c.want.Address, c.want.UserAgent = "127.0.0.1", "x"
			var got detect.Client
			if method == "PUT" {
				got = s.tracker.settled[0].Client
			} else {
				got = s.tracker.lastEnded(1).Client
			}
			if got != c.want {
				t.Errorf("%s, %s: client %+v, want %+v", c.name, method, got, c.want)
			}
		}
	}
}

func TestProbesAreFew(t *testing.T) {
	a := &asker{}
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Upstreams[0].Asker = a })
	for range 3 {
		s.do("GET", "/v2/a/manifests/v1?ns=x", nil, "Authorization", basic("ann"))
	}
	for range 3 {
		s.do("PUT", "/v2/b/manifests/v1", strings.NewReader(manifest), "Authorization", basic("ann"))
	}
	s.do("GET", "/v2/c/tags/list", nil, "Authorization", basic("ann"))
	if len(a.probes) != 2 || a.probes[0] != "HEAD /v2/a/manifests/v1?ns=x" || !uploadNobodyBegan.MatchString(a.probes[1]) {
		t.Errorf("got the probes %q", a.probes)
	}
}

// Reads may need no login where writes do: the name of a write needs an answer about a write.
func TestReadsOpenWritesByLogin(t *testing.T) {
	a := &asker{probe: func(method, uri string) (int, error) {
		if method == "PUT" {
			return 401, nil
		}
		return 200, nil
	}}
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Upstreams[0].Asker = a })
	s.do("GET", "/v2/", nil)
	s.do("GET", "/v2/a/manifests/v1", nil)
	s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest), "Authorization", basic("ann"))
	if got := s.tracker.settled[0].Client; got.Operator != "ann" {
		t.Errorf("client of the write: got %+v, want ann", got)
	}
	s.do("GET", "/v2/a/manifests/v1", nil, "Authorization", basic("ann"))
	if got := s.tracker.lastEnded(3).Client; got.Operator != "" || got.Claimed != "ann" {
		t.Errorf("client of the read: got %+v, want ann, claimed", got)
	}
}

var uploadNobodyBegan = regexp.MustCompile(`^PUT /v2/b/blobs/uploads/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// A client with many made-up logins does not multiply its requests: those that the upstream refuses
// cause no probe about reads, and few look-ups and probes about writes.
func TestMadeUpLogins(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		for _, status := range []int{200, 401} {
			var requests atomic.Int64
			count := func() { requests.Add(1) }
			a := &asker{
				head: func(string, string) (upstream.Manifest, error) {
					count()
					return upstream.Manifest{}, upstream.ErrUnauthorized
				},
				before: func(string, string, []string) (upstream.Deleted, error) {
					count()
					return upstream.Deleted{}, upstream.ErrUnauthorized
				},
				probe: func(string, string) (int, error) { count(); return 200, nil },
			}
			s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				count()
				if status == 200 && r.Method == "GET" {
					registry(w, r) // needs no login, whatever the name
					return
				}
				w.WriteHeader(http.StatusUnauthorized)
			}), func(o *Options) { o.Upstreams[0].Asker = a })
			for i := range 100 {
				s.do(method, fmt.Sprintf("/v2/team/app%d/manifests/v1", i), nil, "Authorization", basic(fmt.Sprint("made-up-", i)))
			}
			if n := requests.Load(); n >= 190 {
				t.Errorf("%s, answered %d: 100 requests made %d at the upstream", method, status, n)
			}
		}
	}
}

func TestEvidenceFromTraffic(t *testing.T) {
	a := &asker{}
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(401)
			return
		}
		registry(w, r)
	}), func(o *Options) { o.Upstreams[0].Asker = a })
	s.do("GET", "/v2/a/manifests/v1", nil)
	s.do("GET", "/v2/a/manifests/v1", nil, "Authorization", basic("ann"))
	if got := s.tracker.lastEnded(2).Client.Operator; got != "ann" || len(a.probes) != 0 {
		t.Errorf("got the operator %q and the probes %q", got, a.probes)
	}
}

func TestChartProbes(t *testing.T) {
	for method, path := range map[string]string{"POST": "/ctx/api/t/charts", "DELETE": "/ctx/api/t/charts/app/1.0.0"} {
		a := &asker{}
		s := newStand(t, http.HandlerFunc(registry), func(o *Options) {
			o.Upstreams[0].Asker, o.Upstreams[0].Kind, o.Upstreams[0].PathPrefix = a, detect.ChartMuseum, "/ctx"
			a.chart = nil
		})
		if method == "DELETE" {
			s.handler.lookups = limiterOfNothing()
		}
		s.do(method, path, strings.NewReader("x"), "Authorization", basic("ann"))
		if want := []string{"POST /ctx/api/t/charts"}; !slices.Equal(a.probes, want) {
			t.Errorf("%s: got the probes %q", method, a.probes)
		}
		if got := s.tracker.intended[0].Client.Operator; got != "ann" {
			t.Errorf("%s: got the operator %q", method, got)
		}
	}
}

func segment(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func TestVerifier(t *testing.T) {
	rsaSecret, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecSecret, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPublic, edSecret, _ := ed25519.GenerateKey(rand.Reader)
	point, _ := ecSecret.PublicKey.Bytes()
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"r","n":%q,"e":"AQAB"},{"kty":"EC","kid":"e","crv":"P-256","x":%q,"y":%q},{"kty":"OKP","kid":"d","crv":"Ed25519","x":%q},{"kty":"oct","k":"AA"}]}`,
		b64(rsaSecret.N.Bytes()), b64(point[1:33]), b64(point[33:]), b64(edPublic))
	sign := map[string]func(string) []byte{
		"RS256": func(s string) []byte {
			sum := sha256.Sum256([]byte(s))
			b, _ := rsa.SignPKCS1v15(nil, rsaSecret, crypto.SHA256, sum[:])
			return b
		},
		"ES256": func(s string) []byte {
			sum := sha256.Sum256([]byte(s))
			r, v, _ := ecdsa.Sign(rand.Reader, ecSecret, sum[:])
			return append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
		},
		"EdDSA": func(s string) []byte { return ed25519.Sign(edSecret, []byte(s)) },
	}
	token := func(alg, kid string, claims map[string]any) string {
		signed := segment(map[string]any{"alg": alg, "kid": kid}) + "." + segment(claims)
		return signed + "." + b64(sign[alg](signed))
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(VerifierOptions{File: file})
	if err := v.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	good := map[string]any{"sub": "ann", "exp": now.Add(time.Hour).Unix()}
	for alg, kid := range map[string]string{"RS256": "r", "ES256": "e", "EdDSA": "d"} {
		for range 2 { // the second one from the cache
			if name, ok := v.name(token(alg, kid, good), []string{"sub"}, now); !ok || name != "ann" {
				t.Errorf("%s: got %q, %v", alg, name, ok)
			}
		}
		if _, ok := v.name(token(alg, "", good), []string{"sub"}, now); !ok {
			t.Errorf("%s without kid is refused", alg)
		}
	}
	once := token("RS256", "r", good)
	head, _, _ := strings.Cut(once, ".")
	for what, bad := range map[string]string{
		"expired":          token("RS256", "r", map[string]any{"sub": "ann", "exp": now.Add(-time.Hour).Unix()}),
		"not yet":          token("RS256", "r", map[string]any{"sub": "ann", "exp": now.Add(2 * time.Hour).Unix(), "nbf": now.Add(time.Hour).Unix()}),
		"never expires":    token("RS256", "r", map[string]any{"sub": "ann"}),
		"exp no number":    token("RS256", "r", map[string]any{"sub": "ann", "exp": "never"}),
		"another key":      token("RS256", "e", good),
		"other claims":     head + "." + segment(map[string]any{"sub": "eve"}) + once[strings.LastIndex(once, "."):],
		"no signature":     segment(map[string]any{"alg": "none"}) + "." + segment(good) + ".",
		"two parts":        "a.b",
		"nothing":          "",
		"unknown key":      token("RS256", "x", good),
		"not base64":       "a.b.*",
		"huge":             strings.Repeat("x", maxToken+1),
		"claims no object": segment(map[string]any{"alg": "RS256"}) + "." + segment("x") + ".AA",
	} {
		if name, ok := v.name(bad, []string{"sub"}, now); ok || name != "" {
			t.Errorf("%s: %q is believed", what, name)
		}
	}
	strict := NewVerifier(VerifierOptions{File: file, Audience: []string{"registry", "mirror"}, Issuer: "https://auth.example.com"})
	if err := strict.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		aud, iss any
		want     bool
	}{
		{"registry", "https://auth.example.com", true},
		{[]string{"other", "mirror"}, "https://auth.example.com", true},
		{[]string{"other"}, "https://auth.example.com", false},
		{[]any{1, nil}, "https://auth.example.com", false},
		{nil, "https://auth.example.com", false},
		{"registry", "https://auth.example.com/", false},
		{"registry", nil, false},
	} {
		claims := map[string]any{"sub": "ann", "exp": now.Add(time.Hour).Unix(), "aud": c.aud, "iss": c.iss}
		if _, ok := strict.name(token("RS256", "r", claims), []string{"sub"}, now); ok != c.want {
			t.Errorf("aud %v, iss %v: accepted %v, want %v", c.aud, c.iss, ok, c.want)
		}
	}
	// A valid token becomes invalid when its time is over.
	if _, ok := v.name(once, []string{"sub"}, now.Add(2*time.Hour)); ok {
		t.Error("an old verdict outlives the token")
	}
}

func TestVerifierFromURL(t *testing.T) {
	_, secret, _ := ed25519.GenerateKey(rand.Reader)
	public := secret.Public().(ed25519.PublicKey)
	answer := "[]"
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer keys.Close()
	v := NewVerifier(VerifierOptions{URL: keys.URL, Client: keys.Client()})
	if err := v.Load(context.Background()); err == nil {
		t.Error("a list is no key set")
	}
	answer = `{"keys":[{"kty":"OKP","kid":"d","crv":"Ed25519","x":"` + b64(public) + `"}]}`
	if err := v.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	signed := segment(map[string]any{"alg": "EdDSA", "kid": "d"}) + "." + segment(map[string]any{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
	if name, _ := v.name(signed+"."+b64(ed25519.Sign(secret, []byte(signed))), []string{"sub"}, time.Now()); name != "ann" {
		t.Errorf("got the name %q", name)
	}
}
