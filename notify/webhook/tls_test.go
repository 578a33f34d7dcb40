package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// authority is a private CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := certificate("test CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert, a.key = template, a.newKey()
	a.cert = a.sign(template, a.key)
	return a
}

func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

func (a *authority) pair(name string) tls.Certificate {
	key := a.newKey()
	return tls.Certificate{Certificate: [][]byte{a.sign(certificate(name), key).Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) writeCA(file string) {
	writePEM(a.t, file, "CERTIFICATE", a.cert.Raw)
}

func (a *authority) writePair(name, certFile, keyFile string) {
	pair := a.pair(name)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	writePEM(a.t, certFile, "CERTIFICATE", pair.Certificate[0])
	writePEM(a.t, keyFile, "PRIVATE KEY", key)
}

// writePEM replaces the file, as whoever rotates certificates does.
func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// tlsServer is at 127.0.0.1 and has a certificate for name; clients, unless nil, must show one it trusts.
func tlsServer(t *testing.T, ca *authority, name string, clients *x509.CertPool, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair(name)}}
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
	ca, dir := newAuthority(t), t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	ca.writeCA(file)
	other := filepath.Join(dir, "other.pem")
	newAuthority(t).writeCA(other)
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
		"not verified, as was asked":  {TLS{InsecureSkipVerify: true}, true},
		"not verified, CA named, too": {TLS{InsecureSkipVerify: true, CAFile: other}, true},
		"the address as its name":     {TLS{CAFile: file, ServerName: "127.0.0.1"}, false},
	} {
		r := clientFor(t, server.URL, func(o *Options) { o.TLS = test.tls }).Post(t.Context(), message())
		if test.open && r.Outcome != Delivered || !test.open && (r.Outcome != Retry || r.Reason != ReasonTLS) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if proto.Load() != "HTTP/2.0" {
		t.Errorf("spoke %v", proto.Load())
	}
}

func TestClientCertificate(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	caFile, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	ca.writeCA(caFile)
	ca.writePair("bellbuoy", cert, key)
	handler := func(_ http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].Subject.CommonName != "bellbuoy" {
			t.Error("another certificate")
		}
	}
	servers := map[uint16]*httptest.Server{}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		servers[version] = tlsServer(t, ca, "hooks.internal", ca.pool(), handler)
		servers[version].TLS.MaxVersion = version
	}
	stranger := newAuthority(t)
	strangeCert, strangeKey := filepath.Join(dir, "s.crt"), filepath.Join(dir, "s.key")
	stranger.writePair("bellbuoy", strangeCert, strangeKey)
	for name, test := range map[string]struct {
		cert, key string
		open      bool
	}{"ours": {cert, key, true}, "none": {"", "", false}, "a stranger's": {strangeCert, strangeKey, false}} {
		for version, server := range servers {
			r := clientFor(t, server.URL, func(o *Options) {
				o.TLS = TLS{CAFile: caFile, ServerName: "hooks.internal", CertFile: test.cert, KeyFile: test.key}
			}).Post(t.Context(), message())
			// In TLS 1.3 the server refuses after our side is done: its alert and our broken write race.
			refused := r.Outcome == Retry && (r.Reason == ReasonTLS || version == tls.VersionTLS13 && r.Reason == ReasonReset)
			if test.open && r.Outcome != Delivered || !test.open && !refused {
				t.Errorf("%s, %s: %+v", name, tls.VersionName(version), r)
			}
		}
	}
}

func TestTLSFilesAreReadAgain(t *testing.T) {
	before, after, dir := newAuthority(t), newAuthority(t), t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	before.writeCA(file)
	server := tlsServer(t, after, "hooks.internal", nil, func(http.ResponseWriter, *http.Request) {})
	c := clientFor(t, server.URL, func(o *Options) { o.TLS = TLS{CAFile: file, ServerName: "hooks.internal"} })
	if r := c.Post(t.Context(), message()); r.Reason != ReasonTLS {
		t.Fatalf("before the rotation: %+v", r)
	}
	after.writeCA(file)
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
