package upstream

import (
	"net/http"
	"strings"
)

// challenge is one of the ways in which a 401 offers to be answered.
type challenge struct {
	scheme string            // lower case
	params map[string]string // names in lower case
}

const (
	maxChallengeHeader = 16 << 10
	maxChallenges      = 16
	maxParams          = 32
)

// parseChallenges reads WWW-Authenticate (RFC 9110 §11.6.1). It is lenient as clients are: values may be unquoted,
// and what makes no sense is skipped up to the next comma.
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

// cutValue reads `= value` or `= "value"` from the start of s. Any byte of stops ends a value without quotes.
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

// cutQuoted reads up to the closing quote, undoing backslashes. Without one, everything is the value.
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

// cutToken reads an RFC 9110 token.
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

// offer is the first challenge of a scheme.
func offer(challenges []challenge, scheme string) (challenge, bool) {
	for _, c := range challenges {
		if c.scheme == scheme {
			return c, true
		}
	}
	return challenge{}, false
}

// TokenRealm is the address of the token server that an answer names; "" where it names none.
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
