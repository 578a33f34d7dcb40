package webhook

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/test/authority"
)

func TestRedact(t *testing.T) {
	for raw, want := range map[string]string{
		"https://hooks.slack.com/services/T0/B0/XXXX": "https://hooks.slack.com/…",
		"https://example.com":                         "https://example.com/",
		"https://example.com/":                        "https://example.com/",
		"https://example.com:8443?sig=secret":         "https://example.com:8443/…",
		"https://example.com/#token":                  "https://example.com/…",
		"https://user:pass@example.com/":              "https://example.com/",
		"http://[fe80::1%25eth0]:80/x":                "http://[fe80::1%eth0]:80/…",
		"socks5://u:p@proxy:1080":                     "socks5://proxy:1080/",
		"postgres://u:p@db:5432/bellbuoy?sslmode=off": "postgres://db:5432/…",
		"https://user:pa/ss@example.com/":             "(hidden URL)",
		"https://user:pa?ss@example.com/":             "(hidden URL)",
		"https://user:pa#ss@example.com/":             "(hidden URL)",
		"https://user:p%zz@example.com/":              "(hidden URL)",
		"mailto:someone@example.com":                  "(hidden URL)",
		"hooks.slack.com/services/T0/B0/XXXX":         "(hidden URL)",
		"secret":                                      "(hidden URL)",
		"":                                            "(hidden URL)",
		"https://evil\u202eexample.com/":              "(hidden URL)",
		"//example.com/x":                             "//example.com/…",
	} {
		if got := Redact(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"https://u:p@h:1/p?q=1#f", "//h", "x:y", "https://[::1]/", "h://a@b@c/d@e", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := Redact(raw)
		if got == "(hidden URL)" {
			return
		}
		rest, ok := strings.CutSuffix(got, "/…")
		if !ok {
			rest, ok = strings.CutSuffix(got, "/")
		}
		u, err := url.Parse(raw)
		if err != nil || !ok || !utf8.ValidString(got) {
			t.Fatalf("%q from %q, %v", got, raw, err)
		}
		if scheme := strings.TrimSuffix(rest, "//"+u.Host); scheme == rest || scheme != "" && scheme != u.Scheme+":" {
			t.Errorf("%q shows more than scheme and host: %q", raw, got)
		}
	})
}

func FuzzRedactorText(f *testing.F) {
	f.Add("answered: Bearer s3cr3t-token", "s3cr3t-token")
	f.Add("\x00\xff", "abcdef")
	f.Fuzz(func(t *testing.T, text, secret string) {
		if len(secret) < shortSecret || strings.Contains(hiddenText, secret) || strings.ContainsFunc(secret, unprintable) {
			t.Skip()
		}
		target, _ := url.Parse("https://example.com/")
		got := newRedactor(Options{AuthHeader: secret}, target, nil).text(text)
		if !utf8.ValidString(got) || len(got) > longestText+len("…") || strings.ContainsFunc(got, unprintable) {
			t.Errorf("%q", got)
		}
		if strings.Contains(got, secret) && strings.Contains(text, secret) && !strings.Contains(secret, "*") && !strings.Contains(secret, " ") {
			t.Errorf("%q still contains %q", got, secret)
		}
	})
}

// secretOptions returns options whose secrets all contain the word "hush".
func secretOptions(target string) Options {
	return Options{
		URL:            strings.Replace(target, "://", "://hushuser:hushpass@", 1) + "/services/hush-path-of-a-chat/x?sig=hush-query&key=hush%2Fother",
		AuthHeader:     "Bearer hush-auth",
		Headers:        map[string]string{"X-Api-Key": "hush-header"},
		SigningSecrets: []string{"whsec_hushhushhushhushhushhush"},
		Signatures: []Signature{
			{Header: "X-Hub-Signature-256", Prefix: "sha256=", Secret: "hush-hmac"},
			{Header: "X-Gitlab-Token", Algorithm: "token", Secret: "hush-token"},
		},
		UserAgent: "bellbuoy/test",
	}
}

func TestNoSecretInResults(t *testing.T) {
	// a receiver that sends back everything that it got
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.String())
		w.WriteHeader(map[string]int{"/services/hush-path-of-a-chat/x": 302}[r.URL.Path])
		fmt.Fprintln(w, r.URL.String(), r.URL.Query())
		_ = r.Header.Write(w)
	}
	raw := func(answer func(conn net.Conn, request string)) func(*testing.T) string {
		return func(t *testing.T) string {
			c := rawReceiver(t, func(conn net.Conn) {
				buf := make([]byte, 4096)
				n, _ := conn.Read(buf)
				answer(conn, string(buf[:n]))
				conn.Close()
			})
			return "http://" + c.url.Host
		}
	}
	oneLine := strings.NewReplacer("\r", " ", "\n", " ")
	for name, start := range map[string]func(*testing.T) string{
		"echo": func(t *testing.T) string {
			server := httptest.NewServer(http.HandlerFunc(echo))
			t.Cleanup(server.Close)
			return server.URL
		},
		"no TLS": func(t *testing.T) string {
			return "https" + raw(func(c net.Conn, _ string) { _, _ = io.WriteString(c, "220\r\n") })(t)[4:]
		},
		"nonsense": raw(func(c net.Conn, request string) { _, _ = io.WriteString(c, oneLine.Replace(request)+"\r\n\r\n") }),
		"odd status": raw(func(c net.Conn, request string) {
			_, _ = io.WriteString(c, "HTTP/1.1 "+oneLine.Replace(request)+"\r\n\r\n")
		}),
		"odd reason": raw(func(c net.Conn, request string) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 "+oneLine.Replace(request)+"\r\n\r\n")
		}),
		"odd header": raw(func(c net.Conn, request string) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+oneLine.Replace(request)+"\r\n\r\n")
		}),
		"reset":       raw(func(net.Conn, string) {}),
		"refused":     func(*testing.T) string { return "http://127.0.0.1:1" },
		"denied":      func(*testing.T) string { return "http://169.254.169.254" },
		"unknown":     func(*testing.T) string { return "http://nowhere.invalid" },
		"wrong names": func(t *testing.T) string { return tlsServer(t, authority.New(t), "x.internal", nil, echo).URL },
	} {
		t.Run(name, func(t *testing.T) {
			r := clientFor(t, "http://placeholder", func(o *Options) { *o = secretOptions(start(t)) }).Post(t.Context(), message())
			if r.Err == "" && r.Outcome != Delivered {
				t.Errorf("no text: %+v", r)
			}
			if strings.Contains(r.Err+string(r.Response), "hush") {
				t.Errorf("%s\n%s", r.Err, r.Response)
			}
		})
	}
}

func TestNoSecretInErrorsOfNew(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"url":             func(o *Options) { o.URL = "https://hush:hush@exa mple/hush?hush" },
		"port":            func(o *Options) { o.URL = "https://hush:hush@example:99999/hush" },
		"escape":          func(o *Options) { o.URL = "https://example/hush%zz" },
		"scheme":          func(o *Options) { o.URL = "hush://example/hush" },
		"auth_header":     func(o *Options) { o.AuthHeader += "\n" },
		"header value":    func(o *Options) { o.Headers = map[string]string{"X-A": "hush\n"} },
		"header name":     func(o *Options) { o.Headers = map[string]string{"Bearer hush": ""} },
		"host":            func(o *Options) { o.Headers = map[string]string{"Host": "hush hush/"} },
		"signing secret":  func(o *Options) { o.SigningSecrets = []string{"hush"} },
		"not base64":      func(o *Options) { o.SigningSecrets = []string{"whsec_hush!"} },
		"ed25519":         func(o *Options) { o.SigningSecrets = []string{"whsk_hush"} },
		"algorithm":       func(o *Options) { o.Signatures[0].Algorithm = "hush" },
		"token":           func(o *Options) { o.Signatures[1].Secret = "hush\n" },
		"twice":           func(o *Options) { o.Signatures[1].Header = o.Signatures[0].Header },
		"proxy":           func(o *Options) { o.Proxy = "http://hush:hush@pro xy/" },
		"proxy's scheme":  func(o *Options) { o.Proxy = "hush://hush@proxy/" },
		"proxy, no host":  func(o *Options) { o.Proxy = "hush:hush" },
		"proxy's escapes": func(o *Options) { o.Proxy = "http://hush%zz:hush@proxy/" },
	} {
		o := secretOptions("https://example.com")
		spoil(&o)
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretAtEndOfCutResponse(t *testing.T) {
	const secret = "hush-auth-of-some-length"
	for before := storedResponse - len(secret) - 2; before <= storedResponse+2; before++ {
		c := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("-", before)+secret+strings.Repeat("-", 100))
		}, func(o *Options) { o.AuthHeader = secret })
		r := c.Post(t.Context(), message())
		if strings.Contains(string(r.Response), "h") || len(r.Response) > storedResponse {
			t.Errorf("after %d bytes: …%s", before, r.Response[len(r.Response)-40:])
		}
	}
}
