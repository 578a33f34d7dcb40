package operate

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// After SIGTERM no connections are accepted, requests in flight and their events are completed, and
// the process exits with 0.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a := "drain/app", harness.NewImage(harness.ImageOptions{LayerSize: 1 << 20})
	harness.Push(s, s.Buoy.ProxyURL, repo, "v1", a)
	s.Expect(repo, harness.Pushed(repo, a, "v1"))
	write, read := s.Proxy.HoldAfter(http.MethodPut, repo+"/manifests"), s.Proxy.HoldBefore(http.MethodGet, repo+"/blobs")
	var put, got *http.Response
	var putErr, gotErr error
	putDone := harness.Background(func() { put, putErr = harness.PutManifest(s.Buoy.ProxyURL, repo, "v2", a) })
	getDone := harness.Background(func() {
		got, gotErr = harness.Send(http.MethodGet, s.Buoy.ProxyURL+"/v2/"+repo+"/blobs/"+a.Layers[0].Digest.String(), nil)
	})
	write.Await(t)
	read.Await(t)
	s.Buoy.Signal(syscall.SIGTERM)
	s.Buoy.WaitLog("drains", harness.Soon)
	if !harness.Eventually(harness.Soon, func() bool {
		conn, err := net.Dial("tcp", s.Buoy.Host)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}) {
		t.Error("new connections are still accepted")
	}
	if resp, err := harness.Send(http.MethodGet, s.Buoy.HealthURL+"/readyz", nil); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz while draining: %v %v", resp, err)
	}
	write.Release()
	read.Release()
	<-putDone
	<-getDone
	if putErr != nil || put.StatusCode != http.StatusCreated {
		t.Errorf("the push in flight: %v %v", put, putErr)
	}
	if gotErr != nil || len(harness.BodyOf(got)) != len(a.Blob(a.Layers[0].Digest)) {
		t.Errorf("the download in flight: %v", gotErr)
	}
	if err := s.Buoy.Stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	s.Buoy.Start()
	s.Expect(repo, harness.Pushed(repo, a, "v2"))
	s.End()
}

// No request and no delivery is lost in many reloads.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL) + "webhooks:\n  - {name: all, url: \"" + hooks.URL("/all") + "\"}\n"
	b := harness.Bellbuoy(t, config)
	a := harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(t, b.ProxyURL, "busy/app", a)
	var pushes atomic.Int64
	var stop atomic.Bool
	var working sync.WaitGroup
	for worker := range 3 {
		working.Go(func() {
			for i := 0; !stop.Load(); i++ {
				resp, err := harness.PutManifest(b.ProxyURL, "busy/app", fmt.Sprintf("w%d-%d", worker, i), a)
				if err != nil || resp.StatusCode != http.StatusCreated {
					t.Errorf("a push failed: %v %v", resp, err)
					return
				}
				pushes.Add(1)
			}
		})
	}
	const reloads = 10
	for i := range reloads {
		more := ""
		if i%2 == 0 {
			more = fmt.Sprintf("  - {name: more, url: %q, match: {tags: [none]}}\n", hooks.URL("/more"))
		}
		b.WriteConfig(config + more)
		if i%3 == 0 {
			b.Signal(syscall.SIGHUP) // otherwise the watch of the file would reload
		}
		if !harness.Eventually(harness.Soon, func() bool { return strings.Count(b.Logs(), "configuration reloaded") >= i+1 }) {
			t.Fatalf("reload %d was not seen", i)
		}
	}
	stop.Store(true)
	working.Wait()
	hooks.WaitAt("/all", int(pushes.Load()), harness.Soon)
	if n := pushes.Load(); n < 10 {
		t.Errorf("only %d pushes while %d reloads", n, reloads)
	}
}

// A reload of an invalid file changes nothing, and the log has the place of the error.
func TestReloadOfABadFile(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL) + "webhooks: [{name: all, url: \"" + hooks.URL("/all") + "\"}]\n"
	b := harness.Bellbuoy(t, config)
	for i, bad := range []struct{ config, says string }{
		{config + "webhoks: []\n", `not reloaded.*webhoks.*webhooks`},
		{"upstreams: [\n", "not reloaded.*yaml:"},
		{"", "not reloaded.*upstreams"},
		{strings.Replace(config, "/all", "/${NOT_SET}", 1), "not reloaded.*NOT_SET"},
	} {
		b.Reload(bad.config)
		b.WaitLog(bad.says, harness.Soon)
		harness.Push(t, b.ProxyURL, "app", fmt.Sprintf("v%d", i), harness.NewImage(harness.ImageOptions{}))
		hooks.WaitAt("/all", i+1, harness.Soon)
	}
	b.Reload(strings.Replace(config, "/all", "/other", 1))
	b.WaitLog("configuration reloaded", harness.Soon)
	harness.Push(t, b.ProxyURL, "app", "last", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/other", 1, harness.Soon)
}

// A reload applies all keys but those that need a restart, and names these. It reports its result
// to the command and in a metric.
func TestReloadCommand(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL) + "webhooks: [{name: all, url: \"" + hooks.URL("/all") + "\"}]\n"
	b := harness.Bellbuoy(t, config)
	changed := strings.Replace(config, "/all", "/other", 1) + "log: {format: console}\nhealth: {listen: 127.0.0.1:1}\n"
	b.WriteConfig(changed)
	says(t, b, 0, []string{"reload"}, "warning: health.listen: needs a restart", "bellbuoy.yaml: reloaded (1 upstream, 1 webhook)")
	b.WaitLog(`INFO\tconfiguration reloaded`, harness.Soon)
	harness.Push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/other", 1, harness.Soon)
	taken := b.Metric("bellbuoy_config_reload_success_timestamp_seconds")
	if ok := b.Metric("bellbuoy_config_reload_success"); ok != 1 || taken == 0 {
		t.Errorf("success %v at %v", ok, taken)
	}
	b.WriteConfig(changed + "webhoks: []\n")
	says(t, b, 1, []string{"reload"}, `webhoks: unknown key; did you mean "webhooks"?`, "not reloaded; the old configuration stays in use")
	if ok, at := b.Metric("bellbuoy_config_reload_success"), b.Metric("bellbuoy_config_reload_success_timestamp_seconds"); ok != 0 || at < taken {
		t.Errorf("success %v at %v, before it was taken at %v", ok, at, taken)
	}
}

// The pending deliveries of a webhook that is removed from the file are kept, and delivered when it
// returns.
func TestRemovedWebhookReturns(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	base := harness.RegistryUpstream(registry.URL)
	with := func(path string) string {
		return base + "webhooks: [{name: w, url: \"" + hooks.URL(path) + "\", retry: [0s" + strings.Repeat(", 1s", 90) + "]}]\n"
	}
	hooks.Statuses("/down", http.StatusServiceUnavailable)
	b := harness.Bellbuoy(t, with("/down"))
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(t, b.ProxyURL, "app", "v1", a)
	harness.Eventually(harness.Soon, func() bool { return len(hooks.Posts("/down")) > 0 })
	b.Reload(base)
	b.WaitLog(`configuration reloaded.*"webhooks":0`, harness.Soon)
	if !harness.Eventually(harness.Soon, func() bool { return harness.FirstDelivery(t, b, "w").State == "parked" }) {
		t.Errorf("the delivery of a removed webhook is %+v", harness.FirstDelivery(t, b, "w"))
	}
	b.Restart()
	b.Reload(with("/up"))
	post := hooks.WaitAt("/up", 1, harness.Soon)[0]
	if got := post.Text("event_data.resources.0.digest"); got != a.Digest.String() {
		t.Errorf("the webhook got %s", got)
	}
}

// A second process with the same data directory or address reports that and exits.
func TestSecondProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	config := harness.RegistryUpstream("http://127.0.0.1:" + fmt.Sprint(harness.FreePort(t)))
	b := harness.Bellbuoy(t, config)
	for what, tc := range map[string]struct {
		opts harness.BuoyOptions
		says string
	}{
		"data_dir": {harness.BuoyOptions{DataDir: b.DataDir, NoWait: true}, b.DataDir},
		"too long": {harness.BuoyOptions{DataDir: filepath.Join(t.TempDir(), strings.Repeat("d", 120)), NoWait: true}, "choose a shorter data_dir"},
		"listen":   {harness.BuoyOptions{NoWait: true}, "address already in use; end the program that listens there, or choose another address"},
	} {
		second := config
		if what == "listen" {
			second = "listen: " + b.Host + "\n" + config
		}
		other := harness.BellbuoyWith(t, tc.opts, second)
		select {
		case <-other.Exited():
		case <-time.After(harness.Soon):
			t.Fatalf("%s: a second process runs", what)
		}
		if err := other.Stop(); err == nil || err.Error() != "exit status 1" || !strings.Contains(other.Logs(), tc.says) || strings.Contains(other.Logs(), "panic") {
			t.Errorf("%s: ended with %v and printed\n%s", what, err, other.Logs())
		}
	}
	if out, err := b.Command("events"); err != nil {
		t.Errorf("the first one's socket is gone: %v %s", err, out)
	}
}

// The endpoints of the health address.
func TestHealth(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+"webhooks: [{name: w, url: http://127.0.0.1:9/}]\n")
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		harness.Must(t, http.StatusOK, http.MethodGet, b.HealthURL+path, nil)
	}
	harness.Push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	text := b.Metrics()
	for _, series := range []string{
		"bellbuoy_requests_total{", `bellbuoy_events_total{type="PUSH_ARTIFACT"} 1`, "bellbuoy_events_lost_total 0", "bellbuoy_open_intents 0",
		`bellbuoy_pending_deliveries{webhook="w"} 1`, `bellbuoy_oldest_pending_seconds{webhook="w"}`, "bellbuoy_store_commit_seconds",
	} {
		if !harness.Eventually(harness.Soon, func() bool { text = b.Metrics(); return strings.Contains(text, series) }) {
			t.Errorf("no %s in\n%s", series, text)
		}
	}
}

// full prevents every file of a process from growing, as a full disk does; or allows it again.
func full(t *testing.T, b *harness.Buoy, yes bool) {
	t.Helper()
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if yes {
		limit.Cur = 1
	}
	if err := unix.Prlimit(b.Pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
}

// When the store fails: with pass, traffic flows and events are stored when the store works again;
// with refuse, no write reaches the upstream.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	t.Run("pass", func(t *testing.T) {
		t.Parallel()
		s := harness.NewFaultStage(t)
		repo, a := "full/pass", harness.NewImage(harness.ImageOptions{})
		harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
		full(t, s.Buoy, true)
		for i := range 3 {
			if resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, fmt.Sprintf("v%d", i), a); err != nil || resp.StatusCode != http.StatusCreated {
				t.Fatalf("request while the store fails: got %v, %v", resp, err)
			}
		}
		if resp := harness.Must(t, http.StatusOK, http.MethodGet, s.Buoy.HealthURL+"/readyz", nil); !strings.Contains(harness.BodyOf(resp), "store") {
			t.Errorf("/readyz: got %q", harness.BodyOf(resp))
		}
		full(t, s.Buoy, false)
		s.Expect(repo, harness.Pushed(repo, a, "v0"), harness.Pushed(repo, a, "v1"), harness.Pushed(repo, a, "v2"))
		s.End()
	})
	t.Run("refuse", func(t *testing.T) {
		t.Parallel()
		s := harness.NewFaultStage(t, "store: {on_failure: refuse}\n")
		repo, a := "full/refuse", harness.NewImage(harness.ImageOptions{})
		harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
		full(t, s.Buoy, true)
		before := len(s.Proxy.Requests())
		for range 3 {
			resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a)
			if err != nil {
				t.Fatal(err)
			}
			harness.WantOCIError(t, resp, http.StatusServiceUnavailable)
			if resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		harness.Must(t, http.StatusNotFound, http.MethodGet, s.Direct+"/v2/"+repo+"/manifests/v1", nil) // nothing was changed
		harness.Must(t, http.StatusOK, http.MethodGet, s.Buoy.ProxyURL+"/v2/", nil)                     // reads are forwarded
		if got := len(s.Proxy.Requests()) - before; got > 3 {
			t.Errorf("%d requests reached the upstream", got)
		}
		full(t, s.Buoy, false)
		if !harness.Eventually(harness.Soon, func() bool {
			resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a)
			return err == nil && resp.StatusCode == http.StatusCreated
		}) {
			t.Fatal("writes are refused although the store is back")
		}
		s.Expect(repo, harness.Pushed(repo, a, "v1"))
		s.End()
	})
}
