package events

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestIdentity checks that the operator of an event is a verified name, and that another name is
// only claimed.
func TestIdentity(t *testing.T) {
	mint := harness.NewTokenServer(t, harness.TokenOptions{Claims: map[string]any{"email": "alice@example.com"}})
	forger := harness.NewTokenServer(t, harness.TokenOptions{})
	keys := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(keys, []byte(mint.JWKS()), 0o600); err != nil {
		t.Fatal(err)
	}
	good, forged := "Bearer "+mint.Sign(user, nil, time.Now()), "Bearer "+forger.Sign(user, nil, time.Now())
	old := "Bearer " + mint.Sign(user, nil, time.Now().Add(-time.Hour))
	basicAlice := (&stage{login: "basic"}).authorization()
	for _, tc := range []struct {
		name, config  string
		address       string
		header, value string
		who, claimed  string
	}{
		{name: "nobody", address: "127.0.0.1"},
		{name: "claimed basic", address: "127.0.0.1", header: "Authorization", value: basicAlice, claimed: user},
		{name: "claimed token", address: "127.0.0.1", header: "Authorization", value: good, claimed: user},
		{name: "believed claims", config: "identity: {trust_claims: true}", address: "127.0.0.1", header: "Authorization", value: basicAlice, who: user},
		{name: "trusted header", config: "identity: {header: X-User}\ntrusted_proxies: [127.0.0.1/32]", address: "127.0.0.1", header: "X-User", value: "carol", who: "carol"},
		{name: "header of a stranger", config: "identity: {header: X-User}\ntrusted_proxies: [127.0.0.1/32]", address: "127.0.0.2", header: "X-User", value: "carol"},
		{name: "jwks", config: "identity: {verify: {jwks_file: " + keys + "}}", address: "127.0.0.1", header: "Authorization", value: good, who: user},
		{name: "jwks by url", config: "identity: {verify: {jwks_url: " + mint.URL + "/jwks}}\negress: {allow: [127.0.0.0/8]}", address: "127.0.0.1",
			header: "Authorization", value: good, who: user},
		{name: "jwks, forged", config: "identity: {verify: {jwks_file: " + keys + "}}", address: "127.0.0.1", header: "Authorization", value: forged},
		{name: "jwks, expired", config: "identity: {verify: {jwks_file: " + keys + "}}", address: "127.0.0.1", header: "Authorization", value: old},
		{name: "another claim", config: "identity: {jwt_claims: [mail, email, sub], verify: {jwks_file: " + keys + "}}", address: "127.0.0.1",
			header: "Authorization", value: good, who: "alice@example.com"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := raise(t, "anonymous", tc.config+"\n")
			c := call(t, s.buoy.ProxyURL, tc.address, "crane/1")
			if tc.header != "" {
				c = c.with(tc.header, tc.value)
			}
			e := s.pushOne(t, c)
			if e.Operator != tc.who {
				t.Errorf("operator %q, want %q", e.Operator, tc.who)
			}
			if e.OperatorClaimed != tc.claimed {
				t.Errorf("claimed %q, want %q", e.OperatorClaimed, tc.claimed)
			}
			s.keepsSecrets(t)
		})
	}
}

// pushOne pushes an image and returns its event.
func (s *stage) pushOne(t *testing.T, c *caller) format.BellbuoyEvent {
	t.Helper()
	c.push("seen/app", "v1", image())
	return decode(t, s.hooks.WaitAt("/all", 1, time.Minute))[0]
}

// TestNamesThatTheRegistryVouchesFor checks that an event has the name of an accepted login, and
// that a refused login causes no event.
func TestNamesThatTheRegistryVouchesFor(t *testing.T) {
	for _, login := range []string{"basic", "token"} {
		t.Run(login, func(t *testing.T) {
			t.Parallel()
			s := raise(t, login, "")
			c := call(t, s.buoy.ProxyURL, "127.0.0.1", "crane/1")
			if status, _ := c.with("Authorization", "Basic bWFsbG9yeTpub3Bl").do(http.MethodPut, "/v2/seen/app/manifests/v1", image().Manifest); status != http.StatusUnauthorized {
				t.Errorf("a push with a wrong login: got %d", status)
			}
			e := s.pushOne(t, c.with("Authorization", s.authorization()))
			if e.Operator != user || e.OperatorClaimed != "" {
				t.Errorf("operator %q, claimed %q", e.Operator, e.OperatorClaimed)
			}
			s.keepsSecrets(t)
		})
	}
}

// TestClientCertificate checks that the common name of a client certificate is the operator.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	ca := authority.New(t)
	server, client := ca.Issue("bellbuoy"), ca.Issue("carol")
	s := raise(t, "anonymous", fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}\n", server.Cert, server.Key, ca.CA()))
	c := call(t, "https://"+s.buoy.Host, "127.0.0.1", "crane/1")
	c.client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{client.Certificate}
	if e := s.pushOne(t, c); e.Operator != "carol" {
		t.Errorf("operator %q, want carol", e.Operator)
	}
}
