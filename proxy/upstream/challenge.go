package upstream

import (
	"net/http"
	"strings"
)

// challenge is one challenge of a WWW-Authenticate header.
type challenge struct {
	scheme string            // lower case
	params map[string]string // names in lower case
}

const (
	maxChallengeHeader = 16 << 10
	maxChallenges      = 16
	maxParams          = 32
)

// parseChallenges parses WWW-Authenticate headers (RFC 9110 §11.6.1). Like clients, it accepts
// unquoted values, and after a syntax error it continues at the next comma.
func parseChallenges(headers []string) []challenge {
	var found []challenge
	for _, header := range headers {
		if len(header) > maxChallengeHeader {
			continue
		}
		found = parseChallenge(found, header)
	}
	return found
}

func parseChallenge(found []challenge, s string) []challenge {
	s = strings.TrimLeft(s, " \t,")
	fresh := true // no scheme seen yet in this header
	for s != "" && len(found) <= maxChallenges {
		word, rest := cutToken(s)
		if word == "" {
			s = afterComma(s)
			continue
		}
		value, after, isParam := cutValue(rest, ", \t")
		switch {
		case !isParam:
			found = append(found, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			fresh = false
			s = strings.TrimLeft(rest, " \t,")
			continue
		case !fresh && len(found[len(found)-1].params) < maxParams:
			last := found[len(found)-1].params
			if name := strings.ToLower(word); last[name] == "" {
				last[name] = value
			}
		}
		s = strings.TrimLeft(after, " \t,")
	}
	return found[:min(len(found), maxChallenges)]
}

// cutValue parses `= value` or `= "value"` at the start of s. Any byte of stops ends an unquoted
// value.
func cutValue(s, stops string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !ok {
		return "", s, false
	}
	s = strings.TrimLeft(s, " \t")
	if quoted, isQuoted := strings.CutPrefix(s, `"`); isQuoted {
		value, rest = cutQuoted(quoted)
		return value, rest, true
	}
	end := strings.IndexAny(s, stops)
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:], true
}

// cutQuoted reads up to the closing quote and removes backslashes. Without a closing quote, all of
// s is the value.
func cutQuoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i+1 < len(s) {
				i++
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// cutToken parses an RFC 9110 token at the start of s.
func cutToken(s string) (token, rest string) {
	end := 0
	for end < len(s) && isTokenByte(s[end]) {
		end++
	}
	return s[:end], s[end:]
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func afterComma(s string) string {
	_, rest, _ := strings.Cut(s, ",")
	return strings.TrimLeft(rest, " \t,")
}

// offer returns the first challenge with a scheme.
func offer(challenges []challenge, scheme string) (challenge, bool) {
	for _, c := range challenges {
		if c.scheme == scheme {
			return c, true
		}
	}
	return challenge{}, false
}

// TokenRealm returns the URL of the token server in a response's header, or "" if it has none.
func TokenRealm(h http.Header) string {
	bearer, _ := offer(parseChallenges(h.Values("Www-Authenticate")), "bearer")
	return bearer.params["realm"]
}

func insufficientScope(headers []string) bool {
	for _, c := range parseChallenges(headers) {
		if strings.EqualFold(c.params["error"], "insufficient_scope") {
			return true
		}
	}
	return false
}
