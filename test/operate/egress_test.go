package operate

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// No webhook reaches bellbuoy itself, cloud metadata or addresses in egress.deny, in any form of
// the address. An IP address is refused when the file is read, a name when it is dialled.
func TestEgress(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	port := harness.FreePort(t)
	base := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nlog: {access: true}\negress: {deny: [198.51.100.0/24]}\n", port) + harness.RegistryUpstream(registry.URL) +
		"webhooks:\n  - {name: good, url: \"" + hooks.URL("/good") + "\"}\n"
	hook := func(name, url string) string {
		return fmt.Sprintf("  - {name: %s, url: %q, timeout: 20s, retry: [0s, 1h]}\n", name, url)
	}
	addresses := map[string]string{
		"own":      "127.0.0.1",
		"zero":     "0.0.0.0",
		"mapped":   "::ffff:127.0.0.1",
		"metadata": "169.254.169.254",
		"nat64":    "64:ff9b::a9fe:a9fe",
		"range":    "198.51.100.7",
	}
	named, hosts := base, "127.0.0.1 localhost\n"
	for name, address := range addresses {
		file := filepath.Join(t.TempDir(), "bellbuoy.yaml")
		harness.WriteFile(t, file, base+hook(name, fmt.Sprintf("http://%s/", net.JoinHostPort(address, strconv.Itoa(port)))))
		if out, err := harness.Try(t, nil, harness.Binary(t), "check", file); err == nil || !strings.Contains(out, "webhooks[1].url: denied by egress") {
			t.Errorf("check of %s: %v, %s", name, err, out)
		}
		named += hook(name, fmt.Sprintf("http://%s.test:%d/", name, port))
		hosts += address + " " + name + ".test\n"
	}

	launch := harness.Hosts(t, hosts)
	if launch == nil {
		t.Skip("giving bellbuoy names of its own in /etc/hosts needs root")
	}
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Port: port, Launch: launch}, named)
	harness.Push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/good", 1, harness.Soon)
	for name := range addresses {
		harness.Eventually(harness.Soon, func() bool { return harness.FirstDelivery(t, b, name).Attempts > 0 })
		if d := harness.FirstDelivery(t, b, name); d.Attempts == 0 || d.Status != 0 || !strings.Contains(d.Reason, "denied") {
			t.Errorf("%s: %+v, want it denied", name, d)
		}
	}
	harness.Must(t, http.StatusOK, http.MethodGet, b.ProxyURL+"/v2/", nil)
	b.WaitLog(`"user_agent":"curl/8.0"`, harness.Soon)
	if strings.Contains(b.Logs(), `"user_agent":"bellbuoy/`) {
		t.Error("a webhook came back to bellbuoy")
	}
}
