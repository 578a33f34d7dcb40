package carry

import (
	"net/http"
	"strings"
)

// Header says how the header of the request to the upstream differs from the client's.
type Header struct {
	Host string
	// Set replaces what the client sent under these names. Names are canonical.
	Set []Field
	// Forwarding keeps the other forwarding headers of the client, which is a trusted proxy.
	Forwarding bool
	// Dropped is a further header that does not go upstream. "": none.
	Dropped string
}

// Field is a header's name and value.
type Field struct{ Name, Value string }

// IsForwarding reports whether a header describes the request of the client of a proxy. name is
// canonical.
func IsForwarding(name string) bool {
	return name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-")
}

// keeps reports whether one of the client's headers goes upstream as it came. name is canonical.
func (h *Header) keeps(name string) bool {
	for i := range h.Set {
		if h.Set[i].Name == name {
			return false
		}
	}
	if IsForwarding(name) && !h.Forwarding {
		return false
	}
	return h.Dropped == "" || !strings.EqualFold(name, h.Dropped)
}

// appendTo appends the header of the request to the upstream, made of the client's. Neither has
// line ends in it: they were checked before. The caller appends length, framing and the empty line.
func (h *Header) appendTo(b []byte, in http.Header) []byte {
	b = appendField(b, "Host", h.Host)
	hop := in["Connection"]
	for name, values := range in {
		if betweenHops(name) || name == "Host" || name == "Content-Length" || !h.keeps(name) || named(hop, name) {
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	for _, f := range h.Set {
		b = appendField(b, f.Name, f.Value)
	}
	return b
}

// apply turns out into the header of the request to the upstream. httputil.ReverseProxy has made
// out of in, without hop-by-hop headers and without some forwarding headers.
func (h *Header) apply(out, in http.Header) {
	for name, values := range in {
		if !h.keeps(name) {
			delete(out, name)
		} else if IsForwarding(name) {
			out[name] = values
		}
	}
	for _, f := range h.Set {
		out[f.Name] = []string{f.Value}
	}
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// named reports whether the values of Connection name a header.
func named(connection []string, header string) bool {
	for _, list := range connection {
		for name := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(name), header) {
				return true
			}
		}
	}
	return false
}

// dropNamed removes the headers that Connection names, which are for the next hop only.
func dropNamed(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
}

// betweenHops reports whether a header is hop-by-hop. name is canonical.
func betweenHops(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}
