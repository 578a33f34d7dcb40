package operate

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// follow opens a stream of events with a token and returns its lines. The channel is closed when
// the stream ends.
func (d *desk) follow(token string) <-chan string {
	d.t.Helper()
	req, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/api/v1/events/stream", d.port), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("opening a stream of events: %v, %v", resp, err)
	}
	d.t.Cleanup(func() { resp.Body.Close() })
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			lines <- in.Text()
		}
	}()
	return lines
}

// An open stream of events ends when a reload limits its account. Streams of other accounts
// continue.
func TestStreamEndsWithItsAccount(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	d := newDesk(t, harness.RegistryUpstream(registry.URL))
	config := deskConfig(t, d.port, harness.RegistryUpstream(registry.URL))
	dev, ops := d.follow(devToken), d.follow(opsToken)
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	for _, lines := range []<-chan string{dev, ops} {
		if line := <-lines; !strings.Contains(line, "team/app") {
			t.Fatalf("got the line %q", line)
		}
	}
	d.Reload(strings.Replace(config, devToken+", projects: [team]", devToken+", projects: [other]", 1))
	select {
	case line, open := <-dev:
		if open {
			t.Errorf("after the reload: %q", line)
		}
	case <-time.After(harness.Soon):
		t.Error("the stream of the limited account goes on")
	}
	harness.Push(t, d.ProxyURL, "team/app", "v2", harness.NewImage(harness.ImageOptions{}))
	if line := <-ops; !strings.Contains(line, "team/app") {
		t.Errorf("the stream of the other account: %q", line)
	}
}

// Redelivery and replay do not change a webhook: an administrator's webhook, in a project of a
// limited account, reaches its private receiver even if the limited account requests the
// redelivery. A test send has the limits of the account.
func TestRedeliveryOfAnAdministratorsWebhook(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	d := newDesk(t, harness.RegistryUpstream(registry.URL))
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	harness.Push(t, d.ProxyURL, "secret/app", "v1", harness.NewImage(harness.ImageOptions{}))
	d.v1("ops", "POST", "/webhooks", fmt.Sprintf(`{"project":"team","definition":{"name":"a","url":%q}}`, hooks.URL("/team")), 201)
	d.v1("ops", "POST", "/webhooks", fmt.Sprintf(`{"project":"secret","definition":{"name":"a","url":%q}}`, hooks.URL("/secret")), 201)
	replay := fmt.Sprintf(`{"webhook_number":%%d,"since":%q}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	if done, _ := d.v1("dev", "POST", "/replay", fmt.Sprintf(replay, 1), 200); done["deliveries"] != 1.0 {
		t.Errorf("replay: got %v", done)
	}
	hooks.WaitAt("/team", 1, harness.Soon)
	d.v1("dev", "POST", "/replay", fmt.Sprintf(replay, 2), 404)
	d.v1("ops", "POST", "/replay", fmt.Sprintf(replay, 2), 200)
	hooks.WaitAt("/secret", 1, harness.Soon)
	for id, want := range map[int]float64{1: 1, 2: 0} {
		if done, _ := d.v1("dev", "POST", "/deliveries/redeliver", fmt.Sprintf(`{"ids":[%d]}`, id), 200); done["count"] != want {
			t.Errorf("redelivered %v of delivery %d", done, id)
		}
	}
	d.v1("dev", "POST", "/deliveries/redeliver", `{"all":true,"states":["pending","delivered","dead"]}`, 200)
	hooks.WaitAt("/team", 3, harness.Soon)
	if n := len(hooks.Posts("/secret")); n != 1 {
		t.Errorf("another project's webhook got %d POSTs", n)
	}
	d.v1("dev", "GET", "/deliveries/2", "", 404)
	d.v1("dev", "POST", "/webhooks/1/test", "", 422)
	if n := len(hooks.Posts("/team")); n != 3 {
		t.Errorf("%d POSTs, and a test send of the limited account", n)
	}
}
