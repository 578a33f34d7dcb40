package proxy

import (
	"net/http"
	"strings"
)

// appendRequest writes the upstream's request. Its method, path and headers were checked when they came: none holds a line's end.
func (x *exchange) appendRequest(b []byte) []byte {
	b = append(b, x.in.Method...)
	b = append(b, ' ')
	b = append(b, x.sent...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if host := x.in.Host; host != "" && !x.route.OwnHost {
		b = append(b, host...)
	} else {
		b = append(b, x.route.URL.Host...)
	}
	b = append(b, "\r\n"...)
	hop := x.in.Header["Connection"]
	for name, values := range x.in.Header {
		if !x.passes(name, hop) {
			continue
		}
		for _, v := range values {
			b = appendHeader(b, name, v)
		}
	}
	b = x.appendForwarding(b)
	b = appendHeader(b, "X-Request-Id", x.op.ID)
	return append(b, "\r\n"...)
}

func appendHeader(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// appendForwarding writes the forwarding headers that dress makes.
func (x *exchange) appendForwarding(b []byte) []byte {
	if !x.fwd.trusted {
		b = appendHeader(b, "X-Forwarded-For", x.fwd.peerName())
		b = appendHeader(b, "X-Forwarded-Proto", x.scheme)
		if x.fwd.host != "" {
			b = appendHeader(b, "X-Forwarded-Host", x.fwd.host)
		}
		return b
	}
	dressed := http.Header{}
	for name, values := range x.in.Header {
		if forwardingHeader(name) {
			dressed[name] = values
		}
	}
	x.fwd.dress(dressed, x.scheme, "")
	for name, values := range dressed {
		for _, v := range values {
			b = appendHeader(b, name, v)
		}
	}
	return b
}

// passes tells whether one of the client's headers goes on to the upstream as it came.
func (x *exchange) passes(name string, hop []string) bool {
	if hopByHop(name) || forwardingHeader(name) || name == "X-Request-Id" || name == "Host" || name == "Content-Length" {
		return false // written on their own, or not at all
	}
	if !x.fwd.trusted && x.g.Identity.Header != "" && strings.EqualFold(name, x.g.Identity.Header) {
		return false
	}
	for _, list := range hop {
		for h := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(h), name) {
				return false
			}
		}
	}
	return true
}
