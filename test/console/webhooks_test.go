package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The manual's flows: a webhook of each notify type, its triggers, several at once.
func TestTheManual(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	for _, kind := range []string{"http", "slack"} {
		b.visit("/webhooks")
		b.follow("link", "+ NEW WEBHOOK")
		b.fill("Name", "to-"+kind)
		b.fill("Project", "team")
		b.choose("Notify type", kind)
		b.fill("Endpoint URL", s.hooks.URL("/"+kind))
		if kind == "http" {
			b.fill("Authorization header", "Authorization: Bearer t0ken")
		}
		b.tick("Artifact deleted", false)
		b.follow("button", "Save")
		b.says("The webhook is saved.", "to-"+kind)
	}
	s.push("team/app:v1")
	if got := s.hooks.WaitAt("/http", 1, time.Minute)[0].Header.Get("Authorization"); got != "Bearer t0ken" {
		t.Errorf("Authorization: %q", got)
	}
	if got := s.hooks.WaitAt("/slack", 1, time.Minute)[0].Body; !strings.Contains(string(got), `"text"`) {
		t.Errorf("not a message for Slack: %s", got)
	}

	b.visit("/webhooks")
	b.click("button", "Triggers of to-slack")
	b.says("Last triggered", "Artifact pushed")
	if row := b.row("to-slack"); !strings.Contains(row, "Enabled slack slack") {
		t.Errorf("%q", row)
	}
	b.visit("/webhooks?project=team")
	s.act(b, "Disable", "to-http", "to-slack")
	b.says("2 webhooks are disabled.")
	if row := b.row("to-http"); !strings.Contains(row, "Disabled") {
		t.Errorf("%q", row)
	}
	s.act(b, "Enable", "to-slack")
	b.says("1 webhook is enabled.")
	if row := b.row("to-slack"); !strings.Contains(row, "Enabled") {
		t.Errorf("%q", row)
	}
	s.act(b, "Edit", "to-http")
	b.fill("Description", "tells ci")
	if got := b.holds("Authorization header"); got != "***" {
		t.Errorf("the saved header is shown: %q", got)
	}
	b.follow("button", "Save")
	b.says("tells ci")
	b.visit("/webhooks?project=team")
	s.act(b, "Delete", "to-http", "to-slack")
	b.says("Delete 2 webhooks?", "team/to-slack")
	b.follow("button", "Delete")
	b.says("2 webhooks are deleted.", "No webhook matches")
}

// act ticks webhooks and does what an entry of the ACTION menu says.
func (s *stage) act(b *browser, entry string, webhooks ...string) {
	s.Helper()
	for _, name := range webhooks {
		b.tick(name, true)
	}
	b.click("summary", "ACTION")
	b.follow("button", entry)
}

// Of two projects' webhooks of one name each has a box, an arrow and a link of its own.
func TestTwoWebhooksOfOneName(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	s.newWebhook(b, "ci", "team")
	other := s.newWebhook(b, "ci", "other")
	b.visit("/webhooks")
	b.click("button", "Triggers of other/ci")
	b.says("Last triggered")
	s.act(b, "Disable", "other/ci")
	if row := b.row("other/ci"); !strings.Contains(row, "Disabled") {
		t.Errorf("%q", row)
	}
	if row := b.row("team/ci"); !strings.Contains(row, "Enabled") {
		t.Errorf("%q", row)
	}
	b.follow("link", "other/ci")
	b.at(other)
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
	for _, receiver := range []struct {
		path string
		says []string
	}{
		{"/fine", []string{"Delivered: 200 OK"}},
		{"/broken", []string{"Failed: 500 Internal Server Error", "out of order"}},
		{"/slow", []string{"Delivered: 202 Accepted in 1"}},
		{"/never", []string{"Failed in 3"}},
	} {
		b.fill("Endpoint URL", s.hooks.URL(receiver.path))
		b.click("button", "Send test")
		b.says(receiver.says...)
	}
	b.fill("Endpoint URL", s.hooks.URL("/fine"))
	b.follow("button", "Make a signing secret")
	b.says("Copy it now")
	secret := b.holds("Signing secret")
	if !strings.HasPrefix(secret, "whsec_") {
		t.Fatalf("secret %q", secret)
	}
	b.follow("button", "Save")
	b.says("The webhook is saved.")
	b.follow("button", "Send test")
	b.says("Delivered: 200 OK")
	b.visit(strings.TrimSuffix(b.path(), "/test") + "/edit")
	if text := value[string](b, "document.documentElement.outerHTML"); strings.Contains(text, secret) {
		t.Error("the secret is shown again")
	}
}

// While one types, the form shows the body that would be sent, and whether the certificate is
// verified follows from the scheme.
func TestTheFormFollowsWhatIsTyped(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/webhooks/new")
	b.says("The body appears once the webhook has a project.")
	b.fill("Project", "team")
	b.says("repo_full_name")
	b.choose("Notify type", "slack")
	b.says("mrkdwn")
	for _, typed := range []struct {
		url    string
		verify bool
	}{{"http://ci.example.com", false}, {"https://ci.example.com", true}, {"http://ci.example.com", false}} {
		b.fill("Endpoint URL", typed.url)
		if got := on[bool](b, "checkbox", "Verify remote certificate", `e => e.checked`); got != typed.verify {
			t.Errorf("%s: verified: %t", typed.url, got)
		}
	}
}

// What is wrong stands beside its field, and nothing that was written is lost.
func TestAProblemStandsBesideItsField(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/webhooks/new")
	b.fill("Name", "ci")
	b.fill("Project", "team")
	b.fill("Endpoint URL", "ftp://example.com")
	b.fill("Timeout", "soon")
	b.follow("button", "Save")
	for _, name := range []string{"Endpoint URL", "Timeout"} {
		if beside := on[string](b, "textbox", name, `e => e.closest(".field").querySelector(".error")?.textContent ?? ""`); beside == "" {
			t.Errorf("nothing is said beside %s:\n%s", name, b.text())
		}
	}
	if got := b.holds("Endpoint URL"); got != "ftp://example.com" {
		t.Errorf("the URL is now %q", got)
	}
	if !harness.Eventually(soon, func() bool { return b.focused() == "Endpoint URL" }) {
		t.Errorf("%q has the keyboard, not the first field with a problem", b.focused())
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
	b.follow("link", "+ NEW WEBHOOK")
	b.fill("Name", "ci")
	b.fill("Project", "team")
	b.choose("Preset", "Flux")
	b.follow("button", "Use")
	b.says("A push reconciles")
	b.fill("Endpoint URL", s.hooks.URL("/ci"))
	b.fill("Authorization header", "Bearer t0ken")
	b.follow("button", "Send test")
	b.says("Delivered: 200 OK")
	b.follow("button", "Save")
	b.says("The webhook is saved.")
	b.visit("/webhooks")
	b.follow("button", "Triggers of ci")
	b.says("Last triggered")
	s.act(b, "Delete", "ci")
	b.follow("button", "Delete")
	b.says("1 webhook is deleted.")
}

// The keyboard alone is enough.
func TestKeyboard(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.visit("/login")
	if !harness.Eventually(soon, func() bool { return b.focused() == "User" }) {
		t.Fatal("the login does not begin in its first field")
	}
	b.press("o", "p", "s", "\t", "s", "e", "c", "r", "e", "t")
	b.leaves(func() { b.press("\r") })
	if !b.has("button", "Log out") {
		t.Fatalf("no login:\n%s", b.text())
	}
	b.visit("/webhooks")
	b.press("\t")
	if got := b.focused(); got != "Skip to the content" {
		t.Errorf("the first Tab leads to %q", got)
	}
	b.tabTo("+ NEW WEBHOOK")
	b.leaves(func() { b.press("\r") })
	b.tabTo("Name")
	b.press("k", "e", "y", "s")
	b.tabTo("Project")
	b.press("t", "e", "a", "m")
	b.tabTo("Endpoint URL")
	b.write(s.hooks.URL("/keys"))
	b.leaves(func() { b.press("\r") })
	b.says("The webhook is saved.")
	b.visit("/webhooks?project=team")
	b.tabTo("Triggers of keys")
	b.press(" ")
	b.says("Last triggered")
	b.visit("/webhooks?project=team")
	b.tabTo("keys")
	b.press(" ")
	b.says("1 ticked")
	b.backTo("ACTION")
	b.press(" ")
	b.tabTo("Delete")
	b.leaves(func() { b.press("\r") })
	b.says("Delete 1 webhook?")
	b.tabTo("Delete")
	b.leaves(func() { b.press("\r") })
	b.says("1 webhook is deleted.")
}
