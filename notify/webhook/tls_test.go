package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
)

// named removes the addresses from a certificate, so that it is valid for its name only.
func named(c *x509.Certificate) {
	c.IPAddresses, c.DNSNames = nil, []string{c.Subject.CommonName}
}

// tlsServer starts a server at 127.0.0.1 with a certificate for name. If clients is not nil,
// clients need a certificate from it.
func tlsServer(t *testing.T, ca *authority.Authority, name string, clients *x509.CertPool, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(name, named).Certificate}}
	if clients != nil {
		server.TLS.ClientCAs, server.TLS.ClientAuth = clients, tls.RequireAndVerifyClientCert
	}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestServerIsVerified(t *testing.T) {
	ca, dir := authority.New(t), t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	ca.Write(file)
	other := filepath.Join(dir, "other.pem")
	authority.New(t).Write(other)
	var proto atomic.Value
	server := tlsServer(t, ca, "hooks.internal", nil, func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) })
	for name, test := range map[string]struct {
		tls  TLS
		open bool
	}{
		"system roots":                {TLS{ServerName: "hooks.internal"}, false},
		"private CA":                  {TLS{CAFile: file, ServerName: "hooks.internal"}, true},
		"another CA":                  {TLS{CAFile: other, ServerName: "hooks.internal"}, false},
		"name of the URL":             {TLS{CAFile: file}, false},
		"wrong server name":           {TLS{CAFile: file, ServerName: "evil.internal"}, false},
		"not verified, as configured": {TLS{InsecureSkipVerify: true}, true},
		"not verified, CA named, too": {TLS{InsecureSkipVerify: true, CAFile: other}, true},
		"the address as its name":     {TLS{CAFile: file, ServerName: "127.0.0.1"}, false},
	} {
		r := clientFor(t, server.URL, func(o *Options) { o.TLS = test.tls }).Post(t.Context(), message())
		if test.open && r.Outcome != Delivered || !test.open && (r.Outcome != Retry || r.Reason != ReasonTLS) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	unknown := clientFor(t, server.URL, func(o *Options) { o.TLS = TLS{CAFile: other, ServerName: "hooks.internal"} })
	if r := unknown.Post(t.Context(), message()); !strings.Contains(r.Err, "tls.ca_file names the CA") {
		t.Errorf("the error of an unknown CA is %q, want it to name the key", r.Err)
	}
	if proto.Load() != "HTTP/2.0" {
		t.Errorf("spoke %v", proto.Load())
	}
}

func TestClientCertificate(t *testing.T) {
	ca := authority.New(t)
	ours := ca.Issue("bellbuoy", named)
	handler := func(_ http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].Subject.CommonName != "bellbuoy" {
			t.Error("another certificate")
		}
	}
	servers := map[uint16]*httptest.Server{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		servers[version] = tlsServer(t, ca, "hooks.internal", ca.Pool(), handler)
		servers[version].TLS.MaxVersion = version
	}
	strange := authority.New(t).Issue("bellbuoy", named)
	for name, test := range map[string]struct {
		cert, key string
		open      bool
	}{"ours": {ours.Cert, ours.Key, true}, "none": {"", "", false}, "a stranger's": {strange.Cert, strange.Key, false}} {
		for version, server := range servers {
			r := clientFor(t, server.URL, func(o *Options) {
				o.TLS = TLS{CAFile: ca.CA(), ServerName: "hooks.internal", CertFile: test.cert, KeyFile: test.key}
			}).Post(t.Context(), message())
			// In TLS 1.3 the server refuses after the client has finished its
			// handshake. The client then gets the alert or a failed write.
			refused := r.Outcome == Retry && (r.Reason == ReasonTLS || version == tls.VersionTLS13 && r.Reason == ReasonReset)
			if test.open && r.Outcome != Delivered || !test.open && !refused {
				t.Errorf("%s, %s: %+v", name, tls.VersionName(version), r)
			}
		}
	}
}

func TestTLSFilesAreReadAgain(t *testing.T) {
	before, after, dir := authority.New(t), authority.New(t), t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	before.Write(file)
	server := tlsServer(t, after, "hooks.internal", nil, func(http.ResponseWriter, *http.Request) {})
	c := clientFor(t, server.URL, func(o *Options) { o.TLS = TLS{CAFile: file, ServerName: "hooks.internal"} })
	if r := c.Post(t.Context(), message()); r.Reason != ReasonTLS {
		t.Fatalf("before the rotation: %+v", r)
	}
	after.Write(file)
	if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
		t.Fatalf("after it: %+v", r)
	}
	if err := os.WriteFile(file, []byte("half a certifi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
		t.Errorf("with a broken file: %+v", r)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
		t.Errorf("with no file: %+v", r)
	}
}

func TestPlainHTTPBehindAnHTTPSURL(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	if r := clientFor(t, "https"+server.URL[4:]).Post(t.Context(), message()); r.Reason != ReasonTLS || r.Outcome != Retry {
		t.Errorf("%+v", r)
	}
}
