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
	blotted      = "***"
	shortSecret  = 4  // what is shorter is no secret, and blotting it would make text unreadable
	shortValue   = 6  // the same for header and query values, which need not be secrets
	shortSegment = 16 // the same for a segment of the path
	longestText  = 400
)

// Redact shows of a URL what identifies it without giving it away: scheme, host and port. For Slack, Teams
// and Discord the path is the secret, so of the rest it only says that there is one: "https://host/…".
// What is no URL with a host is not shown at all.
func Redact(rawURL string) string {
	const hidden = "(hidden URL)"
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || strings.ContainsFunc(u.Host, unprintable) {
		return hidden
	}
	if strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		return hidden // "http://user:pass/word@host": what looks like the host may be half a password
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

// blot knows a client's secrets and takes them out of what others said.
type blot struct {
	secrets [][]byte // longest first
	longest int
}

// newBlot collects the secrets of o; target and proxy are its parsed URLs, proxy may be nil.
func newBlot(o Options, target, proxy *url.URL) *blot {
	b := &blot{}
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

func (b *blot) add(short int, secrets ...string) {
	for _, s := range secrets {
		if len(s) >= short {
			b.secrets = append(b.secrets, []byte(s))
		}
	}
}

func (b *blot) addURL(u *url.URL) {
	if u == nil {
		return
	}
	if password, ok := u.User.Password(); ok {
		b.add(shortSecret, u.User.String(), password, basic(u.User))
	} else if u.User != nil { // a token in the user's place
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

func (b *blot) bytes(text []byte) []byte {
	for _, secret := range b.secrets {
		text = bytes.ReplaceAll(text, secret, []byte(blotted))
	}
	return text
}

// text also makes what others said printable and short.
func (b *blot) text(s string) string {
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
