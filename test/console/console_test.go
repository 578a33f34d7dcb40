// Package console uses the console of a real bellbuoy with a real browser, as people do.
package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// stage is a bellbuoy in front of a registry, with two accounts: ops, and ann of the project team.
type stage struct {
	*testing.T
	buoy  *harness.Buoy
	hooks *harness.Receiver
	base  string // of the console
}

func newStage(t *testing.T, more ...string) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real parts")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	b := harness.Bellbuoy(t, fmt.Sprintf(`admin: {listen: %q, users: [{name: ops, password_hash: %q}, {name: ann, password_hash: %q, projects: [team]}]}
egress: {private: [127.0.0.0/8]}
upstreams: [{type: registry, url: %q, external_url: http://localhost}]
webhooks: [{name: file, url: %q}]
`, address, hash, hash, registry.URL, hooks.URL("/file"))+strings.Join(more, ""))
	return &stage{t, b, hooks, "http://" + address}
}

// push pushes an image to a repository.
func (s *stage) push(reference string) {
	s.Helper()
	image := harness.NewImage(harness.ImageOptions{})
	harness.Run(s, harness.Env(s), "crane", "push", image.Layout(s, "v1"), s.buoy.Host+"/"+reference, "--insecure")
}

func TestLoginAndLogout(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.visit("/webhooks?project=team")
	b.at("/login?next=")
	b.fill("User", "ops")
	b.fill("Password", "wrong")
	b.click("button", "Log in")
	b.says("The user or the password is wrong.")
	b.fill("Password", "secret")
	b.click("button", "Log in")
	b.at("/webhooks?project=team")
	b.click("button", "Log out")
	b.at("/login")
	b.visit("/webhooks")
	b.at("/login")

	out, err := s.buoy.Command("console")
	if err != nil {
		t.Fatal(err)
	}
	once := strings.TrimSpace(out)
	b.visit(strings.TrimPrefix(once, s.base))
	b.visit("/webhooks")
	b.says("file")
	other := open(t, s.base)
	other.visit(strings.TrimPrefix(once, s.base))
	other.says("used already")
}

// The manual's flows: a webhook of each notify type, its triggers, several at once.
func TestTheManual(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	for _, kind := range []string{"http", "slack"} {
		b.visit("/webhooks")
		b.click("link", "+ NEW WEBHOOK")
		b.fill("Name", "to-"+kind)
		b.fill("Project", "team")
		b.choose("Notify type", kind)
		b.fill("Endpoint URL", s.hooks.URL("/"+kind))
		if kind == "http" {
			b.fill("Authorization header", "Authorization: Bearer t0ken")
		}
		b.tick("Artifact deleted", false)
		b.click("button", "Save")
		b.says("The webhook is saved.", "to-"+kind)
	}
	s.push("team/app:v1")
	if got := s.hooks.WaitAt("/http", 1, time.Minute)[0].Header.Get("Authorization"); got != "Bearer t0ken" {
		t.Errorf("Authorization: %q", got)
	}
	s.hooks.WaitAt("/slack", 1, time.Minute)

	b.visit("/webhooks")
	b.click("button", "Triggers of to-slack")
	b.says("Last triggered", "Artifact pushed")
	if row := b.row("to-slack"); !strings.Contains(row, "Enabled slack slack") {
		t.Errorf("%q", row)
	}
	b.visit("/webhooks?project=team")
	b.tick("to-http", true)
	b.tick("to-slack", true)
	b.click("DisclosureTriangle", "ACTION")
	b.click("button", "Disable")
	b.says("2 webhooks are disabled.")
	if row := b.row("to-http"); !strings.Contains(row, "Disabled") {
		t.Errorf("%q", row)
	}
	b.tick("to-http", true)
	b.click("DisclosureTriangle", "ACTION")
	b.click("button", "Edit")
	b.fill("Description", "tells ci")
	if got := b.holds("Authorization header"); got != "***" {
		t.Errorf("the saved header is shown: %q", got)
	}
	b.click("button", "Save")
	b.says("tells ci")
	b.visit("/webhooks?project=team")
	b.tick("to-http", true)
	b.tick("to-slack", true)
	b.click("DisclosureTriangle", "ACTION")
	b.click("button", "Delete")
	b.says("Delete 2 webhooks?", "team/to-slack")
	b.click("button", "Delete")
	b.says("2 webhooks are deleted.", "No webhook matches")
}

// A test tells how the receiver answered, before and after saving.
func TestSendTest(t *testing.T) {
	s := newStage(t)
	s.hooks.Answer("/slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(1200 * time.Millisecond)
		w.WriteHeader(http.StatusAccepted)
	})
	s.hooks.Answer("/broken", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	})
	s.hooks.Hang("/never")
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/webhooks/new")
	b.fill("Name", "ci")
	b.fill("Project", "team")
	b.fill("Timeout", "3s")
	for path, says := range map[string]string{"/fine": "Delivered: 200 OK", "/broken": "out of order", "/slow": "Delivered: 202 Accepted", "/never": "Failed"} {
		b.fill("Endpoint URL", s.hooks.URL(path))
		b.click("button", "Send test")
		b.says(says)
	}
	b.fill("Endpoint URL", s.hooks.URL("/fine"))
	b.click("button", "Make a signing secret")
	b.says("Copy it now")
	secret := b.holds("Signing secret")
	if !strings.HasPrefix(secret, "whsec_") {
		t.Fatalf("secret %q", secret)
	}
	b.click("button", "Save")
	b.says("The webhook is saved.")
	b.click("button", "Send test")
	b.says("Delivered: 200 OK")
	b.visit(strings.TrimSuffix(b.path(), "/test") + "/edit")
	if text := value[string](b, "document.documentElement.outerHTML"); strings.Contains(text, secret) {
		t.Error("the secret is shown again")
	}
}

// All deliveries that match are redelivered, and one alone; the number is asked before.
func TestRedeliver(t *testing.T) {
	s := newStage(t)
	s.hooks.Answer("/file", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	for i := range 3 {
		s.push(fmt.Sprintf("team/app%d:v1", i))
	}
	s.hooks.WaitAt("/file", 3, time.Minute)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	if !harness.Eventually(soon, func() bool { b.visit("/deliveries?state=dead"); return strings.Count(b.text(), "400 Bad Request") == 3 }) {
		t.Fatalf("there are not three dead letters:\n%s", b.text())
	}
	s.hooks.Answer("/file", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	b.choose("State", "Dead")
	b.fill("Webhook", "file")
	b.click("button", "Filter")
	b.at("/deliveries?webhook=file&state=dead")
	b.click("button", "Redeliver all that match")
	b.says("State: Dead", "Webhook: file")
	b.click("button", "Redeliver 3")
	b.says("3 deliveries are due again.")
	s.hooks.WaitAt("/file", 6, time.Minute)
	b.visit("/deliveries?repository=team/app1")
	b.says("Delivered", "team/app1")
	b.click("link", value[string](b, `document.querySelector("td.first a").textContent`))
	b.says("400 Bad Request", "200 OK", "Webhook-Id", `"repo_full_name": "team/app1"`)
	b.click("button", "Redeliver")
	b.says("1 delivery is due again.")
	s.hooks.WaitAt("/file", 7, time.Minute)
}

// What was recorded before a webhook existed is sent when it is asked for.
func TestReplay(t *testing.T) {
	s := newStage(t)
	s.push("team/app:v1")
	s.hooks.WaitAt("/file", 1, time.Minute)
	b := open(t, s.base)
	b.logIn("ann", "secret")
	b.visit("/webhooks/new")
	b.fill("Name", "late")
	b.fill("Project", "team")
	b.fill("Endpoint URL", s.hooks.URL("/late"))
	b.says("1 of the last day’s 1 event would have matched.")
	b.click("button", "Save")
	b.says("The webhook is saved.")
	b.click("button", "Replay")
	b.says("Replay for late?")
	b.click("button", "Replay 1")
	b.says("1 delivery is made.")
	s.hooks.WaitAt("/late", 1, time.Minute)
}

// A limited account finds nothing of another project, by any address, and no button for what it may
// not do.
func TestALimitedAccount(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/webhooks/new")
	b.fill("Name", "foreign")
	b.fill("Project", "other")
	b.fill("Endpoint URL", s.hooks.URL("/other"))
	b.click("button", "Save")
	b.says("The webhook is saved.")
	foreign := strings.TrimSuffix(b.path(), "?done=saved")
	s.push("other/app:v1")
	s.hooks.WaitAt("/other", 1, time.Minute)
	b.visit("/deliveries?webhook=other/foreign")
	b.says("other/app")
	delivery := value[string](b, `document.querySelector("td.first a").pathname`)
	event := value[string](b, `document.querySelector("td[data-label='Event type'] a").pathname`)
	b.click("button", "Log out")
	b.at("/login")

	b.logIn("ann", "secret")
	b.visit("/webhooks")
	b.says("No webhooks yet")
	b.visit("/deliveries")
	b.says("No deliveries yet")
	for _, path := range []string{foreign, foreign + "/edit", foreign + "/triggers", foreign + "/yaml", delivery, event, "/webhooks/999999"} {
		got := value[string](b, fmt.Sprintf(`fetch(%q).then(async r => r.status + " " + await r.text())`, path))
		if !strings.HasPrefix(got, "404 ") || strings.Contains(got, "foreign") {
			t.Errorf("GET %s: %.200s", path, got)
		}
	}
	b.visit(foreign)
	b.says("Not found")
	for path, form := range map[string]string{
		"/webhooks/action": "do=delete&confirmed=yes&webhook=" + strings.TrimPrefix(foreign, "/webhooks/"), foreign + "/test": "", foreign + "/replay": "since=1h&confirmed=yes",
		foreign + "/takeover": "", foreign + "/edit": "do=save&name=x", "/deliveries/redeliver": "do=one&delivery=" + strings.TrimPrefix(delivery, "/deliveries/"),
	} {
		status := value[int](b, fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams(%q), headers: {"X-Form-Token": document.body.dataset.token}}).then(r => r.status)`, path, form))
		if status != http.StatusNotFound {
			t.Errorf("POST %s %s: %d", path, form, status)
		}
	}
	if status := value[int](b, `fetch("/webhooks/action", {method: "POST", body: new URLSearchParams("do=disable&webhook=1")}).then(r => r.status)`); status != http.StatusForbidden {
		t.Errorf("a form without its token: %d", status)
	}
}

// Without JavaScript, and in a narrow window, everything still works.
func TestWithoutJavaScriptOnAPhone(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.withoutJavaScript()
	b.size(390, 844)
	b.logIn("ann", "secret")
	b.visit("/webhooks")
	b.click("link", "+ NEW WEBHOOK")
	b.fill("Name", "ci")
	b.fill("Project", "team")
	b.choose("Preset", "Flux")
	b.click("button", "Use")
	b.says("A push reconciles")
	b.fill("Endpoint URL", s.hooks.URL("/ci"))
	b.fill("Authorization header", "Bearer t0ken")
	b.click("button", "Send test")
	b.says("Delivered: 200 OK")
	b.click("button", "Save")
	b.says("The webhook is saved.")
	b.visit("/webhooks")
	b.click("button", "Triggers of ci")
	b.says("Last triggered")
	b.tick("ci", true)
	b.click("DisclosureTriangle", "ACTION")
	b.click("button", "Delete")
	b.click("button", "Delete")
	b.says("1 webhook is deleted.")
	if wide := value[int](b, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("the page is %d wide", wide)
	}
}

// The keyboard alone is enough.
func TestKeyboard(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.visit("/login")
	b.press("o", "p", "s", "\t", "s", "e", "c", "r", "e", "t", "\r")
	b.find("button", "Log out")
	b.visit("/webhooks")
	b.press("\t")
	if got := b.focused(); got != "Skip to the content" {
		t.Errorf("the first Tab leads to %q", got)
	}
	b.tabTo("+ NEW WEBHOOK")
	b.press("\r")
	b.tabTo("Name")
	b.press("k", "e", "y", "s")
	b.tabTo("Project")
	b.press("t", "e", "a", "m")
	b.tabTo("Endpoint URL")
	command(b, input.InsertText, input.InsertTextParams{Text: s.hooks.URL("/keys")})
	b.press("\r")
	b.says("The webhook is saved.")
	b.visit("/webhooks?project=team")
	b.tabTo("ACTION")
	b.tabTo("keys")
	b.press(" ")
	b.visit("/webhooks?project=team")
	b.tabTo("Triggers of keys")
	b.press(" ")
	b.says("Last triggered")
}

// Nothing on any page hinders people who cannot see it well, in either theme.
func TestAxe(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	for _, theme := range []string{"light", "dark"} {
		b.theme(theme)
		b.visit("/login")
		b.axe()
	}
	b.logIn("ops", "secret")
	b.at("/")
	b.visit("/webhooks/new")
	b.fill("Name", "ci")
	b.fill("Project", "team")
	b.fill("Endpoint URL", s.hooks.URL("/ci"))
	b.click("button", "Save")
	b.says("The webhook is saved.")
	one := strings.TrimSuffix(b.path(), "?done=saved")
	s.hooks.Answer("/ci", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) })
	s.push("team/app:v1")
	s.hooks.WaitAt("/ci", 1, time.Minute)
	b.visit("/deliveries?webhook=team/ci")
	b.says("team/app")
	delivery := value[string](b, `document.querySelector("td.first a").pathname`)
	b.visit("/events?type=PUSH_ARTIFACT")
	event := value[string](b, `document.querySelector("td.first a").pathname`)
	for _, theme := range []string{"light", "dark"} {
		b.theme(theme)
		for _, path := range []string{"/webhooks", "/webhooks?triggers=" + strings.TrimPrefix(one, "/webhooks/"), "/webhooks?webhook=none", "/webhooks/new", one, one + "/edit", "/deliveries", "/deliveries?from=x", delivery, "/nothing",
			"/", "/?span=day", "/events", "/events?tag=none", event, "/projects", "/projects/team"} {
			b.visit(path)
			b.axe()
		}
		b.visit("/webhooks")
		b.tick("ci", true)
		b.click("DisclosureTriangle", "ACTION")
		b.axe()
		b.click("button", "Delete")
		b.says("Delete 1 webhook?")
		b.axe()
	}
}

// Events appear while one looks, and each says what the webhooks made of it.
func TestEvents(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/events")
	b.says("No events yet")
	s.push("team/app:v1")
	s.hooks.WaitAt("/file", 1, time.Minute)
	// A page refreshes every second at most.
	if !harness.Eventually(3*time.Second, func() bool { return strings.Contains(b.text(), "team/app") }) {
		t.Fatalf("the push does not appear: %s", b.text())
	}
	b.fill("Repository", "other/**")
	b.click("button", "Filter")
	b.at("/events?")
	b.says("No event matches")
	b.visit("/events?repository=team/*&type=PUSH_ARTIFACT")
	b.click("link", "Artifact pushed")
	b.at("/events/")
	b.says("team/app:v1", "file", "Matches", "Delivery 1", "Delivered", "bellbuoy.event/v1")
	b.choose("Format", "harbor")
	b.click("button", "Show")
	b.says("repo_full_name")
	b.choose("Format", "quay")
	b.click("button", "Show")
	b.says("docker_url")

	b.visit("/projects")
	b.click("link", "team")
	b.at("/projects/team")
	b.says("no quota", "No scan yet")
	b.visit(value[string](b, `document.querySelector("main .actions a[href^='/events']").getAttribute("href")`))
	b.at("/events?project=team")
	b.says("team/app")

	b.visit("/")
	b.says("Needs attention", "Events by type", "Attempts to deliver", "Requests by upstream")
	b.click("link", "Last day")
	b.at("/?span=day")
}

// A limited account sees the events and projects of its own alone, also without JavaScript.
func TestEventsOfOtherProjects(t *testing.T) {
	s := newStage(t)
	s.push("team/app:v1")
	s.push("other/app:v1")
	s.hooks.WaitAt("/file", 2, time.Minute)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/events?project=other")
	foreign := value[string](b, `document.querySelector("td.first a").pathname`)
	limited := open(t, s.base)
	limited.withoutJavaScript()
	limited.logIn("ann", "secret")
	limited.visit("/events")
	if text := limited.text(); !strings.Contains(text, "team/app") || strings.Contains(text, "other") {
		t.Errorf("ann sees: %s", text)
	}
	for _, path := range []string{foreign, "/projects/other"} {
		limited.visit(path)
		limited.says("Not found")
	}
	limited.visit("/events?project=other")
	limited.says("No event matches")
	limited.visit("/projects")
	if strings.Contains(limited.text(), "other") {
		t.Errorf("ann sees: %s", limited.text())
	}
	limited.visit("/")
	if strings.Contains(limited.text(), "Requests by upstream") {
		t.Error("ann sees the traffic of all projects")
	}
}
