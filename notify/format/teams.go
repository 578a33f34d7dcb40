package format

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// teamsMost is the largest message in bytes that a Teams workflow accepts.
const teamsMost = 28 << 10

// teamsMessage and its parts are a message for a Teams workflow ("When a webhook request is
// received"). All text is in TextRuns, which have no markup. Without msteams.entities it can
// mention nobody.
type (
	teamsMessage struct {
		Type        string            `json:"type"`
		Attachments []teamsAttachment `json:"attachments"`
	}
	teamsAttachment struct {
		ContentType string    `json:"contentType"`
		ContentURL  *string   `json:"contentUrl"` // always null
		Content     teamsCard `json:"content"`
	}
	teamsCard struct {
		Type     string       `json:"type"`
		Schema   string       `json:"$schema"`
		Version  string       `json:"version"`
		Fallback string       `json:"fallbackText"`
		Body     []teamsBlock `json:"body"`
	}
	teamsBlock struct {
		Type    string     `json:"type"`
		Inlines []teamsRun `json:"inlines"`
		Spacing string     `json:"spacing,omitempty"`
	}
	teamsRun struct {
		Type   string `json:"type"`
		Text   string `json:"text"`
		Weight string `json:"weight,omitempty"`
		Size   string `json:"size,omitempty"`
		Subtle bool   `json:"isSubtle,omitempty"`
	}
)

func renderTeams(p Post) (Body, error) {
	m := messageOf(&p.Event)
	body := []teamsBlock{teamsText("", teamsHeadline(m, "medium")...)}
	for _, f := range m.facts {
		body = append(body, teamsText("none", teamsRun{Type: "TextRun", Text: f.name + ": ", Weight: "bolder"}, teamsRun{Type: "TextRun", Text: f.value}))
	}
	body = append(body, teamsText("small", teamsRun{Type: "TextRun", Text: teamsContext(&p.Event), Size: "small", Subtle: true}))
	return teamsBody(m.line(), body)
}

func teamsBody(fallback string, body []teamsBlock) (Body, error) {
	card := teamsCard{Type: "AdaptiveCard", Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Version: "1.5", Fallback: fallback, Body: body}
	return chatJSON(teamsMessage{Type: "message", Attachments: []teamsAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}}})
}

func teamsHeadline(m message, size string) []teamsRun {
	return []teamsRun{
		{Type: "TextRun", Text: m.who, Weight: "bolder", Size: size},
		{Type: "TextRun", Text: " " + m.verb + " ", Size: size},
		{Type: "TextRun", Text: m.what, Weight: "bolder", Size: size},
	}
}

func teamsText(spacing string, runs ...teamsRun) teamsBlock {
	return teamsBlock{Type: "RichTextBlock", Inlines: runs, Spacing: spacing}
}

func teamsContext(e *detect.Event) string {
	return string(e.Type) + " · " + plain(e.Upstream, nameMost) + " · " + e.At.UTC().Format(time.DateTime+"Z")
}
