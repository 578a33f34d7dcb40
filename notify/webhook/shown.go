package webhook

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// shownAsIs are the headers whose values are no secrets, whoever set them.
var shownAsIs = []string{"Content-Type", "User-Agent", "Webhook-Id"}

// Shown is the headers that m is sent with, for people: of secrets and signatures only that they are there. What differs with
// each attempt stands as a word for it.
func (c *Client) Shown(m Message) http.Header {
	shown := c.headers(m)
	c.sign(shown, m, time.Now())
	shown.Del("Idempotency-Key") // is not sent
	for name, values := range shown {
		if slices.Contains(shownAsIs, name) || strings.HasPrefix(name, "Ce-") || m.Header[name] != nil && c.overrides[name] == nil {
			continue
		}
		shown[name] = make([]string, len(values))
		for i := range values {
			shown[name][i] = blotted
		}
	}
	shown.Set("Webhook-Timestamp", "(seconds at each attempt)")
	return shown
}
