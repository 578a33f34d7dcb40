package webhook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewNamesTheField(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	signature := func(s Signature) Options { return Options{Signatures: []Signature{s}} }
	for _, test := range []struct {
		options Options
		want    string // the error's beginning
	}{
		{Options{URL: "-"}, "url: must begin"},
		{Options{URL: "ftp://example.com"}, "url: must begin"},
		{Options{URL: "https:///path"}, "url: has no host"},
		{Options{URL: "https://:443/"}, "url: has no host"},
		{Options{URL: "https://a b/"}, "url: is not a URL"},
		{Options{URL: "https://example.com:0/"}, "url: has an invalid port"},
		{Options{URL: "https://example.com:65536/"}, "url: has an invalid port"},
		{Options{URL: "https://2130706433/"}, "url: has a host that is neither"},
		{Options{URL: "https://127.1/"}, "url: has a host that is neither"},
		{Options{URL: "https://0x7f000001/"}, "url: has a host that is neither"},
		{Options{URL: "https://0177.0.0.1/"}, "url: has a host that is neither"},
		{Options{URL: "https://127.0.0.1./"}, "url: has a host that is neither"},
		{Options{Timeout: -1}, "timeout"},
		{Options{Concurrency: -1}, "timeout, concurrency"},
		{Options{AuthHeader: "a\r\nb"}, "auth_header: "},
		{Options{UserAgent: "a\nb"}, "user_agent: "},
		{Options{Headers: map[string]string{"Webhook-Id": "1"}}, "headers: Webhook-Id"},
		{Options{Headers: map[string]string{"webhook-signature": "1"}}, "headers: Webhook-Signature"},
		{Options{Headers: map[string]string{"content-length": "1"}}, "headers: Content-Length"},
		{Options{Headers: map[string]string{"Transfer-Encoding": "chunked"}}, "headers: Transfer-Encoding"},
		{Options{Headers: map[string]string{"": "x"}}, "headers: "},
		{Options{Headers: map[string]string{"X-A": "a\x00"}}, "headers: the value of X-A"},
		{Options{Headers: map[string]string{"X-A": "1", "x-a": "2"}}, "headers: X-A is set twice"},
		{Options{Headers: map[string]string{"Host": "a/b?c d"}}, "headers: Host"},
		{Options{SigningSecrets: []string{oldSecret, "password"}}, "signing_secrets[1]: must begin with whsec_"},
		{Options{SigningSecrets: []string{"whsec_"}}, "signing_secrets[0]: is not base64"},
		{Options{SigningSecrets: []string{"whsec_!"}}, "signing_secrets[0]: is not base64"},
		{Options{SigningSecrets: []string{"whsk_c2hvcnQ="}}, "signing_secrets[0]: is not an ed25519 key"},
		{signature(Signature{Secret: "s"}), "signatures[0].header: "},
		{signature(Signature{Header: "X-A"}), "signatures[0].secret: is required"},
		{signature(Signature{Header: "X-A", Secret: "s", Algorithm: "md5"}), "signatures[0].algorithm: "},
		{signature(Signature{Header: "X-A", Secret: "s", Encoding: "base32"}), "signatures[0].encoding: "},
		{signature(Signature{Header: "X-A", Secret: "s", Prefix: "a\nb"}), "signatures[0].prefix: "},
		{signature(Signature{Header: "X-A", Secret: "s", Algorithm: "token", Encoding: "hex"}), "signatures[0].encoding: "},
		{signature(Signature{Header: "X-A", Secret: "s\n", Algorithm: "token"}), "signatures[0].secret: "},
		{signature(Signature{Header: "webhook-signature", Secret: "s"}), "signatures[0].header: "},
		{Options{Signatures: []Signature{{Header: "X-A", Secret: "s"}, {Header: "x-a", Secret: "t"}}}, "signatures[1].header: X-A"},
		{Options{AuthHeader: "a", Signatures: []Signature{{Header: "authorization", Secret: "s"}}}, "signatures[0].header: Authorization"},
		{Options{TLS: TLS{CAFile: filepath.Join(dir, "missing")}}, "tls.ca_file: "},
		{Options{TLS: TLS{CAFile: text}}, "tls.ca_file: no certificate"},
		{Options{TLS: TLS{CertFile: text}}, "tls.cert_file: "},
		{Options{TLS: TLS{KeyFile: text}}, "tls.cert_file: "},
		{Options{TLS: TLS{CertFile: text, KeyFile: text}}, "tls.cert_file: "},
		{Options{Proxy: "proxy.example:3128"}, "proxy: "},
		{Options{Proxy: "http://"}, "proxy: is not a URL"},
		{Options{Proxy: "ftp://proxy.example"}, "proxy: must begin"},
		{Options{Proxy: "http://a b"}, "proxy: is not a URL"},
	} {
		if test.options.URL == "" {
			test.options.URL = "https://example.com/"
		}
		_, err := New(test.options)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
	if _, err := New(Options{}); err == nil || err.Error() != "url: is required" {
		t.Error(err)
	}
}

func TestNewAcceptsValidOptions(t *testing.T) {
	for _, o := range []Options{
		{URL: "http://[::1]:8080/"},
		{URL: "https://hooks.x1/"},
		{URL: "https://münchen.example/"},
		{URL: "https://example.com.:8443/?a=b#c"},
		{URL: "https://e/", Proxy: "socks5://u:p@proxy.example:1080"},
		{URL: "https://e/", SigningSecrets: []string{"whsec_dGVzdA", "whsec_dGVzdA=="}},
	} {
		c, err := New(o)
		if err != nil {
			t.Errorf("%s: %v", o.URL, err)
			continue
		}
		if c.timeout != defaultTimeout || c.concurrency != 8 || c.transport.MaxConnsPerHost != 8 {
			t.Errorf("defaults: %v, %d", c.timeout, c.concurrency)
		}
		c.Close()
	}
}
