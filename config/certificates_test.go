package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writePair writes name.crt and name.key into the working directory: a certificate for that time, and its key.
func writePair(t *testing.T, name string, from, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".crt": {Type: "CERTIFICATE", Bytes: cert},
		name + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Chdir(t.TempDir())
	now := time.Now()
	writePair(t, "good", now.Add(-time.Hour), now.Add(time.Hour))
	writePair(t, "other", now.Add(-time.Hour), now.Add(time.Hour))
	writePair(t, "old", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2021, 2, 3, 0, 0, 0, 0, time.UTC))
	writePair(t, "early", time.Date(2220, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2221, 1, 1, 0, 0, 0, 0, time.UTC))
	for name, text := range map[string]string{
		"text":   "x",
		"broken": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct{ tls, want string }{
		"good":            {tls: "{cert_file: good.crt, key_file: good.key, client_ca_file: other.crt}"},
		"of another key":  {"{cert_file: good.crt, key_file: other.key}", "tls.cert_file: cannot be used with key_file: private key does not match public key"},
		"swapped":         {"{cert_file: good.key, key_file: good.crt}", "tls.cert_file: \"good.key\" holds no certificate (PEM)\ntls.key_file: \"good.crt\" holds no private key (PEM)"},
		"no PEM":          {"{cert_file: text, key_file: good.key}", `tls.cert_file: "text" holds no certificate (PEM)`},
		"CA without":      {"{cert_file: good.crt, key_file: good.key, client_ca_file: good.key}", `tls.client_ca_file: "good.key" holds no certificate (PEM)`},
		"broken CA":       {"{cert_file: good.crt, key_file: good.key, client_ca_file: broken}", `tls.client_ca_file: "broken" holds no certificate that can be read`},
		"expired":         {"{cert_file: old.crt, key_file: old.key}", "warning: tls.cert_file: the certificate has expired: it was valid until 2021-02-03"},
		"not valid yet":   {"{cert_file: early.crt, key_file: early.key}", "warning: tls.cert_file: the certificate is not valid before 2220-01-01"},
		"expired CA":      {"{cert_file: good.crt, key_file: good.key, client_ca_file: old.crt}", "warning: tls.client_ca_file: every certificate in it has expired, the last one on 2021-02-03"},
		"unreadable once": {"{cert_file: gone.crt, key_file: good.key}", `tls.cert_file: "gone.crt" cannot be read: no such file or directory`},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, found("tls: "+tt.tls)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestCertificatesEverywhere: those of clients and of the admin address are looked at as well.
func TestCertificatesEverywhere(t *testing.T) {
	t.Chdir(t.TempDir())
	writePair(t, "a", time.Now(), time.Now().Add(time.Hour))
	writePair(t, "b", time.Now(), time.Now().Add(time.Hour))
	for add, want := range map[string]string{
		"admin: {tls: {cert_file: a.crt, key_file: b.key}}":      "admin.tls.cert_file: cannot be used with key_file: private key does not match public key",
		"    tls: {cert_file: a.crt, key_file: b.key}":           "webhooks[0].tls.cert_file: cannot be used with key_file: private key does not match public key",
		"    tls: {ca_file: a.key}":                              `webhooks[0].tls.ca_file: "a.key" holds no certificate (PEM)`,
		"    tls: {ca_file: a.crt, insecure_skip_verify: false}": "",
	} {
		if diff := cmp.Diff(want, found(add)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", add, diff)
		}
	}
}

// found is what is said about the smallest file with something added: problems, then warnings.
func found(add string) string {
	_, warnings, err := Parse("f", []byte(smallest+add), noEnv)
	got := messages(err)
	if len(warnings) > 0 {
		got += "warning: " + messages(Problems(warnings))
	}
	return got
}

func TestWhatIsThere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for add, want := range map[string]string{
		"data_dir: file": "data_dir: is not a directory",
		"data_dir: .":    "",
		"shutdown_grace: 5s\ndatabase: postgres://db/x": "warning: shutdown_delay: leaves nothing of shutdown_grace (5s) to what is then still in flight",
		"shutdown_grace: 5s":                            "",
		"store: {retention: {max_size: 10}}":            "warning: store.retention.max_size: is 10 bytes: next to nothing that was delivered is kept; a number without a unit is bytes",
		"store: {retention: {max_size: 1MiB}}":          "",
		"listen: ':5081'":                               "listen: is taken by health.listen, whose default is :5081",
		"health: {listen: ':5080'}":                     "health.listen: is taken by listen",
	} {
		if diff := cmp.Diff(want, found(add)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", add, diff)
		}
	}
}
