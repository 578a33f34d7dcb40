package webhook

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	hiddenText = "***"
	// shorter ones are no secrets, and removing them would make text unreadable
	shortSecret  = 4
	shortValue   = 6  // likewise for header and query values, which may be no secrets
	shortSegment = 16 // likewise for a segment of the path
	longestText  = 400
)

// Redact returns the scheme, host and port of a URL. The path is a secret at Slack, Teams and
// Discord, so it is shown only as "…": "https://host/…". If rawURL has no host, nothing of it
// is shown.
func Redact(rawURL string) string {
	const hidden = "(hidden URL)"
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || strings.ContainsFunc(u.Host, unprintable) {
		return hidden
	}
	if strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		// in "http://user:pass/word@host", the host seems to be a part of the password
		return hidden
	}
	shown := u.Scheme + "://" + u.Host
	if u.Scheme == "" {
		shown = "//" + u.Host
	}
	if (u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == "" {
		return shown + "/"
	}
	return shown + "/…"
}

// redactor removes a client's secrets from texts that others wrote.
type redactor struct {
	secrets [][]byte // longest first
	longest int
}

// newRedactor collects the secrets of o. target and proxy are its parsed URLs; proxy may be nil.
func newRedactor(o Options, target, proxy *url.URL) *redactor {
	b := &redactor{}
	b.add(shortSecret, o.AuthHeader)
	if scheme, token, ok := strings.Cut(o.AuthHeader, " "); ok && scheme != "" {
		b.add(shortSecret, strings.TrimSpace(token))
	}
	for _, secret := range o.SigningSecrets {
		_, key, _ := strings.Cut(secret, "_")
		b.add(shortSecret, secret, key)
	}
	for _, s := range o.Signatures {
		b.add(shortSecret, s.Secret)
	}
	for _, value := range o.Headers {
		b.add(shortValue, value)
	}
	b.addURL(target)
	b.addURL(proxy)
	slices.SortFunc(b.secrets, func(x, y []byte) int { return len(y) - len(x) })
	if len(b.secrets) > 0 {
		b.longest = len(b.secrets[0])
	}
	return b
}

func (b *redactor) add(short int, secrets ...string) {
	for _, s := range secrets {
		if len(s) >= short {
			b.secrets = append(b.secrets, []byte(s))
		}
	}
}

func (b *redactor) addURL(u *url.URL) {
	if u == nil {
		return
	}
	if password, ok := u.User.Password(); ok {
		b.add(shortSecret, u.User.String(), password, basic(u.User))
	} else if u.User != nil { // a token in place of a user
		b.add(shortSecret, u.User.String(), u.User.Username(), basic(u.User))
	}
	for _, segment := range strings.Split(u.Path+"/"+u.EscapedPath(), "/") {
		b.add(shortSegment, segment)
	}
	for _, pair := range strings.Split(u.RawQuery, "&") {
		_, raw, _ := strings.Cut(pair, "=")
		value, _ := url.QueryUnescape(raw)
		b.add(shortValue, raw, value)
	}
}

func (b *redactor) bytes(text []byte) []byte {
	for _, secret := range b.secrets {
		text = bytes.ReplaceAll(text, secret, []byte(hiddenText))
	}
	return text
}

// text removes secrets and control characters from s, and shortens it.
func (b *redactor) text(s string) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, string(b.bytes([]byte(s))))
	if len(s) > longestText {
		s = strings.ToValidUTF8(s[:longestText], "") + "…"
	}
	return s
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
