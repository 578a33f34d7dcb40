package dataplane

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// No log line contains a credential, in whatever part of a request it is.
func TestLogsContainNoSecrets(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Htpasswd: map[string]string{"ann": "hunter2"}})
	b := front(t, registry.URL, "log: {level: debug, access: true}\n")
	c := plain(t)
	for _, h := range [][]string{
		{"Authorization", "Basic YW5uOmh1bnRlcjI="}, {"Authorization", "Bearer hunter2.hunter2.hunter2"}, {"Cookie", "session=hunter2"}, {"Proxy-Authorization", "Basic YW5uOmh1bnRlcjI="},
		{"X-Registry-Auth", "hunter2"}, {"X-Forwarded-User", "hunter2"}, {"Referer", "http://ann:hunter2@h/"},
	} {
		for _, target := range []string{"GET /v2/", "GET /v2/app/manifests/v1?token=hunter2", "PUT /v2/app/manifests/v1?access_token=hunter2", "DELETE /v2/app/manifests/v1", "POST /v2/app/blobs/uploads/?_state=hunter2"} {
			method, path, _ := strings.Cut(target, " ")
			if _, err := send(c, method, b.ProxyURL+path, strings.NewReader(`{"hunter2":1}`), h...); err != nil {
				t.Fatal(err)
			}
		}
	}
	talk(t, b.Host, "GET http://ann:hunter2@h/v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", soon)
	talk(t, b.Host, "GET /v2/ HTTP/1.1\r\nHost: h\r\nAuthorization: hunter2\x00\r\n\r\n", soon)
	registry.Kill() // and log the errors that follow
	_, _ = send(c, http.MethodGet, b.ProxyURL+"/v2/app/manifests/v1?token=hunter2", nil, "Authorization", "Basic YW5uOmh1bnRlcjI=")
	_, _ = send(c, http.MethodPut, b.ProxyURL+"/v2/app/manifests/v1?token=hunter2", strings.NewReader("{}"), "Authorization", "Basic YW5uOmh1bnRlcjI=")
	logs := b.Logs()
	if n := strings.Count(logs, `"message":"request"`); n < 37 {
		t.Errorf("%d lines of access", n)
	}
	for _, secret := range []string{"hunter2", "YW5uOmh1bnRlcjI"} {
		if i := strings.Index(logs, secret); i >= 0 {
			t.Errorf("the log contains the secret %s: %s", secret, logs[max(0, i-500):i+50])
		}
	}
}

// A request's id, its own or a new one, is the same at the registry, in the log and in the event.
// W3C trace headers pass.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	p := newTap(t, registry.URL)
	b := harness.Bellbuoy(t, "log: {access: true}\nupstreams: [{type: registry, url: "+p.URL+"}]\nwebhooks: [{name: w, url: \""+hooks.URL("/w")+"\", format: bellbuoy}]\n")
	c := plain(t)
	for i, given := range []string{"build-4711", "", "with space", strings.Repeat("x", 200), "ä", `"quoted"`} {
		tag := fmt.Sprintf("v%d", i)
		image := harness.NewImage(harness.ImageOptions{})
		pushOver(t, c, registry.URL, "ids", "x"+tag, image)
		const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		header := []string{"Content-Type", image.MediaType, "Traceparent", trace, "Tracestate", "a=1,b=2", "Baggage", "k=v"}
		if given != "" {
			header = append(header, "X-Request-Id", given)
		}
		must(t, c, http.StatusCreated, http.MethodPut, b.ProxyURL+"/v2/ids/manifests/"+tag, strings.NewReader(string(image.Manifest)), header...)
		posts := hooks.WaitAt("/w", i+1, soon)
		arrived := p.take(t)
		if len(arrived) != 1 {
			t.Fatalf("%d requests arrived", len(arrived))
		}
		h := arrived[0].Header
		id := h.Get("X-Request-Id")
		if len(h["X-Request-Id"]) != 1 || id == "" || i == 0 && id != given || i > 0 && id == given {
			t.Errorf("the request id %q became %q", given, h["X-Request-Id"])
		}
		if got := posts[i].Text("request_id"); got != id {
			t.Errorf("the event has %q, the registry got %q", got, id)
		}
		if !harness.Eventually(soon, func() bool { return strings.Contains(b.Logs(), `"request_id":"`+id+`"`) }) {
			t.Errorf("%s is not in the log", id)
		}
		if h.Get("Traceparent") != trace || h.Get("Tracestate") != "a=1,b=2" || h.Get("Baggage") != "k=v" {
			t.Errorf("trace headers arrived as %v", h)
		}
	}
}

// Profiles are served at the admin address only, and require its credential.
func TestProfiles(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	admin := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	b := front(t, registry.URL, fmt.Sprintf("admin: {listen: %q}\n", admin))
	token, err := os.ReadFile(filepath.Join(b.DataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(b.DataDir, "admin.token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.token: %v %v", info.Mode(), err)
	}
	bearer := "Bearer " + strings.TrimSpace(string(token))
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		c := plain(t)
		must(t, c, http.StatusOK, http.MethodGet, "http://"+admin+path, nil, "Authorization", bearer)
		must(t, c, http.StatusUnauthorized, http.MethodGet, "http://"+admin+path, nil)
		must(t, c, http.StatusUnauthorized, http.MethodGet, "http://"+admin+path, nil, "Authorization", bearer+"x")
		must(t, c, http.StatusUnauthorized, http.MethodGet, "http://"+admin+path, nil, "Authorization", "Bearer ")
		must(t, c, http.StatusForbidden, http.MethodGet, "http://"+admin+path, nil, "Authorization", bearer, "Host", "rebound.example.com")
		must(t, c, http.StatusForbidden, http.MethodGet, "http://"+admin+path, nil, "Authorization", bearer, "Origin", "http://evil.example.com")
		must(t, c, http.StatusNotFound, http.MethodGet, b.HealthURL+path, nil, "Authorization", bearer)
		if got, err := send(c, http.MethodGet, b.ProxyURL+path, nil, "Authorization", bearer); err != nil || got.Status != http.StatusNotFound || strings.Contains(got.Body, "goroutine") {
			t.Errorf("the data path answers %s with %d %q", path, got.Status, got.Body)
		}
	}
}

// The number of metric series has a bound, whatever methods, paths, hosts, user agents and names
// clients send.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	b := front(t, registry.URL, "")
	c := plain(t)
	storm := func(n int) {
		for i := range n {
			odd := fmt.Sprintf("odd%d", i)
			for _, target := range []string{odd + " /v2/", "GET /" + odd, "GET /v2/" + odd + "/manifests/" + odd, "HEAD /v2/" + odd + "/" + odd + "/tags/list", "PUT /v2/" + odd + "/manifests/" + odd, "DELETE /v2/" + odd + "/manifests/" + odd} {
				method, path, _ := strings.Cut(target, " ")
				_, err := send(c, method, b.ProxyURL+path, nil, "Host", odd+".example.com", "User-Agent", odd, "Authorization", "Basic "+odd, "Content-Type", "application/"+odd, "X-Forwarded-For", "6.6.6.6")
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	storm(3)
	before := strings.Count(b.Metrics(), "\n")
	storm(150)
	text := b.Metrics()
	if after := strings.Count(text, "\n"); after > before+20 {
		t.Errorf("%d lines of metrics, then %d", before, after)
	}
	if strings.Contains(text, "odd") {
		t.Error("a label was taken from a request")
	}
	sound(t, b)
}
