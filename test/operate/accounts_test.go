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

// follow opens a stream of events as a token. Its lines come one by one; the channel is closed when
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
		d.t.Fatal(resp, err)
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

// A stream of events that is open ends when its account is limited by a reload. Those of other
// accounts go on.
func TestStreamEndsWithItsAccount(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	d := newDesk(t, harness.RegistryUpstream(registry.URL))
	config := deskConfig(t, d.port, harness.RegistryUpstream(registry.URL))
	dev, ops := d.follow(devToken), d.follow(opsToken)
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	for _, lines := range []<-chan string{dev, ops} {
		if line := <-lines; !strings.Contains(line, "team/app") {
			t.Fatalf("%q", line)
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
