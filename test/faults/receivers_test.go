package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Bad receivers beside a good one. The good one gets everything at once, pushes are not delayed,
// redirects are not followed, memory does not grow, and deliveries that failed are kept.
func TestBadReceivers(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true}), harness.NewReceiver(t)
	hooks.Hang("/hang")
	hooks.Statuses("/broken", http.StatusInternalServerError)
	hooks.Answer("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, hooks.URL("/trap"), http.StatusPermanentRedirect)
	})
	hooks.Answer("/flood", flood)
	hooks.Answer("/cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	hooks.Statuses("/never", http.StatusBadRequest)
	bad := []string{"hang", "broken", "redirect", "flood", "cut", "never"}
	config := harness.RegistryUpstream(registry.URL) + "webhooks:\n  - {name: good, url: \"" + hooks.URL("/good") + "\"}\n"
	for _, name := range bad {
		config += fmt.Sprintf("  - {name: %s, url: %q, timeout: 10s, retry: [0s, 1h]}\n", name, hooks.URL("/"+name))
	}
	b := harness.Bellbuoy(t, config)
	const pushes = 20
	a := harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(t, b.ProxyURL, "bad/app", a)
	begin := time.Now()
	for i := range pushes {
		if resp, err := harness.PutManifest(b.ProxyURL, "bad/app", fmt.Sprintf("v%d", i), a); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("push: got %v, %v", resp, err)
		}
	}
	if took := time.Since(begin); took > pushes*10*time.Second/2 { // if bellbuoy waited for a receiver, each push would take 10 s
		t.Errorf("%d pushes took %v beside bad receivers", pushes, took)
	}
	hooks.WaitAt("/good", pushes, harness.Soon)
	want := map[string]string{"hang": "pending", "broken": "pending", "redirect": "pending", "cut": "pending", "never": "dead", "flood": "delivered"}
	for name, state := range want {
		if !harness.Eventually(harness.Soon, func() bool {
			first := harness.FirstDelivery(t, b, name)
			return first.State == state && first.Attempts >= 1
		}) {
			t.Errorf("%s: %+v, want it %s after an attempt", name, harness.FirstDelivery(t, b, name), state)
		}
	}
	if got := len(harness.Deliveries(t, b, "--webhook", "broken")); got != pushes {
		t.Errorf("got %d deliveries of the broken webhook, want %d", got, pushes)
	}
	if got := hooks.Posts("/trap"); len(got) > 0 {
		t.Error("a redirect was followed")
	}
	if rss := harness.ResidentMiB(t, b.Pid()); rss > 200 {
		t.Errorf("%d MiB resident", rss)
	}
}

// flood answers with a body of up to 10 GB.
func flood(w http.ResponseWriter, _ *http.Request) {
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 10_000 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}
