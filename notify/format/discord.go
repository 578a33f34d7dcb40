package format

import (
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Discord's limits: 10 embeds, 6,000 characters in all of them; a title of 256, a description of
// 4,096, 25 fields of 1,024.
const discordDescription = 4096

type (
	discordMessage struct {
		Embeds   []discordEmbed  `json:"embeds"`
		Mentions discordMentions `json:"allowed_mentions"`
	}
	discordMentions struct {
		Parse []string `json:"parse"` // empty, never null: nobody is mentioned, whatever a name says
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

// discordColor is green for what is new, red for what is gone or went wrong, grey for the rest.
func discordColor(t detect.Type) int {
	switch t {
	case detect.PushArtifact, detect.UploadChart:
		return 0x2eb67d
	case detect.DeleteArtifact, detect.DeleteTag, detect.DeleteChart, detect.ScanningFailed, detect.QuotaExceed:
		return 0xe01e5a
	}
	return 0x8a8f98
}

// discordEscape lets no character begin markup, a mention or a link.
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

// discordCode escapes s for a `code` span, in which nothing but its end has a meaning.
func discordCode(s string) string { return strings.ReplaceAll(s, "`", "'") }
