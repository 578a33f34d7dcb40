package proxy

import (
	"net/http"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// keepInFront rewrites the addresses in an answer that would lead the client around bellbuoy: those that name the upstream itself.
// Redirects of blobs to storage are signed for the host that they name and are never touched.
func (x *exchange) keepInFront(h http.Header) {
	if location := h.Get("Location"); location != "" && !x.blob() {
		h.Set("Location", x.inFront(location))
	}
	for i, link := range h["Link"] {
		h["Link"][i] = x.linksInFront(link)
	}
}

// blob tells whether the request is one that is redirected to storage.
func (x *exchange) blob() bool {
	switch x.op.Action {
	case detect.BlobGet, detect.BlobHead, detect.ChartGet, detect.ProvenanceGet:
		return true
	}
	return false
}

// inFront is address under the scheme and host that the client uses, if it names the upstream itself. Everything behind the host stays, byte for byte.
func (x *exchange) inFront(address string) string {
	scheme, rest, ok := strings.Cut(address, "//")
	if !ok || x.fwd.host == "" || (scheme != "" && !strings.EqualFold(scheme, "http:") && !strings.EqualFold(scheme, "https:")) {
		return address
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if !x.upstreamItself(host) {
		return address
	}
	return x.scheme + "://" + x.fwd.host + path
}

// upstreamItself tells whether a host in an answer is the upstream, under its own name or under that by which the client called it.
func (x *exchange) upstreamItself(host string) bool {
	host = strings.ToLower(host)
	for _, own := range []string{x.route.URL.Host, x.fwd.host, x.in.Host} {
		own = strings.ToLower(own)
		if host == own || bare(host, "80") == bare(own, "80") || bare(host, "443") == bare(own, "443") {
			return true
		}
	}
	return false
}

// linksInFront does for each <address> of a Link header what inFront does.
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
		b.WriteString("<" + x.inFront(address) + ">")
		link = after
	}
}
