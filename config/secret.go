package config

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode"
)

const redacted = "***"

// Secret is a text that prints as ***, with fmt and any verb, JSON, YAML and zap. Reveal returns
// the text. An empty Secret prints as "", to show that it is not set.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns ***, or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns String, quoted.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format writes String for every verb, even for verbs that print other types raw.
func (s Secret) Format(f fmt.State, verb rune) { formatRedacted(f, verb, s.String()) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

func formatRedacted(f fmt.State, verb rune, text string) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = fmt.Sprintf("%q", text)
	}
	// Writing to fmt's buffer cannot fail.
	_, _ = io.WriteString(f, text)
}

// URL is an address that may hold secrets: a password, query values, or a path that is a key, as in
// webhooks of Slack, Teams and Discord. It prints without them. The zero URL means that there is no
// address. URLs are comparable.
type URL struct {
	full string
	safe string
}

// NewURL returns the URL of a text without ${…}.
func NewURL(text string) URL { return expandedURL(text, text) }

// expandedURL returns the URL of text. raw is the text in the file. Everything that was expanded,
// except scheme and host, is treated as secret.
func expandedURL(text, raw string) URL {
	if text == "" {
		return URL{}
	}
	return URL{full: text, safe: redactURL(text, literalSegments(raw))}
}

// Reveal returns the whole address.
func (u URL) Reveal() string { return u.full }

// IsZero reports whether there is no address.
func (u URL) IsZero() bool { return u.full == "" }

// String returns the address without the parts that may be secret.
func (u URL) String() string { return u.safe }

// GoString returns String, quoted.
func (u URL) GoString() string { return fmt.Sprintf("%q", u.safe) }

// Format writes String for every verb.
func (u URL) Format(f fmt.State, verb rune) { formatRedacted(f, verb, u.safe) }

// MarshalText returns String.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.safe), nil }

// redactURL returns text without user and password, query values, fragment, and the path segments
// that are not in literal or look like a key.
func redactURL(text string, literal map[string]bool) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return redacted
	}
	if strings.Contains(u.Path+u.RawQuery, "@") && !isChatHost(u.Hostname()) {
		// in http://user:12/34@host, the host seems to be a part of the password
		return redacted
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

// isChatHost reports whether the paths of webhooks at host are keys.
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

// looksSecret guesses whether a path segment is a key: tokens, UUIDs and hashes are long, and have
// both letters and digits.
func looksSecret(segment string) bool {
	if len(segment) < 12 {
		return false
	}
	return strings.ContainsFunc(segment, unicode.IsDigit) && strings.ContainsFunc(segment, unicode.IsLetter) || len(segment) >= 32
}

// literalSegments returns the path segments that raw contains without ${…}.
func literalSegments(raw string) map[string]bool {
	segments := map[string]bool{}
	for s := range strings.SplitSeq(maskExpansions(raw), "/") {
		s, _, _ = strings.Cut(s, "?")
		s, _, _ = strings.Cut(s, "#")
		segments[s] = true
	}
	return segments
}
