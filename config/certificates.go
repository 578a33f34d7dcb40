package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"strings"
	"time"
)

// maxPEM bounds the size of a file with certificates. A system's CA bundle has a quarter of a
// megabyte.
const maxPEM = 4 << 20

// pair checks that a certificate and its key are both given and belong together. It warns of an
// expired certificate.
func (v *validator) pair(path, cert, key string) {
	certAt, keyAt := join(path, "cert_file"), join(path, "key_file")
	if cert != "" && key == "" {
		v.problem(keyAt, "is missing: cert_file needs it")
	}
	if key != "" && cert == "" {
		v.problem(certAt, "is missing: key_file needs it")
	}
	chain, certRead := v.pem(certAt, cert, "CERTIFICATE", "no certificate")
	secret, keyRead := v.pem(keyAt, key, "PRIVATE KEY", "no private key")
	if !certRead || !keyRead {
		return
	}
	both, err := tls.X509KeyPair(chain, secret)
	if err != nil {
		v.problem(certAt, "cannot be used with key_file: %s", strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	switch now := time.Now(); {
	case now.After(both.Leaf.NotAfter):
		v.warning(certAt, "the certificate has expired: it was valid until %s", day(both.Leaf.NotAfter))
	case now.Before(both.Leaf.NotBefore):
		v.warning(certAt, "the certificate is not valid before %s", day(both.Leaf.NotBefore))
	}
}

// authorities checks a file of CA certificates. It warns if all of them have expired.
func (v *validator) authorities(path, file string) {
	bundle, read := v.pem(path, file, "CERTIFICATE", "no certificate")
	if !read {
		return
	}
	var last time.Time
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
	switch {
	case last.IsZero():
		v.problem(path, "%s contains no valid certificate", v.show(path))
	case time.Now().After(last):
		v.warning(path, "every certificate in it has expired, the last one on %s", day(last))
	}
}

// pem returns the content of a file that contains a PEM block of the kind. It does not report a
// file that cannot be read, because files does.
func (v *validator) pem(path, name, kind, none string) (content []byte, ok bool) {
	if name == "" {
		return nil, false
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, false
	}
	defer file.Close()
	content, err = io.ReadAll(io.LimitReader(file, maxPEM))
	if err != nil {
		v.problem(path, "%s cannot be read: %v", v.show(path), withoutPath(err))
		return nil, false
	}
	if !holds(content, kind) {
		v.problem(path, "%s contains %s (PEM)", v.show(path), none)
		return nil, false
	}
	return content, true
}

func holds(content []byte, kind string) bool {
	for block, rest := pem.Decode(bytes.TrimSpace(content)); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
	return false
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
