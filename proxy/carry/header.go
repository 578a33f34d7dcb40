package carry

import (
	"net/http"
	"strings"
)

// Header says how the header of the upstream's request differs from the client's.
type Header struct {
	Host string
	// Set replaces what the client sent under these names. Names are canonical.
	Set []Field
	// Forwarding lets the client's other forwarding headers through: its peer is a trusted
	// proxy.
	Forwarding bool
	// Dropped is one more header that does not go upstream. "": none.
	Dropped string
}

// Field is a header's name and value.
type Field struct{ Name, Value string }

// IsForwarding reports whether a header speaks for somebody in front. name is canonical.
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

// appendTo writes the upstream's header of a request from a client's. Both were checked when they
// came: none holds a line's end. Length, framing and the empty line are left to the caller.
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

// apply makes out, which httputil.ReverseProxy has copied from in without the headers between two
// hops, the upstream's header. It has taken out some forwarding headers, too.
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

// dropNamed takes out the headers that Connection names: they are between the upstream and
// bellbuoy.
func dropNamed(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
}

// betweenHops reports whether a header is between two hops. name is canonical.
func betweenHops(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}
