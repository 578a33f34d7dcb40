package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Slack's limits, far from which the messages stay: a section's text holds 3,000 characters, a field 2,000, and there may be 10 fields.
const (
	slackName = 120 // characters of a repository, tag or operator that are shown
	slackTags = 10  // tags that are listed
)

type (
	slackMessage struct {
		Text   string       `json:"text"` // what notifications show
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

// verbs say what happened to the artifact.
var verbs = map[detect.Type]string{
	detect.PushArtifact: "pushed", detect.PullArtifact: "pulled", detect.DeleteArtifact: "deleted", detect.DeleteTag: "deleted the tag",
	detect.UploadChart: "uploaded", detect.DownloadChart: "downloaded", detect.DeleteChart: "deleted",
}

func renderSlack(p Post) (Body, error) {
	if err := check(&p.Event); err != nil {
		return Body{}, err
	}
	e := &p.Event
	who := plain(e.Client.Operator, slackName)
	if who == "" {
		who = "somebody"
	}
	what := shownReference(e)
	m := slackMessage{
		Text: slackEscape(fmt.Sprintf("%s %s %s", who, verbs[e.Type], what)),
		Blocks: []slackBlock{
			{Type: "section", Text: mrkdwn(fmt.Sprintf("*%s* %s `%s`", bold(who), verbs[e.Type], code(what)))},
			{Type: "section", Fields: slackFields(e)},
			{Type: "context", Elements: []slackText{*mrkdwn(fmt.Sprintf("%s · %s · <!date^%d^{date_short_pretty} {time_secs}|%s>",
				e.Type, slackEscape(plain(e.Upstream, slackName)), e.At.Unix(), e.At.UTC().Format("2006-01-02 15:04:05Z")))}},
		},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // Slack's own escapes would grow to three times their length
	err := enc.Encode(m)
	return Body{ContentType: "application/json", Bytes: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}, err
}

// shownReference is what the message is about, in one line: all tags of it, as far as they fit.
func shownReference(e *detect.Event) string {
	if e.Chart != nil {
		_, _, full := names(e)
		return plain(full, slackName) + " " + plain(e.Chart.Version, slackName)
	}
	repository := plain(e.Repository, slackName)
	switch {
	case len(e.Tags) == 0:
		return repository + "@" + shortDigest(e.Digest)
	case len(e.Tags) == 1:
		return repository + ":" + plain(e.Tags[0], slackName)
	}
	var tags []string
	for _, tag := range e.Tags[:min(len(e.Tags), slackTags)] {
		tags = append(tags, plain(tag, slackName/slackTags*2))
	}
	s := repository + ": " + strings.Join(tags, ", ")
	if more := len(e.Tags) - slackTags; more > 0 {
		s += " and " + strconv.Itoa(more) + " more"
	}
	return s
}

// slackFields are the facts below the headline; those that are not known are left out.
func slackFields(e *detect.Event) []slackText {
	var fields []slackText
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, *mrkdwn("*" + name + "*\n" + slackEscape(value)))
		}
	}
	add("Registry", plain(e.External.Host, slackName))
	if e.Artifact != nil {
		add("Kind", string(e.Artifact.Kind))
		add("Size", humanSize(e.Artifact.Size))
		add("Platforms", plain(strings.Join(e.Artifact.Platforms, ", "), slackName))
	}
	if e.Chart != nil {
		add("Size", humanSize(e.Chart.Size))
		add("App version", plain(e.Chart.AppVersion, slackName))
	}
	add("Digest", shortDigest(e.Digest))
	add("Before", shortDigest(e.Previous))
	add("Client", plain(e.Client.UserAgent, slackName))
	return fields
}

func mrkdwn(s string) *slackText { return &slackText{Type: "mrkdwn", Text: s} }

// slackEscape escapes the three characters that Slack gives a meaning; what is left cannot be a mention, a link or a date.
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// code escapes s for a `code` span, bold for *bold* text.
func code(s string) string { return slackEscape(strings.ReplaceAll(s, "`", "'")) }
func bold(s string) string { return slackEscape(strings.ReplaceAll(s, "*", "∗")) }

// plain makes a name that a client chose harmless for a chat: one line, at most limit characters, and no @everyone
// (a zero-width space behind each @ that a chat could take for a mention).
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	for _, mention := range []string{"@everyone", "@here", "@channel"} {
		s = strings.ReplaceAll(s, mention, "@\u200b"+mention[1:])
	}
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	runes := []rune(s)
	return string(runes[:limit-1]) + "…"
}

func shortDigest(digest string) string {
	const shown = len("sha256:") + 12
	return plain(digest[:min(len(digest), shown)], slackName)
}

func humanSize(n int64) string {
	const unit = 1024
	switch {
	case n <= 0:
		return ""
	case n < unit:
		return strconv.FormatInt(n, 10) + " B"
	}
	value, units := float64(n)/unit, "KMGTPE"
	i := 0
	for ; value >= unit && i < len(units)-1; i++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
}
