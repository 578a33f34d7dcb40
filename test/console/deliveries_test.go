package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// All deliveries that match are redelivered, the ticked, and one alone; the number is asked before.
func TestRedeliver(t *testing.T) {
	s := newStage(t)
	s.hooks.Answer("/file", badRequest)
	for i := range 3 {
		s.push(fmt.Sprintf("team/app%d:v1", i))
	}
	s.hooks.WaitAt("/file", 3, time.Minute)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	if !harness.Eventually(soon, func() bool { b.visit("/deliveries?state=dead"); return strings.Count(b.text(), "400 Bad Request") == 3 }) {
		t.Fatalf("there are not three dead letters:\n%s", b.text())
	}
	s.hooks.Answer("/file", nil)
	b.choose("State", "Dead")
	b.fill("Webhook", "file")
	b.follow("button", "Filter")
	b.at("/deliveries?webhook=file&state=dead")
	b.follow("button", "Redeliver all that match")
	b.says("State: Dead", "Webhook: file")
	b.follow("button", "Redeliver 3")
	b.says("3 deliveries are due again.")
	s.hooks.WaitAt("/file", 6, time.Minute)

	b.visit("/deliveries?repository=team/app1")
	b.says("Delivered", "team/app1")
	name := value[string](b, `document.querySelector("td.first a").textContent`)
	b.tick("Delivery "+name, true)
	b.follow("button", "Redeliver")
	b.follow("button", "Redeliver 1")
	b.says("1 delivery is due again.")
	s.hooks.WaitAt("/file", 7, time.Minute)

	b.visit("/deliveries?repository=team/app1")
	b.follow("link", name)
	b.says("400 Bad Request", "200 OK", "Webhook-Id", `"repo_full_name": "team/app1"`)
	b.follow("button", "Redeliver")
	b.says("1 delivery is due again.")
	s.hooks.WaitAt("/file", 8, time.Minute)
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
	b.follow("button", "Save")
	b.says("The webhook is saved.")
	b.follow("button", "Replay")
	b.says("Replay for late?")
	b.follow("button", "Replay 1")
	b.says("1 delivery is made.")
	s.hooks.WaitAt("/late", 1, time.Minute)
}
