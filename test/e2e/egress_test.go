package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// No webhook reaches bellbuoy itself or the cloud's metadata, however its address is spelt, nor what egress.deny names.
func TestEgress(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	port := harness.FreePort(t)
	denied := map[string]string{
		"own":      fmt.Sprintf("http://127.0.0.1:%d/v2/loop/manifests/x", port),
		"named":    fmt.Sprintf("http://localhost:%d/", port),
		"zero":     fmt.Sprintf("http://0.0.0.0:%d/", port),
		"mapped":   fmt.Sprintf("http://[::ffff:127.0.0.1]:%d/", port),
		"metadata": "http://169.254.169.254/latest/meta-data/",
		"nat64":    "http://[64:ff9b::a9fe:a9fe]/",
		"range":    "http://198.51.100.7/",
	}
	config := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nlog: {access: true}\negress: {deny: [198.51.100.0/24]}\n", port) + registryUpstream(registry.URL) +
		"webhooks:\n  - {name: good, url: \"" + hooks.URL("/good") + "\"}\n"
	for name, url := range denied {
		config += fmt.Sprintf("  - {name: %s, url: %q, timeout: 20s, retry: [0s, 1h]}\n", name, url)
	}
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Port: port}, config)
	push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/good", 1, soon)
	for name := range denied {
		eventually(t, soon, func() bool { return firstDelivery(t, b, name).Attempts > 0 })
		if d := firstDelivery(t, b, name); d.Attempts == 0 || d.Status != 0 || !strings.Contains(d.Reason, "egress") && !strings.Contains(d.Reason, "denied") {
			t.Errorf("%s: %+v, want it denied", name, d)
		}
	}
	must(t, http.StatusOK, http.MethodGet, b.ProxyURL+"/v2/", nil)
	b.WaitLog(`"user_agent":"curl/8.0"`, soon)
	if strings.Contains(b.Logs(), `"user_agent":"bellbuoy/`) {
		t.Error("a webhook came back to bellbuoy")
	}
}
