package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func TestClean(t *testing.T) {
	for page, want := range map[string]string{
		"<p>a</p>\n":                           "<p>a</p>\n",
		"<p>a\u202eb\x1b[0m</p>":               "<p>a\ufffdb\ufffd[0m</p>",
		"<input value=\"a\u202eb\">\u202e":     "<input value=\"a&#8238;b\">\ufffd",
		"<a title=\"\u202e\" href=\"/\">x</a>": "<a title=\"\ufffd\" href=\"/\">x</a>",
		"שלום <b>é</b>":                        "שלום <b>é</b>",
	} {
		if got := string(clean([]byte(page))); got != want {
			t.Errorf("%q: got %q, want %q", page, got, want)
		}
	}
}

// hostile is what strangers may try as a name, a tag, an address or an answer.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `' onmouseover='alert(1)`, "</textarea><script>alert(1)</script>",
	"{{.Token}}", "a\u202egpj.exe", "\u2066evil\u2069", "\x00\x1b[31mred\x07", "a\r\nSet-Cookie: x", "\xff\xfe\xfd", "&lt;b&gt;", strings.Repeat("x", 3000), "\u200b\ufeff",
}

// Nothing that a stranger writes becomes markup, and nothing changes how the rest of a page is
// read.
func FuzzPages(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := namedBy(s)
		for _, path := range []string{"/webhooks", "/webhooks?triggers=4", "/webhooks/4", "/webhooks/6", "/webhooks/6/edit", "/webhooks/4/edit", "/deliveries", "/deliveries/9038",
			"/events", "/events/019aa0000000", "/events/" + url.PathEscape(s), "/projects", "/projects/" + url.PathEscape(s), "/", "/" + url.PathEscape(s)} {
			_, page := get(t, c, ops, path)
			checkPage(t, path, page)
		}
		q := "?" + url.Values{"webhook": {s}, "project": {s}, "from": {s}, "cursor": {s}, "tag": {s}, "operator": {s}, "repository": {s}, "type": {s}, "state": {s}, "format": {s}, "next": {s}, "done": {s}, "n": {s}}.Encode()
		for _, path := range []string{"/webhooks", "/webhooks/new", "/deliveries", "/events", "/events/019aa0000000", "/projects", "/login"} {
			_, page := get(t, c, ops, path+q)
			checkPage(t, path+q, page)
		}
		checkAnswers(t, c, s)
	})
}

// namedBy returns a console over things whose names, addresses and messages are all s. Webhook 4 is
// one of the file, webhook 6 is not.
func namedBy(s string) *Console {
	d := sample()
	d.deliveries, d.answer = d.deliveries[:5], s
	w := &d.webhooks[3]
	w.Name, w.Project, w.Source, w.Maker = s, s, s, s
	w.Limited, w.Health.Why = true, s
	w.Definition = manage.Definition{Name: s, Description: s, URL: s, Format: s, Preset: s, Events: []string{s}, AuthHeader: s, Headers: map[string]string{s: s},
		Match: manage.Filter{Repositories: []string{s}, Tags: []string{s}, Kinds: []string{s}}, Retry: []string{s}, SigningSecrets: []string{s}}
	w.Complete = w.Definition
	stored := *w
	stored.Number, stored.Source, stored.Health.State = 6, "", "failing"
	d.webhooks = append(d.webhooks, stored)
	one := &d.deliveries[3]
	one.Webhook.Name, one.Webhook.Key, one.Webhook.Project = s, s, s
	one.EventID, one.EventType, one.Repository, one.Tag, one.Reason, one.Waits, one.State = s, s, s, s, s, s, s
	one.Request = &manage.Request{URL: s, Body: s, Header: map[string][]string{s: {s}}}
	one.Log = []manage.Attempt{{Error: s, Response: s, Reason: s}}
	c := newConsole(d)
	c.System = func(context.Context) []string { return []string{s} }
	past := c.Events.(*past)
	e := &past.events[0]
	e.Repository, e.Tags, e.Digest, e.Client.Operator = s, []string{s}, s, s
	past.events[9].Scan.Reason, past.events[10].Scan.Severity = s, s
	past.verdict = manage.Verdict{Webhook: manage.Ref{Name: s, Key: s + "#", Number: 9}, Because: s, Value: s, Wanted: s}
	past.projects[0].Name, past.projects[1].Usage[0].Upstream = s, s
	return c
}

// checkAnswers checks what forms answer: the pages that confirm, those that show what is wrong or
// what a receiver answered, and those of errors.
func checkAnswers(t *testing.T, c *Console, s string) {
	t.Helper()
	back := url.Values{"webhook": {s}, "repository": {s}, "project": {s}}.Encode()
	draft := url.Values{"name": {s}, "project": {s}, "description": {s}, "url": {s}, "auth_header": {s}, "events": {s}, "match.tags": {s}, "headers": {s}, "timeout": {s},
		"format_options.text": {s}, "preset": {s}, "notify_type": {s}, "sample": {s}, "version": {s}}
	for _, one := range []struct {
		path string
		form url.Values
	}{
		{"/login", url.Values{"user": {s}, "password": {s}, "next": {s}}},
		{"/webhooks/action", url.Values{"do": {"delete"}, "webhook": {"6"}, "back": {back}}},
		{"/webhooks/action", url.Values{"do": {"delete"}, "webhook": {"4"}}},
		{"/webhooks/action", url.Values{"do": {s}, "webhook": {"6"}}},
		{"/webhooks/action", url.Values{"do": {"delete"}, "webhook": {s}}},
		{"/webhooks/6/replay", url.Values{"since": {"1h"}}},
		{"/webhooks/6/replay", url.Values{"since": {s}}},
		{"/webhooks/6/test", url.Values{"sample": {s}}},
		{"/deliveries/redeliver", url.Values{"do": {"ticked"}, "delivery": {"9038"}, "back": {back}}},
		{"/deliveries/redeliver", url.Values{"do": {"matching"}, "back": {url.Values{"repository": {s}, "project": {s}}.Encode()}}},
		{"/deliveries/redeliver", url.Values{"do": {"matching"}, "back": {back}}},
	} {
		if status, page := post(t, c, ops, one.path, one.form); status != http.StatusSeeOther {
			checkPage(t, one.path+" "+one.form.Encode(), page)
		}
	}
	for _, do := range []string{"save", "test", "preview", "preset", "secret", "refused"} {
		draft.Set("do", do)
		if do == "refused" {
			c.Drafts.(*desk).refuse = manage.Problems{{Field: "url", Message: s}, {Field: s, Message: s}}
		}
		for _, path := range []string{"/webhooks/new", "/webhooks/6/edit"} {
			if status, page := post(t, c, ops, path, draft); status != http.StatusSeeOther {
				checkPage(t, path+" "+do, page)
			}
		}
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept", "text/html")
	c.Refuse(w, r, http.StatusBadRequest, s)
	checkPage(t, "a refusal", w.Body.String())
}

func checkPage(t *testing.T, path, page string) {
	t.Helper()
	if i := strings.IndexFunc(page, unwanted); i >= 0 {
		t.Errorf("%s: an unwanted character: %q", path, page[max(0, i-40):min(len(page), i+40)])
	}
	lower := strings.ToLower(page)
	for _, never := range []string{"<script>", "<img", "onerror=alert(1)>", "href=\"javascript:", " onmouseover='"} {
		if strings.Contains(lower, never) {
			t.Errorf("%s: the page has %q", path, never)
		}
	}
	if n := strings.Count(lower, "<script"); n != 1 {
		t.Errorf("%s: %d scripts", path, n)
	}
	if strings.Contains(page, " style=") {
		t.Errorf("%s: an inline style", path)
	}
}
