package console

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// An event appears within a second of the push. The page itself notes when, so that the time that
// the browser takes for the test's questions does not count.
func TestEventsAppearWithinASecond(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	b.visit("/events")
	b.says("No events yet")
	for i := range 5 {
		repository := fmt.Sprintf("team/app%d", i)
		seen := watch(b, repository)
		s.push(repository + ":v1")
		pushed := time.Now()
		if late := seen().Sub(pushed); late > time.Second {
			t.Errorf("%s appeared %v after its push", repository, late)
		} else {
			t.Logf("%s appeared %v after its push", repository, late)
		}
	}
}

// watch has the page note when it says a text for the first time, and returns a function that waits
// for that time.
func watch(b *browser, text string) func() time.Time {
	b.Helper()
	value[bool](b, fmt.Sprintf(`(() => {
		window.seen = new Promise(done => {
			const look = () => { if (document.body.innerText.includes(%q)) { watcher.disconnect(); done(Date.now()) } };
			const watcher = new MutationObserver(look);
			watcher.observe(document.body, {childList: true, subtree: true});
			look();
		});
		return true;
	})()`, text))
	return func() time.Time { b.Helper(); return time.UnixMilli(value[int64](b, "window.seen")) }
}

// Each event says what the webhooks made of it, and what each format makes of it.
func TestEvents(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.logIn("ops", "secret")
	s.push("team/app:v1")
	s.hooks.WaitAt("/file", 1, time.Minute)
	b.visit("/events")
	b.fill("Repository", "other/**")
	b.follow("button", "Filter")
	b.at("/events?")
	b.says("No event matches")
	b.visit("/events?repository=team/*&type=PUSH_ARTIFACT")
	b.follow("link", "Artifact pushed")
	b.at("/events/")
	b.visitUntil(b.path(), "Delivered")
	b.says("team/app:v1", "file", "Matches", "Delivery 1", "bellbuoy.event/v1")
	b.choose("Format", "harbor")
	b.follow("button", "Show")
	b.says("repo_full_name")
	b.choose("Format", "quay")
	b.follow("button", "Show")
	b.says("docker_url")

	b.visit("/projects")
	b.follow("link", "team")
	b.at("/projects/team")
	b.says("no quota", "No scan yet")
	b.visit(value[string](b, `document.querySelector("main .actions a[href^='/events']").getAttribute("href")`))
	b.at("/events?project=team")
	b.says("team/app")

	b.visit("/")
	b.says("Needs attention", "Events by type", "Attempts to deliver", "Requests by upstream")
	b.follow("link", "Last day")
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
	limited.saysNot("other")
	limited.visit("/")
	limited.saysNot("Requests by upstream")
}
