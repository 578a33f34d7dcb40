package dataplane

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// callers records the clients of an upstream with TLS: names and serial numbers of their
// certificates, and the server name that they sent.
type callers struct {
	mu   sync.Mutex
	seen []string
}

func (k *callers) has(who string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.seen, who)
}

// others returns the clients that are not in who.
func (k *callers) others(who ...string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(k.seen), func(s string) bool { return slices.Contains(who, s) })
}

// newSecureUpstream starts a registry behind TLS that requires a client certificate of an
// authority.
func newSecureUpstream(t *testing.T, a *authority.Authority, registry string) (address string, k *callers) {
	t.Helper()
	target, err := url.Parse(registry)
	if err != nil {
		t.Fatal(err)
	}
	k = &callers{}
	next := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		k.seen = append(k.seen, fmt.Sprint(r.TLS.PeerCertificates[0].Subject.CommonName, " ", r.TLS.PeerCertificates[0].SerialNumber, " ", r.TLS.ServerName))
		k.mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	srv.TLS = a.Trusting("upstream")
	srv.TLS.ClientCAs, srv.TLS.ClientAuth = srv.TLS.RootCAs, tls.RequireAndVerifyClientCert
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "https://"), k
}

// bellbuoy sends an upstream with TLS the configured server name, requires a certificate of the
// configured CA, and presents its own certificate, in its own look-ups too. It uses a new
// certificate without a restart.
func TestUpstreamOverTLS(t *testing.T) {
	t.Parallel()
	a, stranger := authority.New(t), authority.New(t)
	a.Issue("upstream")
	a.Issue("buoy") // serial 3
	stranger.Issue("buoy")
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true}), harness.NewReceiver(t)
	address, k := newSecureUpstream(t, a, registry.URL)
	start := func(ca, by *authority.Authority) *harness.Buoy {
		settings := fmt.Sprintf("ca_file: %q, server_name: localhost", ca.File("ca.pem"))
		if by != nil {
			settings += fmt.Sprintf(", cert_file: %q, key_file: %q", by.File("buoy.pem"), by.File("buoy.key"))
		}
		return harness.Bellbuoy(t, "upstreams: [{type: registry, url: \"https://"+address+"\", external_url: \"https://registry.example.com\", tls: {"+settings+"}}]\n"+
			"webhooks: [{name: w, url: \""+hooks.URL("/w")+"\", format: bellbuoy, events: [\"*\"]}]\n")
	}
	b, c := start(a, a), plain(t)
	image := harness.NewImage(harness.ImageOptions{LayerSize: 300 << 10})
	pushOver(t, c, b.ProxyURL, "app", "v1", image)
	layer := image.Layers[0].Digest
	if got := must(t, c, http.StatusOK, http.MethodGet, b.ProxyURL+"/v2/app/blobs/"+layer.String(), nil); got.Body != string(image.Blob(layer)) {
		t.Errorf("a blob came as %d bytes", len(got.Body))
	}
	must(t, c, http.StatusAccepted, http.MethodDelete, b.ProxyURL+"/v2/app/manifests/"+image.Digest.String(), nil) // bellbuoy looks it up
	hooks.WaitAt("/w", 2, soon)
	if others := k.others("buoy 3 localhost"); len(others) > 0 {
		t.Errorf("the upstream got requests of %v", others)
	}
	for name, wrong := range map[string]*harness.Buoy{"another CA": start(stranger, a), "no certificate": start(a, nil), "a stranger's certificate": start(a, stranger)} {
		got := must(t, c, http.StatusBadGateway, http.MethodGet, wrong.ProxyURL+"/v2/", nil)
		if !strings.Contains(got.Body, `"UNAVAILABLE"`) || strings.Contains(got.Body, "x509") || strings.Contains(got.Body, "tls") {
			t.Errorf("%s: got %s", name, got.Body)
		}
	}
	a.Issue("buoy")
	if !harness.Eventually(soon, func() bool {
		must(t, c, http.StatusOK, http.MethodGet, b.ProxyURL+"/v2/", nil)
		return k.has("buoy 4 localhost")
	}) {
		t.Error("the upstream never sees the new certificate")
	}
	sound(t, b)
}

// A change of client_ca_file takes effect at once: clients with a certificate of the old CA are
// refused, also if their session could be resumed.
func TestClientCAChanges(t *testing.T) {
	t.Parallel()
	a, other := authority.New(t), authority.New(t)
	a.Issue("server")
	a.Issue("ann")
	other.Issue("eve")
	a.Write(a.File("clients.pem"))
	registry := harness.Registry(t, harness.RegistryOptions{})
	b := front(t, registry.URL, fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}\n", a.File("server.pem"), a.File("server.key"), a.File("clients.pem")))
	get := func(config *tls.Config) (resumed bool, err error) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
		res, err := c.Get("https://" + b.Host + "/v2/")
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		return res.TLS.DidResume, nil
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		a.Write(a.File("clients.pem"))
		ann, eve := a.Trusting("ann"), a.Trusting("")
		ann.ClientSessionCache, ann.MaxVersion = tls.NewLRUClientSessionCache(8), version
		pair, err := tls.LoadX509KeyPair(other.File("eve.pem"), other.File("eve.key"))
		if err != nil {
			t.Fatal(err)
		}
		eve.Certificates = []tls.Certificate{pair}
		if !harness.Eventually(soon, func() bool {
			resumed, err := get(ann)
			return err == nil && resumed
		}) {
			t.Fatal("the client never resumes a session, so the test shows nothing")
		}
		if _, err := get(eve); err == nil {
			t.Error("eve has no certificate of the CA, and is served")
		}
		other.Write(a.File("clients.pem"))
		if !harness.Eventually(soon, func() bool { _, err := get(eve); return err == nil }) {
			t.Fatal("the new CA never counts")
		}
		if resumed, err := get(ann); err == nil {
			t.Errorf("TLS %x: the old CA still counts; resumed: %t", version, resumed)
		}
	}
}
