package console

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

var update = flag.Bool("update", false, "make docs/console.png again")

// picture is what README shows.
const picture = "../../docs/console.png"

// The picture of README shows webhooks in each state, as a small team has them. Their receivers
// have the names of an example, which a proxy leads to one server of the test.
//
//	go test -mod=mod -run TestScreenshot -update .
func TestScreenshot(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real parts")
	}
	ca := authority.New(t)
	s := newStageWith(t, harness.BuoyOptions{Env: []string{"HTTPS_PROXY=" + exampleReceivers(t, ca), "SSL_CERT_FILE=" + ca.CA()}}, "https://registry.example.com", `
webhooks:
  - {name: deploy, preset: argocd, auth_header: example, url: https://argocd.example.com/api/webhook, description: Argo CD syncs at once}
  - {name: audit, format: cloudevents, events: ["*"], url: https://ingest.example.com/v1/collect, description: "Everything, for the warehouse"}
`)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	for _, w := range []struct{ name, project, description, kind, url string }{
		{"release-channel", "platform", "Releases, in #platform", "slack", "https://hooks.slack.com/services/T024BE7LD/B0A1Q2W3E/example"},
		{"build-cache", "platform", "Warms the cache", "http", "https://cache.example.com/hooks/registry"},
		{"old-ci", "web", "", "http", "https://jenkins.example.com/dockerregistry-webhook/notify"},
	} {
		b.visit("/webhooks/new")
		b.fill("Name", w.name)
		b.fill("Project", w.project)
		b.fill("Description", w.description)
		b.choose("Notify type", w.kind)
		b.fill("Endpoint URL", w.url)
		b.follow("button", "Save")
		b.says("The webhook is saved.")
	}
	for _, reference := range []string{"platform/api:v1.40.0", "platform/worker:v1.40.0", "web/shop:v3.2.0", "web/shop:v3.2.1", "platform/api:v1.40.1", "platform/worker:v1.40.1", "web/shop:v3.3.0"} {
		s.push(reference)
	}
	b.visit("/webhooks")
	s.act(b, "Disable", "build-cache")
	b.size(1440, 800)
	states := map[string]string{"deploy": "Enabled http argocd", "audit": "Enabled Failing Circuit open", "release-channel": "Enabled slack", "build-cache": "Disabled http", "old-ci": "Disabled Answered 410"}
	for name, state := range states {
		if !harness.Eventually(soon, func() bool { b.visit("/webhooks"); return strings.Contains(b.row(name), state) }) {
			t.Errorf("%s is not %s: %s", name, state, b.row(name))
		}
	}
	value[string](b, `document.documentElement.style.scrollbarGutter = "auto"`)
	b.size(1440, value[int64](b, "document.querySelector('main').getBoundingClientRect().bottom | 0"))
	got, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		harness.WriteFile(t, picture, string(got))
	}
	if got, err = os.ReadFile(picture); err != nil {
		t.Fatal(err)
	}
	if c, err := png.DecodeConfig(bytes.NewReader(got)); err != nil || c.Width != 1440 || len(got) > 200<<10 {
		t.Errorf("%s: %d wide, %d bytes, %v", picture, c.Width, len(got), err)
	}
}

// exampleReceivers returns the address of a proxy that leads to all receivers of the picture.
func exampleReceivers(t *testing.T, ca *authority.Authority) string {
	t.Helper()
	pair := ca.Issue("receivers", func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com", "hooks.slack.com"} })
	receivers := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Host {
		case "ingest.example.com":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "jenkins.example.com":
			w.WriteHeader(http.StatusGone)
		}
	}))
	receivers.TLS = &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}
	receivers.StartTLS()
	t.Cleanup(receivers.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, err := (&net.Dialer{}).DialContext(context.WithoutCancel(r.Context()), "tcp", receivers.Listener.Addr().String())
		if r.Method != http.MethodConnect || err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			to.Close()
			return
		}
		pipe(from, to)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// pipe copies both ways until one side closes.
func pipe(a, b net.Conn) {
	go func() {
		_, _ = io.Copy(a, b)
		a.Close()
	}()
	_, _ = io.Copy(b, a)
	b.Close()
}
