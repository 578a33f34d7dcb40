package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// At its start, bellbuoy logs why an upstream does not answer its own requests, without the
// password.
func TestStartLogsUnreachableUpstreams(t *testing.T) {
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "right" {
			w.Header().Set("Www-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	plain, secure := httptest.NewServer(guarded), httptest.NewTLSServer(guarded)
	defer plain.Close()
	defer secure.Close()
	otherScheme := func(url string) string {
		return strings.Replace(strings.Replace(url, "https:", "x:", 1), "http:", "https:", 1)
	}
	down := strings.Replace(secure.URL, "https:", "http:", 1)
	for _, kind := range []string{"registry", "chartmuseum"} {
		for name, test := range map[string]struct{ url, login, want string }{
			"no login":    {plain.URL, "", "asks for a login and upstreams[].credentials is not set"},
			"wrong login": {plain.URL, "wrong", "the login (credentials) is refused"},
			"no CA":       {secure.URL, "right", "tls.ca_file names the CA"},
			"https":       {down, "right", "it speaks https, and url says http"},
			"http":        {otherScheme(plain.URL), "right", "does it speak http, not https?"},
			"down":        {"http://127.0.0.1:1", "right", "connection refused"},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				credentials := ""
				if test.login != "" {
					credentials = fmt.Sprintf(", credentials: {username: ops, password: %s}", test.login)
				}
				r := start(t, fmt.Sprintf("upstreams: [{type: %s, url: %q, external_url: http://localhost:1%s}]\n", kind, test.url, credentials))
				if line := r.until(t, `"upstream":"`+kind+`"`); !strings.Contains(line, test.want) || strings.Contains(line, "right") {
					t.Errorf("got the log line %s, want it to contain %q and no password", line, test.want)
				}
			})
		}
	}
}
