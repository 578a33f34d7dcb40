package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// forwarded is the client's end of the connection: as bellbuoy sees it or, if the peer is a trusted
// proxy, as its headers say.
type forwarded struct {
	peer    netip.Addr // the other end of the connection; zero if it is no IP address (a Unix socket)
	behind  bool       // peer is the source that a PROXY header names
	trusted bool       // peer is one of the trusted proxies; never true if behind is
	address string     // of the client, without port
	scheme  string     // http or https, as the client sees it; "" if the peer does not say
	host    string     // as the client named it
	spoofed bool       // forwarding headers from a peer that is not trusted
	silent  bool       // no forwarding headers at all
}

// seen reads the client's end of r.
func (g *generation) seen(r *http.Request) forwarded {
	f := forwarded{peer: listen.Peer(r.RemoteAddr), host: r.Host}
	f.address = f.peer.String()
	if !f.peer.IsValid() {
		f.address = r.RemoteAddr
	}
	if !strings.HasPrefix(r.RequestURI, "/") {
		f.host = strings.Clone(r.Host) // it is a part of the request line
	}
	f.behind = listen.BehindProxy(r.Context())
	f.trusted = !f.behind && listen.Trusts(g.TrustedProxies, f.peer)
	f.silent = !anyForwarding(r.Header, g.Identity.Header)
	switch {
	case f.silent:
	case f.trusted:
		f.believe(r.Header, g.TrustedProxies)
	default:
		f.spoofed = true
	}
	return f
}

// believe reads the headers of a trusted proxy. X-Forwarded-* counts more than Forwarded: proxies
// that send both keep the former up to date.
func (f *forwarded) believe(h http.Header, trusted []netip.Prefix) {
	element := firstElement(h.Get("Forwarded"))
	if list := h.Values("X-Forwarded-For"); len(list) > 0 {
		f.address = clientAddress(strings.Split(strings.Join(list, ","), ","), trusted, f.address)
	} else if list := h.Values("Forwarded"); len(list) > 0 {
		f.address = clientAddress(forwardedFor(strings.Join(list, ",")), trusted, f.address)
	}
	scheme := strings.ToLower(firstOf(h.Get("X-Forwarded-Proto")))
	if scheme == "" {
		scheme = strings.ToLower(element["proto"])
	}
	if scheme == "http" || scheme == "https" {
		f.scheme = scheme
	}
	host := firstOf(h.Get("X-Forwarded-Host"))
	if host == "" {
		host = element["host"]
	}
	if plausibleHost(host) {
		f.host = strings.Clone(host) // it is a part of a header that may be long
	}
}

// CallerOf returns who sends a request, as bellbuoy sees it or as the headers of a trusted proxy
// say: the address (zero if it is no IP address), whether the caller uses TLS, and the host that
// the caller named.
func CallerOf(r *http.Request, trusted []netip.Prefix) (address netip.Addr, https bool, host string) {
	g := generation{Options: Options{TrustedProxies: trusted}}
	f := g.seen(r)
	address, _ = netip.ParseAddr(f.address)
	return address, f.scheme == "https" || f.scheme == "" && r.TLS != nil, f.host
}

// clientAddress returns the last address of the list that is not a trusted proxy's. The entries
// before it were not written by a trusted proxy, and prove nothing.
func clientAddress(list []string, trusted []netip.Prefix, otherwise string) string {
	found := otherwise
	for _, entry := range slices.Backward(list) {
		a := addressIn(strings.TrimSpace(entry))
		if !a.IsValid() {
			return found
		}
		found = a.String()
		if !listen.Trusts(trusted, a) {
			return found
		}
	}
	return found
}

// addressIn reads an address that may have a port and brackets.
func addressIn(s string) netip.Addr {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap()
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap()
	}
	return netip.Addr{}
}

// schemeFor returns the scheme that the client sees: the one that a trusted peer names; else https
// if this connection is TLS, or if the host is that of an external_url with https; else http.
func (f *forwarded) schemeFor(rt *route, r *http.Request) string {
	switch {
	case f.scheme != "":
		return f.scheme
	case r.TLS != nil:
		return "https"
	case rt.External != nil && rt.External.Scheme == "https" && strings.EqualFold(bare(f.host, "443"), bare(rt.External.Host, "443")):
		return "https"
	}
	return "http"
}

// external returns how payloads name the upstream: by its external_url, by the host that the client
// named, or else by its own.
func (f *forwarded) external(rt *route, scheme string) detect.External {
	switch {
	case rt.External != nil:
		return detect.External{Scheme: rt.External.Scheme, Host: rt.External.Host + strings.TrimRight(rt.External.EscapedPath(), "/")}
	case f.host != "" && f.namesUpstream(rt):
		return detect.External{Scheme: scheme, Host: f.host}
	}
	return detect.External{Scheme: rt.URL.Scheme, Host: rt.URL.Host}
}

// namesUpstream reports whether the request's Host may stand in payloads.
func (f *forwarded) namesUpstream(rt *route) bool {
	if !plausibleHost(f.host) {
		return false
	}
	if slices.ContainsFunc(rt.Hosts, func(h string) bool { return sameHost(h, f.host) }) {
		return true
	}
	return f.peer.IsLoopback() && !f.behind && f.silent
}

// headers appends to fields the forwarding headers for the upstream. They replace the client's own;
// the lists of a trusted proxy are continued. in is the client's header.
func (f *forwarded) headers(fields []carry.Field, in http.Header, scheme string) []carry.Field {
	peer := f.peerName()
	if prior := in["X-Forwarded-For"]; f.trusted && len(prior) > 0 {
		peer = strings.Join(prior, ", ") + ", " + peer
	}
	fields = append(fields, carry.Field{Name: "X-Forwarded-For", Value: peer}, carry.Field{Name: "X-Forwarded-Proto", Value: scheme})
	if f.host != "" {
		fields = append(fields, carry.Field{Name: "X-Forwarded-Host", Value: f.host})
	}
	if prior := in["Forwarded"]; f.trusted && len(prior) > 0 {
		fields = append(fields, carry.Field{Name: "Forwarded", Value: strings.Join(prior, ", ") + ", for=" + forwardedNode(f.peer)})
	}
	return fields
}

// peerName returns the name of the peer in X-Forwarded-For.
func (f *forwarded) peerName() string {
	switch {
	case !f.peer.IsValid():
		return "unknown"
	case !f.trusted:
		return f.address
	}
	return f.peer.String()
}

func forwardedNode(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "unknown"
	case a.Is6():
		return `"[` + a.String() + `]"`
	}
	return a.String()
}

func anyForwarding(h http.Header, identityHeader string) bool {
	for name := range h {
		if carry.IsForwarding(name) {
			return true
		}
	}
	return identityHeader != "" && h.Get(identityHeader) != ""
}

// firstElement returns the parameters of the first element of a Forwarded header.
func firstElement(v string) map[string]string {
	found := map[string]string{}
	for _, pair := range strings.Split(firstOf(v), ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
			found[strings.ToLower(name)] = strings.Trim(value, `"`)
		}
	}
	return found
}

// forwardedFor returns the for= nodes of a Forwarded header, in order.
func forwardedFor(v string) []string {
	var nodes []string
	for _, element := range strings.Split(v, ",") {
		nodes = append(nodes, firstElement(element)["for"])
	}
	return nodes
}

func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// plausibleHost reports whether s may be a host with or without port: it will stand in headers and
// payloads.
func plausibleHost(s string) bool {
	return s != "" && len(s) <= 255 && strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_:[]", c)
	}) < 0
}

// bare returns host without its port, if that is the given one.
func bare(host, port string) string {
	if name, p, err := net.SplitHostPort(host); err == nil && p == port {
		return name
	}
	return host
}
