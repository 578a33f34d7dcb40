package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A printer shows webhooks in Harbor's format as they arrive.
type printer struct {
	mu   sync.Mutex
	out  io.Writer
	seen chan string // each webhook as "TYPE repository:tag", after it was printed; dropped if nothing reads it for long
}

func newPrinter(out io.Writer) *printer {
	return &printer{out: out, seen: make(chan string, 100)}
}

// payload has the fields of a Harbor webhook that the printer needs.
type payload struct {
	Type      string `json:"type"`
	Operator  string `json:"operator"`
	EventData struct {
		Resources []struct {
			Digest string `json:"digest"`
			Tag    string `json:"tag"`
		} `json:"resources"`
		Repository struct {
			FullName string `json:"repo_full_name"`
		} `json:"repository"`
	} `json:"event_data"`
}

// webhook prints a POST.
func (p *printer) webhook(_ http.ResponseWriter, req *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cannot happen: the receiver has read the body once already
	}
	text, what := describe(body, latency(req.Header.Get("webhook-id"), now))
	p.mu.Lock()
	fmt.Fprintf(p.out, "\n%s\n", text)
	p.mu.Unlock()
	select {
	case p.seen <- what:
	default:
	}
}

// describe returns a headline and the body of a webhook, and a short summary.
func describe(body []byte, latency string) (text, what string) {
	var hook payload
	if err := json.Unmarshal(body, &hook); err != nil {
		return fmt.Sprintf("  a webhook that is no JSON: %v\n%s\n", err, indent(string(body))), "?"
	}
	name, digest := hook.EventData.Repository.FullName, ""
	if resources := hook.EventData.Resources; len(resources) > 0 {
		name += ":" + resources[0].Tag
		digest = resources[0].Digest
	}
	what = hook.Type + " " + name
	operator := hook.Operator
	if operator == "" {
		operator = "anonymous"
	}
	headline := fmt.Sprintf("  ▶ %s   by %s   %s   %s", what, operator, shorten(digest), latency)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, body, "", "  "); err != nil {
		pretty.Write(body)
	}
	return headline + "\n" + indent(pretty.String()) + "\n", what
}

// latency returns the time from the event to the arrival of its webhook: a webhook-id begins with
// the event's id, a UUID of version 7, which begins with the event's time.
func latency(webhookID string, arrived time.Time) string {
	const idLength = 36
	if len(webhookID) < idLength {
		return ""
	}
	id, err := uuid.Parse(webhookID[:idLength])
	if err != nil || id.Version() != 7 {
		return ""
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return fmt.Sprintf("%d ms after the event", max(0, arrived.UnixMilli()-ms))
}

// shorten shortens a digest to the part that people compare.
func shorten(digest string) string {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) <= 12 {
		return digest
	}
	return algorithm + ":" + hex[:12] + "…"
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}
