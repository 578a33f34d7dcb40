package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

// unambiguous reports whether a request means the same to every hop. RFC 9110 lets Connection
// name any header for the next hop to drop: it must not name one that decides what the request
// means, or the upstream would get another request. A target that is no path ("PRI *" of HTTP/2
// without TLS) is refused too.
func unambiguous(r *http.Request, identityHeader string) bool {
	if r.ProtoMajor > 1 && !wellFormed(r) {
		return false
	}
	if r.Method == http.MethodConnect || !strings.HasPrefix(rawTarget(r), "/") || strings.ContainsFunc(r.RequestURI, breaksLines) || strings.ContainsFunc(r.Host, breaksHosts) {
		return false
	}
	for _, v := range r.Header["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); decisive(name) || strings.EqualFold(name, identityHeader) && name != "" {
				return false
			}
		}
	}
	return true
}

// wellFormed checks in an HTTP/2 request what net/http does not check: that the target names no
// host, which HTTP/2 has a field for, and that there is at most one length, which is the body's.
func wellFormed(r *http.Request) bool {
	if !strings.HasPrefix(r.RequestURI, "/") {
		return false
	}
	length := r.Header["Content-Length"]
	return len(length) == 0 || len(length) == 1 && length[0] == strconv.FormatInt(r.ContentLength, 10)
}

// breaksLines reports whether a character would end a request's path early. HTTP/2 can carry some
// of these where HTTP/1.1 cannot.
func breaksLines(c rune) bool { return c <= ' ' || c == 0x7f }

func breaksHosts(c rune) bool { return breaksLines(c) || strings.ContainsRune(`/\?#@,"<>`, c) }

// decisive reports whether a header decides what a request means. name is canonical.
func decisive(name string) bool {
	switch name {
	case "Accept", "Authorization", "Cookie", "Expect", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "Range", "User-Agent", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(name, "Content-") || carry.IsForwarding(name)
}
