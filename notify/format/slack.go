package format

import (
	"fmt"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Slack accepts 50 blocks, 3,000 characters in a section's text, and 10 fields of 2,000 characters
// each.
const (
	slackSection = 3000
	slackFields  = 10
)

type (
	slackMessage struct {
		Text   string       `json:"text"` // the text of notifications; Mattermost and others show only this
		Blocks []slackBlock `json:"blocks"`
	}
	slackBlock struct {
		Type     string      `json:"type"`
		Text     *slackText  `json:"text,omitempty"`
		Fields   []slackText `json:"fields,omitempty"`
		Elements []slackText `json:"elements,omitempty"`
	}
	slackText struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
)

func renderSlack(p Post) (Body, error) {
	e := &p.Event
	m := messageOf(e)
	return chatJSON(slackMessage{
		Text: slackEscape(m.line()),
		Blocks: []slackBlock{
			{Type: "section", Text: mrkdwn(fmt.Sprintf("*%s* %s `%s`", bold(m.who), m.verb, code(m.what)))},
			{Type: "section", Fields: slackFacts(m.facts)},
			{Type: "context", Elements: []slackText{*mrkdwn(slackContext(e))}},
		},
	})
}

func slackContext(e *detect.Event) string {
	return fmt.Sprintf("%s · %s · <!date^%d^{date_short_pretty} {time_secs}|%s>",
		e.Type, slackEscape(plain(e.Upstream, nameMost)), e.At.Unix(), e.At.UTC().Format("2006-01-02 15:04:05Z"))
}

func slackFacts(facts []messageFact) []slackText {
	var fields []slackText
	for _, f := range facts[:min(len(facts), slackFields)] {
		fields = append(fields, *mrkdwn("*" + f.name + "*\n" + slackEscape(f.value)))
	}
	return fields
}

func mrkdwn(s string) *slackText { return &slackText{Type: "mrkdwn", Text: s} }

// slackEscape escapes the three characters that have a meaning in Slack. The result contains no
// mention, link or date.
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// code escapes s for a `code` span; bold escapes it for *bold* text.
func code(s string) string { return slackEscape(strings.ReplaceAll(s, "`", "'")) }
func bold(s string) string { return slackEscape(strings.ReplaceAll(s, "*", "∗")) }
