package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigurationIsCompleted(t *testing.T) {
	b := &Buoy{Host: "127.0.0.1:1", HealthURL: "http://127.0.0.1:2", DataDir: "/d"}
	added := []string{`listen: "127.0.0.1:1"`, `health: {listen: "127.0.0.1:2"}`, `admin: {listen: ""}`, `data_dir: "/d"`, "log: {level: debug}"}
	bare := b.complete("webhooks: []\n")
	for _, line := range added {
		if !strings.Contains(bare, line+"\n") {
			t.Errorf("%s is missing in:\n%s", line, bare)
		}
	}
	own := "listen: x\nadmin: {listen: y}\nhealth:\n  listen: z\ndata_dir: w\nlog: {}\n"
	if got := b.complete(own); got != own {
		t.Errorf("a complete configuration became:\n%s", got)
	}
}

func TestSweepRemovesOnlyBinariesOfEndedProcesses(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, fmt.Sprintf("bellbuoy-%d", os.Getpid()))
	dead := filepath.Join(dir, "bellbuoy-4194999") // above the kernel's largest process id
	other := filepath.Join(dir, "bellbuoy-notes")
	for _, path := range []string{mine, dead, other} {
		WriteFile(t, path, "")
	}
	sweep(dir)
	for path, want := range map[string]bool{mine: true, dead: false, other: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %t", filepath.Base(path), err, want)
		}
	}
}

// A push by crane is delivered once, also after a kill, a reload and a stop.
func TestPushIsDeliveredOnce(t *testing.T) {
	registry := Registry(t, RegistryOptions{Delete: true})
	hooks := NewReceiver(t)
	config := fmt.Sprintf("upstreams: [{type: registry, url: %s}]\nwebhooks: [{name: all, url: %s}]\n", registry.URL, hooks.URL("/all"))
	b := Bellbuoy(t, config)
	image := NewImage(ImageOptions{})
	Run(t, nil, "crane", "push", image.Layout(t, "v1"), b.Host+"/team/app:v1")
	post := hooks.Wait(1, time.Minute)[0]
	if post.Text("type") != "PUSH_ARTIFACT" || post.Text("event_data.resources.0.digest") != image.Digest.String() {
		t.Errorf("the webhook is %s", post.Body)
	}
	recorded(t, b) // otherwise the delivery is sent again after the kill
	b.Kill9()
	b.Start()
	Run(t, nil, "crane", "tag", b.Host+"/team/app:v1", "v2")
	hooks.Wait(2, time.Minute)
	b.Reload(config + "# read again\n")
	if err := b.Stop(); err != nil {
		t.Errorf("bellbuoy ended with %v after SIGTERM", err)
	}
	if !strings.Contains(b.Logs(), "{") {
		t.Error("bellbuoy logged nothing")
	}
}

// recorded waits until bellbuoy has recorded all its deliveries as delivered.
func recorded(t *testing.T, b *Buoy) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		out, err := b.Command("deliveries", "--json")
		if err == nil && strings.Contains(out, "delivered") && !strings.Contains(out, "pending") {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("deliveries --json: got %s (%v), want all delivered", out, err)
		}
	}
}
