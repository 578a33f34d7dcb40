package config

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/google/go-cmp/cmp"
)

// valid sets the period in which a certificate is valid.
func valid(from, until time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, until }
}

func TestCertificates(t *testing.T) {
	ca := authority.New(t)
	t.Chdir(ca.File("."))
	ca.Issue("good")
	ca.Issue("other")
	ca.Issue("old", valid(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2021, 2, 3, 0, 0, 0, 0, time.UTC)))
	ca.Issue("early", valid(time.Date(2220, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2221, 1, 1, 0, 0, 0, 0, time.UTC)))
	for name, text := range map[string]string{
		"text":   "x",
		"broken": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct{ tls, want string }{
		"good":                            {tls: "{cert_file: good.pem, key_file: good.key, client_ca_file: other.pem}"},
		"of another key":                  {"{cert_file: good.pem, key_file: other.key}", "tls.cert_file: cannot be used with key_file: private key does not match public key"},
		"swapped":                         {"{cert_file: good.key, key_file: good.pem}", "tls.cert_file: \"good.key\" contains no certificate (PEM)\ntls.key_file: \"good.pem\" contains no private key (PEM)"},
		"no PEM":                          {"{cert_file: text, key_file: good.key}", `tls.cert_file: "text" contains no certificate (PEM)`},
		"CA file without CA":              {"{cert_file: good.pem, key_file: good.key, client_ca_file: good.key}", `tls.client_ca_file: "good.key" contains no certificate (PEM)`},
		"broken CA":                       {"{cert_file: good.pem, key_file: good.key, client_ca_file: broken}", `tls.client_ca_file: "broken" contains no valid certificate`},
		"expired":                         {"{cert_file: old.pem, key_file: old.key}", "warning: tls.cert_file: the certificate has expired: it was valid until 2021-02-03"},
		"not valid yet":                   {"{cert_file: early.pem, key_file: early.key}", "warning: tls.cert_file: the certificate is not valid before 2220-01-01"},
		"expired CA":                      {"{cert_file: good.pem, key_file: good.key, client_ca_file: old.pem}", "warning: tls.client_ca_file: every certificate in it has expired, the last one on 2021-02-03"},
		"a missing file is reported once": {"{cert_file: gone.pem, key_file: good.key}", `tls.cert_file: "gone.pem" cannot be read: no such file or directory`},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, found("tls: "+tt.tls)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestCertificatesEverywhere: certificates for clients and for the admin address are checked too.
func TestCertificatesEverywhere(t *testing.T) {
	ca := authority.New(t)
	t.Chdir(ca.File("."))
	ca.Issue("a")
	ca.Issue("b")
	for add, want := range map[string]string{
		"admin: {tls: {cert_file: a.pem, key_file: b.key}}":      "admin.tls.cert_file: cannot be used with key_file: private key does not match public key",
		"    tls: {cert_file: a.pem, key_file: b.key}":           "webhooks[0].tls.cert_file: cannot be used with key_file: private key does not match public key",
		"    tls: {ca_file: a.key}":                              `webhooks[0].tls.ca_file: "a.key" contains no certificate (PEM)`,
		"    tls: {ca_file: a.pem, insecure_skip_verify: false}": "",
	} {
		if diff := cmp.Diff(want, found(add)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", add, diff)
		}
	}
}

// found returns the problems and warnings of the smallest file with an addition.
func found(add string) string {
	_, warnings, err := Parse("f", []byte(smallest+add), noEnv)
	got := messages(err)
	if len(warnings) > 0 {
		got += "warning: " + messages(Problems(warnings))
	}
	return got
}

func TestDirectoriesAndListeners(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for add, want := range map[string]string{
		"data_dir: file": "data_dir: is not a directory",
		"data_dir: .":    "",
		"shutdown_grace: 5s\ndatabase: postgres://db/x": "warning: shutdown_delay: leaves no time of shutdown_grace (5s) for requests in flight",
		"shutdown_grace: 5s":                            "",
		"store: {retention: {max_size: 10}}":            "warning: store.retention.max_size: is 10 bytes, which keeps almost no delivered events; a number without a unit is bytes",
		"store: {retention: {max_size: 1MiB}}":          "",
		"listen: ':5081'":                               "listen: is used by health.listen, whose default is :5081",
		"health: {listen: ':5080'}":                     "health.listen: is used by listen",
	} {
		if diff := cmp.Diff(want, found(add)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", add, diff)
		}
	}
}
