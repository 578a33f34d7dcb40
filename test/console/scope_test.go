package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A limited account finds nothing of another project, by any address, and no button for what it may
// not do.
func TestALimitedAccount(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	foreign := s.newWebhook(b, "foreign", "other")
	s.push("other/app:v1")
	s.hooks.WaitAt("/foreign", 1, time.Minute)
	b.visit("/deliveries?webhook=other/foreign")
	b.says("other/app")
	delivery := value[string](b, `document.querySelector("td.first a").pathname`)
	event := value[string](b, `document.querySelector("td[data-label='Event type'] a").pathname`)
	b.follow("button", "Log out")
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
