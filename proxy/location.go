package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
)

// keepInFront rewrites the addresses in an answer that would lead the client around bellbuoy:
// those that name the upstream itself.
func (x *exchange) keepInFront(h http.Header) {
	if location := h.Get("Location"); location != "" {
		h.Set("Location", x.inFront(location, true))
	}
	for i, link := range h["Link"] {
		h["Link"][i] = x.linksInFront(link)
	}
}

// inFront returns an address of the upstream as the client reaches it: under the scheme and host
// that the client uses, and without the path of the upstream's URL. The rest stays, byte for byte.
// An address is returned unchanged if it names another host, if its query is signed for its host,
// or if its path would not be routed to the same upstream. In the last case bellbuoy warns if warn
// is set.
func (x *exchange) inFront(address string, warn bool) string {
	scheme, host, target, absolute := cutAddress(address)
	switch {
	case x.fwd.host == "" || !absolute && !strings.HasPrefix(address, "/"):
		return address // relative to what the client asked for
	case absolute && (!x.upstreamItself(scheme, host) || signed(target) && !x.route.OwnHost):
		return address
	}
	inner, reached := x.route.reaches(target)
	if !reached || !x.routedHere(inner) {
		if warn {
			x.warnAstray(target)
		}
		return address
	}
	if !absolute {
		return inner
	}
	return x.scheme + "://" + x.fwd.host + inner
}

// cutAddress splits an absolute address. scheme is "" if it has none (//host/path).
func cutAddress(address string) (scheme, host, target string, absolute bool) {
	scheme, rest, ok := strings.Cut(address, "//")
	if !ok || scheme != "" && !strings.HasSuffix(scheme, ":") {
		return "", "", address, false
	}
	scheme = strings.ToLower(strings.TrimSuffix(scheme, ":"))
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return scheme, rest[:i], rest[i:], true
	}
	return scheme, rest, "", true
}

// upstreamItself reports whether a scheme and host in an answer are the upstream's own, or the
// host is the one that the client named: an upstream may not know which scheme clients use.
func (x *exchange) upstreamItself(scheme, host string) bool {
	own := x.route.URL
	if (scheme == "" || scheme == own.Scheme) && strings.EqualFold(bare(host, portOf(own.Scheme)), bare(own.Host, portOf(own.Scheme))) {
		return true
	}
	if scheme != "" && portOf(scheme) == "" {
		return false
	}
	for _, named := range []string{x.fwd.host, x.in.Host} {
		if strings.EqualFold(bare(host, "80"), bare(named, "80")) || strings.EqualFold(bare(host, "443"), bare(named, "443")) {
			return true
		}
	}
	return false
}

// portOf returns the usual port of a scheme, or "" if the scheme is not HTTP's.
func portOf(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// signed reports whether the query of a target is signed, so that it is valid only for the host for
// which it was made.
func signed(target string) bool {
	_, query, ok := strings.Cut(target, "?")
	if !ok {
		return false
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		switch strings.ToLower(name) {
		case "x-amz-signature", "x-goog-signature", "signature", "sig":
			return true
		}
	}
	return false
}

// routedHere reports whether a client's request for a target would go to the same upstream.
func (x *exchange) routedHere(target string) bool {
	path := target
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		path = target[:i]
	}
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	return x.g.find(x.fwd.host, path) == x.route
}

// warnAstray warns, once for each upstream, of an address in its answers that does not lead
// back to it.
func (x *exchange) warnAstray(target string) {
	if x.route.astray.Swap(true) {
		return
	}
	path := target
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		path = target[:i]
	}
	x.g.Log.Warn("an upstream sends clients to a path that does not lead back to it: name that path, or one above it, in its paths",
		zap.String("upstream", x.route.Name), zap.String("path", bounded(path, 256)), zap.String("key", "upstreams[].paths"))
}

// linksInFront returns a Link header with each <address> as inFront returns it.
func (x *exchange) linksInFront(link string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(link, "<")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		address, after, ok := strings.Cut(rest, ">")
		if !ok {
			return b.String() + "<" + rest
		}
		b.WriteString("<" + x.inFront(address, false) + ">")
		link = after
	}
}
