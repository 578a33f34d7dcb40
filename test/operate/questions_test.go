package operate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// oneDay starts bellbuoy with a receiver that works, one that refuses and one that is down, and
// makes events for them.
func oneDay(t *testing.T) (b *harness.Buoy, hooks *harness.Receiver) {
	t.Helper()
	registry := harness.Registry(t, harness.RegistryOptions{})
	hooks = harness.NewReceiver(t)
	hooks.Answer("/good", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "thank \x1b[2Jyou") })
	hooks.Statuses("/refuses", http.StatusBadRequest)
	hooks.Statuses("/down", http.StatusServiceUnavailable)
	b = harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL, `, external_url: "https://registry.example.com"`)+fmt.Sprintf(`webhooks:
  - {name: good, url: %q, auth_header: Bearer hunter2hunter2, headers: {X-Token: open-sesame}, match: {tags: ["v*"], repositories: ["team/**"]}}
  - {name: refuses, url: %q, match: {repositories: ["team/*"]}, exclude: {tags: ["*-dev"]}}
  - {name: down, url: %q, match: {tags: ["v*"]}}
`, hooks.URL("/good"), hooks.URL("/refuses"), hooks.URL("/down")))
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(t, b.ProxyURL, "team/app", "v1", a)
	harness.Push(t, b.ProxyURL, "team/app", "main-dev", a)
	hooks.WaitAt("/good", 1, harness.Soon)
	hooks.WaitAt("/refuses", 1, harness.Soon)
	hooks.WaitAt("/down", 1, harness.Soon)
	harness.Eventually(harness.Soon, func() bool {
		return harness.FirstDelivery(t, b, "refuses").State == "dead" && harness.FirstDelivery(t, b, "good").State == "delivered"
	})
	return b, hooks
}

// Five questions of an operator on call, each answered by one command.
func TestQuestionsOfAnOperator(t *testing.T) {
	t.Parallel()
	b, hooks := oneDay(t)
	t.Run("why did nothing fire for this push", func(t *testing.T) {
		var silent struct{ ID string }
		if err := json.Unmarshal([]byte(says(t, b, 0, []string{"events", "--tag", "*-dev", "--json"})), &silent); err != nil {
			t.Fatal(err)
		}
		says(t, b, 0, []string{"explain", silent.ID}, "PUSH_ARTIFACT", "registry.example.com/team/app:main-dev",
			"good     no     match.tags: the event has main-dev, it wants [v*]\n",
			"refuses  no     exclude.tags: the event has main-dev, excluded are [*-dev]\n",
			"down     no     match.tags: the event has main-dev, it wants [v*]\n")
	})
	t.Run("which webhook fails, since when, why", func(t *testing.T) {
		out := says(t, b, 1, []string{"status"}, "needs attention:", "webhook down: failing since 20", ": 503 Service Unavailable\n",
			"webhook refuses: failing since 20", ": 400 Bad Request\n", "bellbuoy deliveries --webhook refuses --state dead")
		if strings.Contains(out, "webhook good:") {
			t.Errorf("a webhook that works needs attention:\n%s", out)
		}
	})
	t.Run("what was sent and answered", func(t *testing.T) {
		id := harness.FirstDelivery(t, b, "good").ID
		sent := string(hooks.Posts("/good")[0].Body)
		out := says(t, b, 0, []string{"deliveries", fmt.Sprint(id)}, "state     delivered", "Authorization: ***\n", "X-Token: ***\n", "Webhook-Id: ", sent,
			"200 OK", `thank \u001b[2Jyou`)
		for _, secret := range []string{"hunter2", "sesame", "\x1b"} {
			if strings.Contains(out, secret) {
				t.Errorf("it shows %q:\n%s", secret, out)
			}
		}
		says(t, b, 1, []string{"deliveries", "999999"}, "there is no delivery 999999")
		says(t, b, 1, []string{"deliveries", "--webhook", "none"}, `"none": no such webhook; there are good, refuses, down`)
	})
	t.Run("is anything lost", func(t *testing.T) {
		says(t, b, 1, []string{"status"}, "sqlite, works", "0 in memory, 0 lost since the start; open intents: 0")
	})
	t.Run("how full is the disk", func(t *testing.T) {
		out := says(t, b, 1, []string{"status", "--json"})
		var s struct {
			Store struct {
				Size, Lost int64
				MaxSize    int64 `json:"max_size"`
				Free       int64 `json:"disk_free"`
				Disk       int64 `json:"disk_size"`
			}
			Upstreams []struct{ Name, Error string }
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatal(err)
		}
		if s.Store.Size == 0 || s.Store.MaxSize != 10<<30 || s.Store.Free == 0 || s.Store.Disk < s.Store.Free || s.Store.Lost != 0 {
			t.Errorf("the store is %+v", s.Store)
		}
		if len(s.Upstreams) != 1 || s.Upstreams[0].Name != "registry" || s.Upstreams[0].Error != "" {
			t.Errorf("the upstreams are %+v", s.Upstreams)
		}
		says(t, b, 1, []string{"status"}, "of 10.0 GiB ("+b.DataDir+"); disk: ", " free of ")
	})
}

// If nothing needs attention, the exit code is 0, also with only --data-dir.
func TestStatusWithoutProblems(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+"webhooks: [{name: w, url: \""+hooks.URL("/w")+"\"}]\n")
	harness.Push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/w", 1, harness.Soon)
	harness.Eventually(harness.Soon, func() bool { return harness.FirstDelivery(t, b, "w").State == "delivered" })
	says(t, b, 0, []string{"status"}, "100% of 1", "PUSH_ARTIFACT", "nothing needs attention")
	b.WriteConfig("webhooks: [\n")
	b.WaitLog("not reloaded", harness.Soon)
	out, code := check(t, "events", "--data-dir", b.DataDir, "-c", b.Config)
	if code != 0 || !strings.Contains(out, "app:v1") {
		t.Errorf("with --data-dir and a broken file: %d %s", code, out)
	}
	says(t, b, 1, []string{"status"}, "the configuration file has problems and was not loaded: bellbuoy check")
}

// check --online connects to everything and sends no webhook.
func TestCheckOnline(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	good := harness.RegistryUpstream(registry.URL) + "webhooks: [{name: w, url: \"" + hooks.URL("/w") + "\"}]\n"
	b := harness.Bellbuoy(t, good)
	says(t, b, 0, []string{"check", "--online"}, ": ok (1 upstream, 1 webhook)")
	bad := "upstreams: [{type: registry, url: " + registry.URL + "}, {name: gone, type: registry, hosts: [b.example.com], url: http://127.0.0.1:" + fmt.Sprint(harness.FreePort(t)) + "}, " +
		"{name: tls, type: registry, hosts: [c.example.com], url: \"" + strings.Replace(registry.URL, "http:", "https:", 1) + "\"}]\n" +
		"webhooks:\n  - {name: up, url: \"" + hooks.URL("/w") + "\"}\n  - {name: down, url: \"http://127.0.0.1:" + fmt.Sprint(harness.FreePort(t)) + "/x\"}\n" +
		"  - {name: tls, url: \"" + strings.Replace(hooks.URL("/w"), "http:", "https:", 1) + "\"}\n  - {name: off, enabled: false, url: \"http://127.0.0.1:" + fmt.Sprint(harness.FreePort(t)) + "/x\"}\n"
	b.WriteConfig(bad)
	out := says(t, b, 1, []string{"check", "--online"}, "upstreams[1].url: cannot be reached: ", "connection refused", "upstreams[2].url: cannot be reached: ", "http, not https?",
		"webhooks[1].url: cannot be reached: ", "webhooks[2].url: cannot be reached: ", "(4 problems, ")
	if strings.Contains(out, "upstreams[0].url") || strings.Contains(out, "webhooks[0].url") {
		t.Errorf("check --online reports reachable servers as problems:\n%s", out)
	}
	if n := len(hooks.Posts("")); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
