package config

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode"
)

const redacted = "***"

// Secret is a text that prints as ***, whatever prints it: fmt with any verb, JSON, YAML, zap. Reveal has the text.
// An empty Secret prints as nothing, so that one can see that it is not set.
type Secret string

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String is *** or, for an empty secret, "".
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is what String is, quoted.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format writes what String is: also for verbs that have no meaning for a text, which would print it raw.
func (s Secret) Format(f fmt.State, verb rune) { formatRedacted(f, verb, s.String()) }

// MarshalText is what String is.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is what String is, as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

func formatRedacted(f fmt.State, verb rune, text string) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = fmt.Sprintf("%q", text)
	}
	// The writer is fmt's own buffer: it cannot fail.
	_, _ = io.WriteString(f, text)
}

// URL is an address that may hold a secret: a password, a query value, or a path that is itself the key, as the
// webhooks of Slack, Teams and Discord have. It prints without them. The zero URL is no address. URLs compare with ==.
type URL struct {
	full string
	safe string
}

// NewURL is the URL of a text that was not expanded from ${…}.
func NewURL(text string) URL { return expandedURL(text, text) }

// expandedURL is the URL of text, which was written as raw: what came in through ${…} is taken for secret, but for
// scheme and host.
func expandedURL(text, raw string) URL {
	if text == "" {
		return URL{}
	}
	return URL{full: text, safe: redactURL(text, literalSegments(raw))}
}

// Reveal is the whole address.
func (u URL) Reveal() string { return u.full }

// IsZero says whether there is no address.
func (u URL) IsZero() bool { return u.full == "" }

// String is the address without what may be secret.
func (u URL) String() string { return u.safe }

// GoString is what String is, quoted.
func (u URL) GoString() string { return fmt.Sprintf("%q", u.safe) }

// Format writes what String is, for every verb.
func (u URL) Format(f fmt.State, verb rune) { formatRedacted(f, verb, u.safe) }

// MarshalText is what String is.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.safe), nil }

// redactURL writes text without user and password, query values, fragment, and the path segments that are not in
// literal or look like a key.
func redactURL(text string, literal map[string]bool) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return redacted
	}
	if strings.Contains(u.Path+u.RawQuery, "@") && !isChatHost(u.Hostname()) {
		return redacted // http://user:12/34@host: what looks like the host is a name and half a password
	}
	var b strings.Builder
	b.WriteString(u.Scheme + "://")
	if u.User != nil {
		b.WriteString(redacted + "@")
	}
	b.WriteString(u.Host)
	b.WriteString(redactPath(u, literal))
	if u.RawQuery != "" {
		b.WriteString("?" + redacted)
	}
	return b.String()
}

func redactPath(u *url.URL, literal map[string]bool) string {
	segments := strings.Split(u.EscapedPath(), "/")
	chat := isChatHost(u.Hostname())
	for i, s := range segments {
		if s == "" {
			continue
		}
		if chat && i > 1 || !literal[s] || looksSecret(s) {
			segments[i] = redacted
		}
	}
	return strings.Join(segments, "/")
}

// isChatHost knows the services whose webhook paths are keys.
func isChatHost(host string) bool {
	for _, known := range []string{
		"slack.com", "discord.com", "discordapp.com", "office.com", "office365.com", "logic.azure.com",
		"powerplatform.com", "googleapis.com", "webex.com", "zapier.com", "ifttt.com",
	} {
		if host == known || strings.HasSuffix(host, "."+known) {
			return true
		}
	}
	return false
}

// looksSecret guesses whether a path segment is a key: a long one with letters and digits, as tokens, UUIDs and
// hashes are, and words are not.
func looksSecret(segment string) bool {
	if len(segment) < 12 {
		return false
	}
	return strings.ContainsFunc(segment, unicode.IsDigit) && strings.ContainsFunc(segment, unicode.IsLetter) || len(segment) >= 32
}

// literalSegments are the path segments that raw spells out itself, without ${…}.
func literalSegments(raw string) map[string]bool {
	segments := map[string]bool{}
	for s := range strings.SplitSeq(maskExpansions(raw), "/") {
		s, _, _ = strings.Cut(s, "?")
		s, _, _ = strings.Cut(s, "#")
		segments[s] = true
	}
	return segments
}
