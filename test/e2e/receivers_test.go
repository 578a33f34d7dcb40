package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Bad receivers beside a good one. The good one gets everything at once, pushes are not held up, nothing is followed, nothing grows, and
// what could not be delivered is kept.
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
	config := registryUpstream(registry.URL) + "webhooks:\n  - {name: good, url: \"" + hooks.URL("/good") + "\"}\n"
	for _, name := range bad {
		config += fmt.Sprintf("  - {name: %s, url: %q, timeout: 10s, retry: [0s, 1h]}\n", name, hooks.URL("/"+name))
	}
	b := harness.Bellbuoy(t, config)
	const pushes = 20
	a := harness.NewImage(harness.ImageOptions{})
	putBlobs(t, b.ProxyURL, "bad/app", a)
	begin := time.Now()
	for i := range pushes {
		if resp, err := putManifest(b.ProxyURL, "bad/app", fmt.Sprintf("v%d", i), a); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%v %v", resp, err)
		}
	}
	if took := time.Since(begin); took > pushes*10*time.Second/2 { // one that is waited for costs each push 10 s
		t.Errorf("%d pushes took %v beside bad receivers", pushes, took)
	}
	hooks.WaitAt("/good", pushes, soon)
	want := map[string]string{"hang": "pending", "broken": "pending", "redirect": "pending", "cut": "pending", "never": "dead", "flood": "delivered"}
	for name, state := range want {
		if !harness.Eventually(soon, func() bool {
			first := firstDelivery(t, b, name)
			return first.State == state && first.Attempts >= 1
		}) {
			t.Errorf("%s: %+v, want it %s after an attempt", name, firstDelivery(t, b, name), state)
		}
	}
	if got := len(deliveries(t, b, "--webhook", "broken")); got != pushes {
		t.Errorf("%d deliveries of the broken webhook are kept, want %d", got, pushes)
	}
	if got := hooks.Posts("/trap"); len(got) > 0 {
		t.Error("a redirect was followed")
	}
	if rss := residentMiB(t, b.Pid()); rss > 200 {
		t.Errorf("%d MiB resident", rss)
	}
}

// flood answers with a body of 10 GB, or as much as is taken.
func flood(w http.ResponseWriter, _ *http.Request) {
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 10_000 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func residentMiB(t *testing.T, pid int) (mib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fmt.Sscan(rest, &mib)
	return mib >> 10
}

type delivery struct {
	ID       int64  `json:"id"`
	Webhook  string `json:"webhook"`
	State    string `json:"state"`
	Tag      string `json:"tag"`
	Attempts int    `json:"attempts"`
	Status   int    `json:"status"`
	Reason   string `json:"reason"`
}

// deliveries asks the running bellbuoy, newest first.
func deliveries(t testing.TB, b *harness.Buoy, args ...string) (all []delivery) {
	t.Helper()
	out, err := b.Command(append([]string{"deliveries", "--json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var d delivery
		if err := dec.Decode(&d); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		all = append(all, d)
	}
}

// firstDelivery is the oldest of a webhook.
func firstDelivery(t testing.TB, b *harness.Buoy, webhook string) delivery {
	t.Helper()
	all := deliveries(t, b, "--webhook", webhook)
	if len(all) == 0 {
		return delivery{}
	}
	return all[0] // the newest is the last
}

// Every way of saying who calls: Authorization verbatim, headers, Standard Webhooks' signatures with two secrets, GitHub's and GitLab's.
func TestSignatures(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	const old, next, wrong = "whsec_YW4gb2xkIHNlY3JldCBvZiAzMiBieXRlcywgb3Igc28u", "whsec_YSBuZXcgc2VjcmV0IHRoYXQgdGFrZXMgaXRzIHBsYWNl", "whsec_YSBzZWNyZXQgdGhhdCBub2JvZHkgaGFzIGNvbmZpZ3VyZWQ="
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Env: []string{"SECRET=it's $a \"secret\""}}, registryUpstream(registry.URL)+fmt.Sprintf(`webhooks:
  - name: signed
    url: %q
    auth_header: "Weird scheme=x,  y"
    headers: {X-Team: blue, x-lower: "1"}
    signing_secrets: [%s, %s]
    signatures:
      - {header: X-Hub-Signature-256, algorithm: sha256, prefix: "sha256=", secret: "${SECRET}"}
      - {header: X-Gitlab-Token, algorithm: token, secret: plain}
  - {name: unsigned, url: %q}
`, hooks.URL("/signed"), old, next, hooks.URL("/unsigned")))
	hooks.Statuses("/signed", http.StatusServiceUnavailable, http.StatusOK) // the second attempt is signed anew
	config := string(readFile(t, b.Config))
	b.Reload(strings.Replace(config, "auth_header", "retry: [0s, 1s, 1s]\n    auth_header", 1))
	b.WaitLog("configuration reloaded", soon)
	push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	posts := hooks.WaitAt("/signed", 2, soon)
	if string(posts[0].Body) != string(posts[1].Body) || posts[0].ID() != posts[1].ID() {
		t.Error("the second attempt is not the same")
	}
	for _, p := range posts {
		for secret, want := range map[string]bool{old: true, next: true, wrong: false} {
			verifier, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify(p.Body, p.Header); (err == nil) != want {
				t.Errorf("verifying with %s: %v", secret, err)
			}
		}
		mac := hmac.New(sha256.New, []byte(`it's $a "secret"`))
		mac.Write(p.Body)
		for name, want := range map[string]string{
			"Authorization": "Weird scheme=x,  y", "X-Team": "blue", "X-Lower": "1", "X-Gitlab-Token": "plain", "Content-Type": "application/json",
			"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
		} {
			if got := p.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if !strings.HasPrefix(p.Header.Get("User-Agent"), "bellbuoy/") {
			t.Errorf("User-Agent %q", p.Header.Get("User-Agent"))
		}
	}
	bare := hooks.WaitAt("/unsigned", 1, soon)[0]
	if bare.Header.Get("webhook-signature") != "" || bare.Header.Get("Authorization") != "" || bare.ID() == "" || bare.Header.Get("webhook-timestamp") == "" {
		t.Errorf("headers without secrets: %v", bare.Header)
	}
	for _, secret := range []string{old, next, "it's $a", "Weird scheme"} {
		if strings.Contains(b.Logs(), strings.TrimPrefix(secret, "whsec_")) {
			t.Errorf("the log shows the secret %s", secret)
		}
	}
}

// Each webhook gets what its filters let through, and nothing else.
func TestFilters(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true, Htpasswd: map[string]string{"ann": "pw", "bob": "pw"}}), harness.NewReceiver(t)
	filters := map[string]struct {
		filter string
		want   string // what arrives: repository:tag type, in order of the alphabet
	}{
		"default":   {"", "other/app:v1 PUSH, team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"everyone":  {`events: ["*"]`, "other/app:v1 PUSH, team/app:dev PUSH, team/app:v1 DELETE_TAG, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"deletes":   {"events: [DELETE_TAG]", "team/app:v1 DELETE_TAG"},
		"project":   {"match: {projects: [te*]}", "team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"shallow":   {`match: {repositories: ["team/*"]}`, "team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH"},
		"deep":      {`match: {repositories: ["team/**"]}`, "team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"tags":      {`match: {tags: ["v*"]}`, "other/app:v1 PUSH, team/app:v1 PUSH, team/app:v1 PUSH"},
		"operator":  {"match: {operators: [bob]}", "other/app:v1 PUSH"},
		"changed":   {"match: {changed: true, repositories: [team/app]}", "team/app:dev PUSH, team/app:v1 PUSH"},
		"all keys":  {`match: {projects: [team], tags: [v1], operators: [bob]}`, ""},
		"exclude":   {`exclude: {tags: [dev, latest]}`, "other/app:v1 PUSH, team/app:v1 PUSH, team/app:v1 PUSH"},
		"exclude 2": {`exclude: {tags: [dev], operators: [bob]}`, "team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"kinds":     {"match: {kinds: [chart, index]}", ""},
		"off":       {"enabled: false", ""},
	}
	config := registryUpstream(registry.URL) + "webhooks:\n"
	for name, f := range filters {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		config += fmt.Sprintf("  - name: %s\n    url: %q\n    order: none\n", path[1:], hooks.URL(path))
		if f.filter != "" {
			config += "    " + f.filter + "\n"
		}
	}
	b := harness.Bellbuoy(t, config)
	ann, bob, a := login{"ann", "pw"}.header(), login{"bob", "pw"}.header(), harness.NewImage(harness.ImageOptions{})
	push(t, b.ProxyURL, "team/app", "v1", a, ann...)
	push(t, b.ProxyURL, "team/app", "v1", a, ann...) // the same again
	push(t, b.ProxyURL, "team/app", "dev", a, ann...)
	push(t, b.ProxyURL, "team/deep/app", "latest", a, ann...)
	push(t, b.ProxyURL, "other/app", "v1", a, bob...)
	must(t, http.StatusAccepted, http.MethodDelete, b.ProxyURL+"/v2/team/app/manifests/v1", nil, ann...)
	got := func(name string) string {
		var all []string
		for _, p := range hooks.Posts("/" + strings.ReplaceAll(name, " ", "-")) {
			kind := strings.TrimSuffix(p.Text("type"), "_ARTIFACT")
			all = append(all, fmt.Sprintf("%s:%s %s", p.Text("event_data.repository.repo_full_name"), p.Text("event_data.resources.0.tag"), kind))
		}
		return strings.Join(sortedStrings(all), ", ")
	}
	harness.Eventually(soon, func() bool {
		for name, f := range filters {
			if len(got(name)) < len(f.want) {
				return false
			}
		}
		return true
	})
	time.Sleep(time.Second) // strays
	for name, f := range filters {
		if list := got(name); list != f.want {
			t.Errorf("%s (%s) got %q, want %q", name, f.filter, list, f.want)
		}
	}
}
