package console

import (
	"strings"
	"testing"
	"time"
)

const phone = 390 // width of a narrow window

// suits fails for what hinders people who cannot see the page well, and for what a phone cuts off,
// in either theme, wide and narrow.
func (b *browser) suits() {
	b.Helper()
	for _, width := range []int64{1440, phone} {
		b.size(width, 900)
		if wide := value[int64](b, "document.documentElement.scrollWidth"); wide > width {
			b.Errorf("%s is %d wide in a window of %d", b.path(), wide, width)
		}
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			b.axe()
		}
	}
	b.size(1440, 900)
}

// Every page suits everybody, with data and without.
func TestAxe(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.visit("/login")
	b.suits()
	b.fill("User", "ops")
	b.fill("Password", "wrong")
	b.follow("button", "Log in")
	b.suits()
	b.logIn("ops", "secret")
	for _, path := range []string{"/", "/?span=day", "/webhooks", "/webhooks?webhook=none", "/webhooks/new", "/deliveries", "/deliveries?from=x", "/events", "/events?tag=none", "/projects", "/nothing"} {
		b.visit(path)
		b.suits()
	}

	one := s.newWebhook(b, "ci", "team")
	s.hooks.Answer("/ci", badRequest)
	s.push("team/app:v1")
	s.hooks.WaitAt("/ci", 1, time.Minute)
	b.visitUntil("/deliveries?webhook=team/ci&state=dead", "team/app")
	delivery := value[string](b, `document.querySelector("td.first a").pathname`)
	b.visit("/events?type=PUSH_ARTIFACT")
	event := value[string](b, `document.querySelector("td.first a").pathname`)
	b.visit("/webhooks?webhook=file")
	file := on[string](b, "link", "file", "e => e.pathname")
	for _, path := range []string{"/", "/?span=day", "/webhooks", "/webhooks?triggers=" + strings.TrimPrefix(one, "/webhooks/"), one, one + "/edit", file, file + "/edit",
		"/deliveries", delivery, "/events", event, "/projects", "/projects/team"} {
		b.visit(path)
		b.suits()
	}
}

// What appears only after a click suits everybody too.
func TestAxeAfterClicks(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/webhooks/new")
	b.fill("Endpoint URL", "ftp://example.com")
	b.follow("button", "Save")
	b.says("Nothing is saved yet")
	b.suits()
	b.visit("/webhooks/new")
	b.leaves(func() { b.choose("Preset", "Flux") })
	b.suits()

	s.hooks.Answer("/ci", badRequest)
	one := s.newWebhook(b, "ci", "team")
	b.follow("button", "Send test")
	b.says("Failed: 400 Bad Request")
	b.suits()
	s.push("team/app:v1")
	s.hooks.WaitAt("/ci", 2, time.Minute)
	b.visit(one)
	b.follow("button", "Replay")
	b.says("Replay for ci?")
	b.suits()
	b.visitUntil("/deliveries?state=dead", "team/app")
	b.follow("button", "Redeliver all that match")
	b.says("Redeliver?")
	b.suits()
	b.visit("/webhooks")
	b.tick("ci", true)
	b.click("summary", "ACTION")
	b.suits()
	b.follow("button", "Delete")
	b.says("Delete 1 webhook?")
	b.suits()
	b.follow("button", "Delete")
	b.says("1 webhook is deleted.")
	b.suits()
}
