package format

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// hostileNames try to mention somebody, to make a link, to break out of code or JSON, or are too
// long.
var hostileNames = []string{"<!everyone>", "@everyone", "a&b", "<@U123>", "<@&1>", "`code`", "``` @here ```", "*bold*", "<https://x|y>", "[x](https://x)", "<at>x</at>", "https://example.com",
	strings.Repeat("ü", 300), "line\nbreak\t\x00", "\xff\xfe", strings.Repeat("<", 300), strings.Repeat("@here", 100), "@every\u200bone", "\u202eevil", "\",\"x\":\"", "{{.type}}", "\\"}

// withName returns the event with the name in every field that a client can choose.
func withName(e detect.Event, name string) detect.Event {
	e.Repository, e.Upstream, e.External.Host, e.Client.Operator, e.Client.UserAgent, e.Digest, e.Previous, e.RequestID = name, name, name, name, name, name, name, name
	e.Tags = []string{name}
	if e.Artifact != nil {
		a := *e.Artifact
		a.Platforms, a.MediaType = []string{name, name}, name
		e.Artifact = &a
	}
	if e.Chart != nil {
		e.Chart = &detect.Chart{Name: name, Version: name, AppVersion: name}
	}
	if e.Scan != nil {
		s := *e.Scan
		s.Reason, s.Severity, s.Scanner = name, name, &detect.Scanner{Name: name}
		e.Scan = &s
	}
	if e.Quota != nil {
		q := *e.Quota
		q.Project, q.Details = name, strings.Repeat(name, 20)
		e.Quota = &q
	}
	if e.Replication != nil {
		r := *e.Replication
		r.Name, r.Source.URL, r.Destination.URL, r.Status = name, name, name, name
		e.Replication = &r
	}
	return e
}

func TestHostileNames(t *testing.T) {
	for _, name := range Names() {
		f := newFormat(t, name)
		for _, h := range hostileNames {
			var events []detect.Event
			for _, e := range samples() {
				e = withName(e, h)
				if _, _, body, err := f.Render(e, 0); err == nil {
					if !json.Valid(body) {
						t.Errorf("%s: %q", name, body)
					}
					checkChat(t, name, body)
				}
				for range 30 {
					e.Tags = append(e.Tags, h)
				}
				if _, _, body, err := f.Render(e, 0); err == nil {
					checkChat(t, name, body)
				}
				events = append(events, e, e, e, e)
			}
			if !f.Groups() {
				continue
			}
			for _, most := range []int{1, 20, 1000} {
				_, _, body, err := f.RenderGroup(events, most)
				if err != nil {
					t.Fatal(err)
				}
				checkChat(t, name, body)
			}
		}
	}
}

func TestGroupGolden(t *testing.T) {
	for _, name := range []string{"slack", "teams", "discord"} {
		f := newFormat(t, name)
		_, _, body, err := f.RenderGroup(samples(), 5)
		if err != nil {
			t.Fatal(err)
		}
		checkChat(t, name, body)
		golden(t, "testdata/"+name+"_group.golden", append(body, '\n'))
	}
	if f := newFormat(t, "harbor"); f.Groups() {
		t.Error("harbor groups")
	}
}

// checkChat checks a message against the published limits of its service, and that names in it have
// no effect.
func checkChat(t *testing.T, name string, body []byte) {
	t.Helper()
	switch name {
	case "slack":
		checkSlack(t, body)
	case "discord":
		checkDiscord(t, body)
	case "teams":
		checkTeams(t, body)
	}
}

func decode(t *testing.T, body []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

func length(s string) int { return utf8.RuneCountInString(s) }

func checkSlack(t *testing.T, body []byte) {
	t.Helper()
	var m slackMessage
	decode(t, body, &m)
	if m.Text == "" || length(m.Text) > 4000 || len(m.Blocks) == 0 || len(m.Blocks) > 50 {
		t.Errorf("text %q, %d blocks, %d bytes", m.Text, len(m.Blocks), len(body))
	}
	texts := []slackText{{Text: m.Text}}
	for _, b := range m.Blocks {
		if b.Text != nil && length(b.Text.Text) > 3000 || len(b.Fields) > 10 || len(b.Elements) > 10 || b.Type == "section" && b.Text == nil && len(b.Fields) == 0 {
			t.Errorf("block over the limits: %+v", b)
		}
		for _, f := range b.Fields {
			if length(f.Text) > 2000 {
				t.Errorf("field of %d characters", length(f.Text))
			}
		}
		texts = append(append(texts, b.Fields...), b.Elements...)
		if b.Text != nil {
			texts = append(texts, *b.Text)
		}
	}
	for _, f := range texts {
		s := f.Text
		if i := strings.Index(s, "<!date^"); i >= 0 {
			s = s[:i] + s[strings.Index(s[i:], ">")+i+1:]
		}
		if strings.ContainsAny(s, "<>") || mentionsAll(s) {
			t.Errorf("text %q", s)
		}
	}
}

func mentionsAll(s string) bool {
	return strings.Contains(s, "@everyone") || strings.Contains(s, "@channel") || strings.Contains(s, "@here") || strings.Contains(s, "@all")
}

var codeSpan = regexp.MustCompile("`[^`]*`")

func checkDiscord(t *testing.T, body []byte) {
	t.Helper()
	var m discordMessage
	decode(t, body, &m)
	if !strings.Contains(string(body), `"allowed_mentions":{"parse":[]}`) || len(m.Embeds) != 1 {
		t.Fatalf("%s", body)
	}
	e := m.Embeds[0]
	all := length(e.Title) + length(e.Description)
	shown := e.Title + codeSpan.ReplaceAllString(e.Description, "")
	if length(e.Title) > 256 || length(e.Description) > 4096 || e.Description == "" || len(e.Fields) > 25 {
		t.Errorf("embed over the limits: %+v", e)
	}
	for _, f := range e.Fields {
		if f.Name == "" || f.Value == "" || length(f.Name) > 256 || length(f.Value) > 1024 {
			t.Errorf("field over the limits: %+v", f)
		}
		all += length(f.Name) + length(f.Value)
		shown += f.Value
	}
	if e.Footer != nil {
		if length(e.Footer.Text) > 2048 {
			t.Errorf("footer of %d characters", length(e.Footer.Text))
		}
		all += length(e.Footer.Text)
	}
	if all > 6000 {
		t.Errorf("%d characters in all", all)
	}
	if strings.Contains(shown, "```") || mentionsAll(string(body)) || regexp.MustCompile(`(^|[^\\])(<[@#!:]|\]\()`).MatchString(shown) {
		t.Errorf("markup in %q", shown)
	}
}

func checkTeams(t *testing.T, body []byte) {
	t.Helper()
	var m teamsMessage
	decode(t, body, &m)
	if len(body) > 28<<10 || m.Type != "message" || len(m.Attachments) != 1 || strings.Contains(string(body), "entities") || mentionsAll(string(body)) {
		t.Errorf("%d bytes: %s", len(body), body)
	}
	for _, b := range m.Attachments[0].Content.Body {
		if b.Type != "RichTextBlock" || len(b.Inlines) == 0 {
			t.Errorf("%+v: only TextRuns have no markup", b)
		}
	}
}
