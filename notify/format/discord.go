package format

import (
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Discord accepts 10 embeds of 6,000 characters in total: a title of 256, a description of 4,096
// and 25 fields of 1,024.
const discordDescription = 4096

type (
	discordMessage struct {
		Embeds   []discordEmbed  `json:"embeds"`
		Mentions discordMentions `json:"allowed_mentions"`
	}
	discordMentions struct {
		Parse []string `json:"parse"` // empty, never null: no name can mention anybody
	}
	discordEmbed struct {
		Title       string         `json:"title,omitempty"`
		Description string         `json:"description"`
		Fields      []discordField `json:"fields,omitempty"`
		Footer      *discordFooter `json:"footer,omitempty"`
		Timestamp   string         `json:"timestamp,omitempty"`
		Color       int            `json:"color"`
	}
	discordField struct {
		Name   string `json:"name"`
		Value  string `json:"value"`
		Inline bool   `json:"inline"`
	}
	discordFooter struct {
		Text string `json:"text"`
	}
)

func renderDiscord(p Post) (Body, error) {
	e := &p.Event
	m := messageOf(e)
	embed := discordEmbed{
		Description: discordLine(m),
		Footer:      &discordFooter{string(e.Type) + " · " + plain(e.Upstream, nameMost)},
		Timestamp:   e.At.UTC().Format(time.RFC3339),
		Color:       discordColor(e.Type),
	}
	for _, f := range m.facts {
		embed.Fields = append(embed.Fields, discordField{f.name, discordEscape(f.value), true})
	}
	return discordBody(embed)
}

func discordBody(e discordEmbed) (Body, error) {
	return chatJSON(discordMessage{Embeds: []discordEmbed{e}, Mentions: discordMentions{Parse: []string{}}})
}

func discordLine(m message) string {
	return "**" + discordEscape(m.who) + "** " + m.verb + " `" + discordCode(m.what) + "`"
}

// discordColor returns green for something new, red for a deletion or a failure, and grey
// otherwise.
func discordColor(t detect.Type) int {
	switch t {
	case detect.PushArtifact, detect.UploadChart:
		return 0x2eb67d
	case detect.DeleteArtifact, detect.DeleteTag, detect.DeleteChart, detect.ScanningFailed, detect.QuotaExceed:
		return 0xe01e5a
	}
	return 0x8a8f98
}

// discordEscape escapes every character that could begin markup, a mention or a link.
func discordEscape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\*_~`|>#-<[]()@:", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// discordCode escapes s for a `code` span, in which only the closing character has a meaning.
func discordCode(s string) string { return strings.ReplaceAll(s, "`", "'") }
