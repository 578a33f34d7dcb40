package operate

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// says runs a command, and checks its exit code and its output.
func says(t *testing.T, b *harness.Buoy, code int, args []string, want ...string) string {
	t.Helper()
	out, err := b.Command(args...)
	all := out
	got := 0
	if err != nil {
		all += err.Error() // with stderr
		got = -1
		if strings.Contains(err.Error(), fmt.Sprintf("exit status %d\n", code)) {
			got = code
		}
	}
	if got != code {
		t.Errorf("bellbuoy %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, all)
	}
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("bellbuoy %s does not say %q:\n%s", strings.Join(args, " "), w, all)
		}
	}
	if strings.Contains(all, "panic") || strings.Contains(all, "goroutine") {
		t.Errorf("bellbuoy %s panicked:\n%s", strings.Join(args, " "), all)
	}
	return out
}

// The commands, in the order in which an operator may use them on one day.
func TestCommands(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true}), harness.NewReceiver(t)
	hooks.Statuses("/bad", http.StatusBadRequest)
	hooks.Answer("/good", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "thank you") })
	b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+fmt.Sprintf(`webhooks:
  - {name: good, url: %q, match: {repositories: ["team/**"]}}
  - {name: bad, url: %q}
`, hooks.URL("/good"), hooks.URL("/bad")))

	says(t, b, 0, []string{"ping", "good"}, "200 OK in ", "thank you")
	says(t, b, 1, []string{"ping", "bad"}, "400 Bad Request")
	says(t, b, 1, []string{"ping", "none"}, "none")
	says(t, b, 2, []string{"ping"})
	says(t, b, 0, []string{"version"}, "bellbuoy ")
	hooks.Clear()

	following := follow(t, b)
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(t, b.ProxyURL, "team/app", "v1", a)
	hooks.WaitAt("/good", 1, harness.Soon)
	select {
	case line := <-following:
		if !strings.Contains(line, "team/app") || !strings.Contains(line, "PUSH_ARTIFACT") {
			t.Errorf("events -f printed %s", line)
		}
	case <-time.After(harness.Soon):
		t.Error("events -f printed nothing")
	}
	says(t, b, 0, []string{"events"}, "PUSH_ARTIFACT", b.Host+"/team/app:v1", a.Digest.String())
	says(t, b, 0, []string{"events", "--type", "DELETE_TAG"})
	says(t, b, 1, []string{"events", "--type", "NONSENSE"}, "NONSENSE")
	if out := says(t, b, 0, []string{"events", "--json", "--repository", "team/app"}); json.Unmarshal([]byte(out), new(map[string]any)) != nil {
		t.Errorf("events --json is no JSON: %s", out)
	}

	var dead harness.Delivery
	harness.Eventually(harness.Soon, func() bool { dead = harness.FirstDelivery(t, b, "bad"); return dead.State == "dead" })
	if dead.State != "dead" || dead.Status != 400 || dead.Tag != "v1" {
		t.Fatalf("got the dead letters %+v", dead)
	}
	says(t, b, 0, []string{"deliveries"}, "good", "bad", "delivered", "dead", "team/app:v1")
	says(t, b, 0, []string{"deliveries", fmt.Sprint(dead.ID)}, "400 Bad Request")
	says(t, b, 1, []string{"deliveries", "999999"}, "no delivery 999999")
	says(t, b, 1, []string{"deliveries", "--state", "gone"}, "gone")
	hooks.Answer("/bad", nil)
	says(t, b, 0, []string{"redeliver", fmt.Sprint(dead.ID)}, "1 delivery")
	again := hooks.WaitAt("/bad", 2, harness.Soon)
	if string(again[0].Body) != string(again[1].Body) || again[0].ID() != again[1].ID() {
		t.Error("the redelivered body differs from the first one")
	}
	harness.Eventually(harness.Soon, func() bool { return harness.FirstDelivery(t, b, "good").State == "delivered" })
	says(t, b, 0, []string{"redeliver", "--webhook", "good", "--since", "1h", "--state", "delivered"}, "1 delivery")
	hooks.WaitAt("/good", 2, harness.Soon)
	says(t, b, 2, []string{"redeliver"}, "--webhook")
	says(t, b, 1, []string{"redeliver", "x"}, "x")

	says(t, b, 0, []string{"disable", "good"}, "disable")
	says(t, b, 0, []string{"explain", "PUT", "/v2/team/app/manifests/v1"}, "good     no     disabled by command (", "bad      yes    1 POST")
	harness.Push(t, b.ProxyURL, "team/app", "v2", a)
	hooks.WaitAt("/bad", 3, harness.Soon)
	time.Sleep(500 * time.Millisecond)
	hooks.WaitAt("/good", 2, harness.Soon)
	says(t, b, 0, []string{"enable", "good"}, "enable")
	if posts := hooks.WaitAt("/good", 3, harness.Soon); posts[2].Text("event_data.resources.0.tag") != "v2" {
		t.Errorf("after the webhook was enabled, its delivery is %s", posts[2].Body)
	}
	says(t, b, 1, []string{"enable", "none"}, "none")

	says(t, b, 0, []string{"explain", "PUT", "/v2/team/app/manifests/v1"}, "PUSH_ARTIFACT", "good", "yes", "bad")
	says(t, b, 0, []string{"explain", "PUT", "/v2/other/app/manifests/v1"}, "PUSH_ARTIFACT", "no")
	says(t, b, 0, []string{"explain", "HEAD", "/v2/other/app/manifests/v1"}, "none")
	says(t, b, 1, []string{"explain", "PUT", "nonsense"}, "nonsense")
	says(t, b, 2, []string{"explain", "PUT"})
	says(t, b, 2, []string{"dance"}, "dance")

	if err := b.Stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	says(t, b, 1, []string{"events"}, "no bellbuoy is running")
	says(t, b, 0, []string{"explain", "PUT", "/v2/team/app/manifests/v1"}, "PUSH_ARTIFACT")
}

// follow runs events -f and returns its lines. The command must flush each line at once.
func follow(t *testing.T, b *harness.Buoy) <-chan string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), "events", "-f", "-c", b.Config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	}()
	return lines
}

// A webhook whose receiver answers 410 is disabled and keeps its events, until it is enabled again.
func TestGone(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	hooks.Statuses("/gone", http.StatusGone)
	b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+"webhooks: [{name: gone, url: \""+hooks.URL("/gone")+"\"}]\n")
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(t, b.ProxyURL, "app", "v1", a)
	hooks.WaitAt("/gone", 1, harness.Soon)
	b.WaitLog("410|gone.*disabled|disabled", harness.Soon)
	harness.Push(t, b.ProxyURL, "app", "v2", a)
	time.Sleep(time.Second)
	hooks.WaitAt("/gone", 1, harness.Soon)
	b.Restart() // it stays disabled
	time.Sleep(time.Second)
	hooks.WaitAt("/gone", 1, harness.Soon)
	hooks.Answer("/gone", nil)
	says(t, b, 0, []string{"enable", "gone"})
	tags := map[string]bool{}
	harness.Eventually(harness.Soon, func() bool { return len(hooks.Posts("/gone")) >= 3 })
	for _, p := range hooks.Posts("/gone") {
		tags[p.Text("event_data.resources.0.tag")] = true
	}
	if !tags["v1"] || !tags["v2"] {
		t.Errorf("after enable %v were delivered", tags)
	}
}

// bellbuoy check prints all problems of a file at once, with line and column. Its exit code is 1 if
// there are any.
func TestCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	good := "upstreams:\n  - type: registry\n    url: http://127.0.0.1:5000\n    external_url: https://registry.example.com\n"
	for name, tc := range map[string]struct {
		yaml string
		code int
		want []string
	}{
		"good":         {good, 0, []string{": ok (1 upstream, 0 webhooks)"}},
		"warning":      {"upstreams: [{type: registry, url: http://127.0.0.1:5000}]\n", 0, []string{"warning", "external_url", ": ok"}},
		"empty":        {"", 1, []string{"upstreams"}},
		"no YAML":      {"upstreams: [", 1, []string{"bellbuoy.yaml:1:"}},
		"a tab":        {"upstreams:\n\t- type: registry\n", 1, []string{"bellbuoy.yaml:2:"}},
		"unknown key":  {good + "listn: :5080\n", 1, []string{":5:1:", "listn", "listen"}},
		"wrong type":   {good + "log: 7\n", 1, []string{":5:", "log"}},
		"twice":        {good + "webhooks: [{name: a, url: http://x/}, {name: a, url: http://y/}]\n", 1, []string{":5:", "a"}},
		"everything":   {"lisen: x\nupstreams: [{type: regstry, url: nonsense}]\nwebhooks: [{name: w, url: \"ftp://x\", events: [PUSHED]}]\n", 1, []string{":1:1:", "lisen", "regstry", "upstreams[0].url", "webhooks[0].url", "PUSHED"}},
		"unset":        {good + "webhooks: [{name: w, url: \"${NOT_SET_ANYWHERE}\"}]\n", 1, []string{"NOT_SET_ANYWHERE", ":5:"}},
		"missing file": {good + "webhooks: [{name: w, url: http://x/, auth_header: \"${file:/no/such/file}\"}]\n", 1, []string{"/no/such/file"}},
		"a glob":       {good + "webhooks: [{name: w, url: http://x/, match: {repositories: [\"a[\"]}}]\n", 1, []string{":5:", "a["}},
		"a secret":     {good + "webhooks: [{name: w, url: http://x/, signing_secrets: [\"hunter2\"]}]\n", 1, []string{":5:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "bellbuoy.yaml")
			harness.WriteFile(t, path, tc.yaml)
			out, code := check(t, "check", "-c", path)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, "hunter2") {
				t.Errorf("it shows the secret: %s", out)
			}
		})
	}
	if out, code := check(t, "check", "-c", "/no/such/bellbuoy.yaml"); code != 1 || !strings.Contains(out, "/no/such/bellbuoy.yaml") {
		t.Errorf("a file that is not there: %d %s", code, out)
	}
	if out, code := check(t, "check", "--no-such-flag"); code != 2 || !strings.Contains(out, "no-such-flag") {
		t.Errorf("a flag that is not there: %d %s", code, out)
	}
	if out, code := check(t, "serve", "superfluous"); code != 2 {
		t.Errorf("an argument too many: %d %s", code, out)
	}
}

func check(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	cmd.Dir = t.TempDir()
	all, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(all), cmd.ProcessState.ExitCode()
}
