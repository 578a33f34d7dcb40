package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// groupRenderer renders one message about several events. It lists at most `most` of them and
// counts the rest.
type groupRenderer func(events []detect.Event, most int) (Body, error)

// Groups reports whether the format can combine several events into one message.
func (f Format) Groups() bool { return f.group != nil }

// RenderGroup renders one message about several events, oldest first. It lists at most `most` of
// them, as far as the service's limits allow, and counts the rest. It is pure; an error means that
// these events can never be rendered together.
func (f Format) RenderGroup(events []detect.Event, most int) (contentType string, header map[string]string, body []byte, err error) {
	if f.group == nil || len(events) == 0 {
		return "", nil, nil, errors.New("format " + f.name + " cannot combine several events into one message")
	}
	for i := range events {
		if err := complete(&events[i]); err != nil {
			return "", nil, nil, fmt.Errorf("rendering %s: %w", f.name, err)
		}
	}
	b, err := f.group(events, most)
	if err != nil {
		return "", nil, nil, fmt.Errorf("rendering %s: %w", f.name, err)
	}
	return b.ContentType, b.Header, b.Bytes, nil
}

// groupText is a headline and one line for each event that fits, in a chat's markup.
type groupText struct {
	headline string
	lines    []string
	rest     string // "" if every event has a line
}

// groupOf fits events into room characters. line renders one event in the chat's markup.
func groupOf(events []detect.Event, most, room int, line func(message) string) groupText {
	g := groupText{headline: strconv.Itoa(len(events)) + " events"}
	const restMost = len("and 123456 more")
	room -= utf8.RuneCountInString(g.headline) + restMost + 2
	for i := range events[:min(len(events), max(most, 1))] {
		s := line(messageOf(&events[i]))
		if room -= utf8.RuneCountInString(s) + 1; room < 0 {
			break
		}
		g.lines = append(g.lines, s)
	}
	if more := len(events) - len(g.lines); more > 0 {
		g.rest = "and " + strconv.Itoa(more) + " more"
	}
	return g
}

// below returns the lines below the headline.
func (g groupText) below() string {
	lines := g.lines
	if g.rest != "" {
		lines = append(lines[:len(lines):len(lines)], g.rest)
	}
	return strings.Join(lines, "\n")
}

// messageText renders one or more events as plain text.
func messageText(events []detect.Event, most int) string {
	if len(events) == 1 {
		m := messageOf(&events[0])
		return m.line() + " (" + plain(events[0].External.Host, nameMost) + ")"
	}
	g := groupOf(events, most, slackSection, message.line)
	return g.headline + "\n" + g.below()
}

func groupSlack(events []detect.Event, most int) (Body, error) {
	plainly := groupOf(events, most, slackSection, func(m message) string { return slackEscape(m.line()) })
	marked := groupOf(events, most, slackSection, func(m message) string {
		return fmt.Sprintf("*%s* %s `%s`%s", bold(m.who), m.verb, code(m.what), slackEscape(m.end()))
	})
	return chatJSON(slackMessage{Text: plainly.headline + "\n" + plainly.below(), Blocks: []slackBlock{
		{Type: "section", Text: mrkdwn("*" + marked.headline + "*")},
		{Type: "section", Text: mrkdwn(marked.below())},
		{Type: "context", Elements: []slackText{*mrkdwn(slackContext(&events[len(events)-1]))}},
	}})
}

func groupDiscord(events []detect.Event, most int) (Body, error) {
	g := groupOf(events, most, discordDescription, func(m message) string { return discordLine(m) + discordEscape(m.end()) })
	last := &events[len(events)-1]
	return discordBody(discordEmbed{Title: g.headline, Description: g.below(), Color: discordColor(last.Type), Timestamp: last.At.UTC().Format(time.RFC3339)})
}

func groupTeams(events []detect.Event, most int) (Body, error) {
	// A character has up to four bytes, and the markup of 40 lines needs the rest.
	const room = teamsMost / 8
	g := groupOf(events, min(most, 40), room, message.line)
	body := []teamsBlock{teamsText("", teamsRun{Type: "TextRun", Text: g.headline, Weight: "bolder", Size: "medium"})}
	for i := range g.lines {
		m := messageOf(&events[i])
		body = append(body, teamsText("none", append(teamsHeadline(m, ""), teamsRun{Type: "TextRun", Text: m.end() + " "})...))
	}
	if g.rest != "" {
		body = append(body, teamsText("none", teamsRun{Type: "TextRun", Text: g.rest}))
	}
	body = append(body, teamsText("small", teamsRun{Type: "TextRun", Text: teamsContext(&events[len(events)-1]), Size: "small", Subtle: true}))
	return teamsBody(g.headline, body)
}
