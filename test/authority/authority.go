// Package authority makes the certificates of all tests, as files and in memory: each test has a
// certificate authority of its own. The package imports nothing of this module, so that unit tests
// can use it as well as test/harness.
//
//	ca := authority.New(t)
//	server := ca.Issue("server")
//	config := fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", server.Cert, server.Key)
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// T is the part of testing.TB that this package needs.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	TempDir() string
}

// An Authority issues certificates, into files of its directory. ca.pem is its own certificate.
type Authority struct {
	t    T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last atomic.Int64 // serial number
}

// A Pair is a certificate and its key.
type Pair struct {
	tls.Certificate
	Cert, Key string // PEM files
	Both      string // one PEM file with both, as HAProxy and curl read them
}

// New makes an authority.
func New(t T) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	a.cert = a.template("test CA")
	a.cert.IsCA, a.cert.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	a.cert.IPAddresses, a.cert.DNSNames, a.cert.ExtKeyUsage = nil, nil, nil
	a.key = a.newKey()
	a.cert = a.sign(a.cert, &a.key.PublicKey)
	a.Write(a.CA())
	return a
}

// Issue makes a certificate with the next serial number (the first is 2): for 127.0.0.1, localhost
// and the name, for servers and clients, valid from an hour ago to a day from now. It writes
// NAME.pem, NAME.key and NAME.both, and replaces existing files. Each edit changes the certificate
// before it is signed.
func (a *Authority) Issue(name string, edits ...func(*x509.Certificate)) Pair {
	a.t.Helper()
	template := a.template(name)
	for _, edit := range edits {
		edit(template)
	}
	key := a.newKey()
	signed := a.sign(template, &key.PublicKey)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatalf("encoding a key: %v", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed.Raw})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	p := Pair{
		Certificate: tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key, Leaf: signed},
		Cert:        a.File(name + ".pem"), Key: a.File(name + ".key"), Both: a.File(name + ".both"),
	}
	a.replace(p.Cert, certPEM)
	a.replace(p.Key, keyPEM)
	a.replace(p.Both, append(certPEM, keyPEM...))
	return p
}

// File returns the path of a file in the authority's directory.
func (a *Authority) File(name string) string { return filepath.Join(a.dir, name) }

// CA returns the path of the file with the authority's own certificate.
func (a *Authority) CA() string { return a.File("ca.pem") }

// Write writes the authority's own certificate to a file, or replaces the file with it.
func (a *Authority) Write(path string) {
	a.t.Helper()
	a.replace(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// Pool returns a pool with the authority's certificate only.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Trusting returns a TLS configuration that trusts only the authority. If name is not "", it has
// the client certificate that was issued to the name.
func (a *Authority) Trusting(name string) *tls.Config {
	a.t.Helper()
	c := &tls.Config{RootCAs: a.Pool()}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.File(name+".pem"), a.File(name+".key"))
		if err != nil {
			a.t.Fatalf("%v", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func (a *Authority) template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.last.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", name},
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatalf("making a key: %v", err)
	}
	return key
}

func (a *Authority) sign(template *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		a.t.Fatalf("signing a certificate: %v", err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatalf("reading back a certificate: %v", err)
	}
	return signed
}

// replace writes a file in one step: a reader sees the old or the new content.
func (a *Authority) replace(path string, content []byte) {
	a.t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		a.t.Fatalf("%v", err)
	}
	if err := os.Rename(next, path); err != nil {
		a.t.Fatalf("%v", err)
	}
}
