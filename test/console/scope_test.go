package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// foreign makes what ann may not see, a webhook of another project with a delivery of an event, and
// returns the paths of their pages. ann is logged in afterwards.
func (s *stage) foreign(b *browser) (webhook, delivery, event string) {
	s.Helper()
	b.logIn("ops", "secret")
	webhook = s.newWebhook(b, "foreign", "other")
	s.push("other/app:v1")
	s.hooks.WaitAt("/foreign", 1, time.Minute)
	b.visit("/deliveries?webhook=other/foreign")
	b.says("other/app")
	delivery = value[string](b, `document.querySelector("td.first a").pathname`)
	event = value[string](b, `document.querySelector("td[data-label='Event type'] a").pathname`)
	b.follow("button", "Log out")
	b.logIn("ann", "secret")
	return webhook, delivery, event
}

// A limited account finds nothing of another project, by any address.
func TestALimitedAccountSeesNothingForeign(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	webhook, delivery, event := s.foreign(b)
	b.visit("/webhooks")
	b.says("No webhooks yet")
	b.visit("/deliveries")
	b.says("No deliveries yet")
	b.visit(webhook)
	b.says("Not found")
	for _, path := range []string{webhook, webhook + "/edit", webhook + "/triggers", webhook + "/yaml", delivery, event, "/projects/other", "/webhooks/999999"} {
		got := value[string](b, fmt.Sprintf(`fetch(%q).then(async r => r.status + " " + await r.text())`, path))
		if !strings.HasPrefix(got, "404 ") || strings.Contains(got, "foreign") {
			t.Errorf("GET %s: %.200s", path, got)
		}
	}
	for _, path := range []string{"/", "/webhooks?project=other", "/webhooks?triggers=" + strings.TrimPrefix(webhook, "/webhooks/"), "/deliveries?project=other", "/deliveries?webhook=other/foreign",
		"/deliveries?repository=other/app", "/events?project=other", "/events?repository=other/**", "/projects"} {
		got := value[string](b, fmt.Sprintf(`fetch(%q).then(r => r.text())`, path))
		for _, secret := range []string{webhook + `"`, delivery + `"`, event + `"`, "other/app:v1"} {
			if strings.Contains(got, secret) {
				t.Errorf("GET %s shows %s", path, secret)
			}
		}
	}
}

// A limited account changes nothing of another project, by any form.
func TestALimitedAccountChangesNothingForeign(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	webhook, delivery, _ := s.foreign(b)
	number := strings.TrimPrefix(webhook, "/webhooks/")
	post := `fetch(%q, {method: "POST", body: new URLSearchParams(%q), headers: {"X-Form-Token": %s}}).then(r => r.status)`
	for _, form := range []struct{ path, values string }{
		{"/webhooks/action", "do=delete&confirmed=yes&webhook=" + number},
		{"/webhooks/action", "do=disable&webhook=" + number},
		{webhook + "/test", ""},
		{webhook + "/replay", "since=1h&confirmed=yes"},
		{webhook + "/takeover", ""},
		{webhook + "/edit", "do=save&name=x"},
		{"/deliveries/redeliver", "do=one&delivery=" + strings.TrimPrefix(delivery, "/deliveries/")},
	} {
		if status := value[int](b, fmt.Sprintf(post, form.path, form.values, "document.body.dataset.token")); status != http.StatusNotFound {
			t.Errorf("POST %s %s: %d", form.path, form.values, status)
		}
	}
	if status := value[int](b, fmt.Sprintf(post, "/webhooks/action", "do=disable&webhook=1", `""`)); status != http.StatusForbidden {
		t.Errorf("a form without its token: %d", status)
	}
	b.follow("button", "Log out")
	b.logIn("ops", "secret")
	b.visit("/webhooks")
	if row := b.row("foreign"); !strings.Contains(row, "Enabled") {
		t.Errorf("the webhook is not as it was: %s", row)
	}
	if n := len(s.hooks.Posts("/foreign")); n != 1 {
		t.Errorf("its receiver got %d posts", n)
	}
}
