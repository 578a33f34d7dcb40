package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// placeholders may appear in the path and query of a URL.
var placeholders = []string{"tag", "digest", "repository", "namespace", "name", "type"}

var placeholder = regexp.MustCompile(`\{[A-Za-z_]*\}`)

// Placeholders returns the names of the placeholders in a URL, without braces and duplicates. An
// error describes an invalid one.
func Placeholders(rawURL string) ([]string, error) {
	var names []string
	authority := authorityOf(rawURL)
	for _, found := range placeholder.FindAllString(rawURL, -1) {
		name := strings.Trim(found, "{}")
		switch {
		case strings.Contains(authority, found):
			return nil, fmt.Errorf("has the placeholder %s in its host: only path and query may have one", found)
		case !slices.Contains(placeholders, name):
			return nil, fmt.Errorf("has the placeholder %s; there are {%s}", found, strings.Join(placeholders, "} {"))
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names, nil
}

// authorityOf returns the part of a URL between its scheme and its path.
func authorityOf(rawURL string) string {
	_, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		rest = rawURL
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// fill replaces the placeholders by percent-encoded values.
func fill(rawURL string, values map[string]string) (string, error) {
	var bad error
	filled := placeholder.ReplaceAllStringFunc(rawURL, func(found string) string {
		value := values[strings.Trim(found, "{}")]
		if value == "." || value == ".." {
			bad = fmt.Errorf("the value of %s would lead to another path", found)
		}
		return escape(value)
	})
	return filled, bad
}

// escape percent-encodes all characters that have a meaning in any part of a URL.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// Filled redacts a URL with placeholders as Redact does, but also shows the segments and query
// parameters that have a placeholder, with these values.
func Filled(rawURL string, values map[string]string) string {
	var shown []string
	path, query, _ := strings.Cut(rawURL, "?")
	_, path, _ = strings.Cut(path, "://")
	for _, segment := range strings.Split(path, "/")[1:] {
		if placeholder.MatchString(segment) {
			shown = append(shown, "/"+segment)
		}
	}
	separator := "?"
	for _, pair := range strings.Split(query, "&") {
		if placeholder.MatchString(pair) {
			shown = append(shown, separator+pair)
			separator = "&"
		}
	}
	text, err := fill(strings.Join(shown, ""), values)
	if err != nil {
		text = ""
	}
	return strings.TrimSuffix(Redact(placeholder.ReplaceAllString(rawURL, "x")), "/") + text
}

// target returns the URL of a message.
func (c *Client) target(m Message) (*url.URL, error) {
	if !c.filled {
		return c.url, nil
	}
	text, err := fill(c.raw, m.Values)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("url: is not a URL with the values of the event")
	}
	return withoutUser(u), nil
}

// AddressOf returns the address of a URL; false if the host is a name other than localhost, or if
// there is no URL.
func AddressOf(target string) (netip.AddrPort, bool) {
	u, err := url.Parse(target)
	if err != nil {
		return netip.AddrPort{}, false
	}
	digits, host := u.Port(), u.Hostname()
	if digits == "" {
		digits = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, ipErr := netip.ParseAddr(host)
	port, portErr := strconv.ParseUint(digits, 10, 16)
	return netip.AddrPortFrom(ip, uint16(port)), ipErr == nil && portErr == nil
}
