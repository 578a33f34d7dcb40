package proxy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// Upstream is a server to which requests are sent.
type Upstream struct {
	// Name is the configured name; it labels metrics and events. Unique.
	Name string
	Kind detect.Kind
	// URL has a scheme, a host, perhaps a port, and perhaps a path: the one below which the
	// upstream has its API. The path is put before the paths of requests, except those in Paths
	// and those that are below it already.
	URL *url.URL
	// External is how users name the upstream. Nil: by the Host of their requests, if that is
	// one of Hosts.
	External *url.URL
	// OwnHost sends the upstream its own name as Host instead of the client's.
	OwnHost bool
	// Hosts that lead here, with or without port; any when empty.
	Hosts []string
	// PathPrefix below which it is mounted: "" or "/x".
	PathPrefix string
	// Paths are further paths, and what is below them, that lead here.
	Paths []string
	// TLS is how an https upstream is called. Nil: the system's roots.
	TLS *tls.Config
	// Asker makes look-ups. Nil: there are none.
	Asker Asker
}

// route is an upstream with the carriers of its requests.
type route struct {
	Upstream
	base     string      // the URL's path: "" or "/x"
	lone     bool        // it is the only one, and gets every request
	astray   atomic.Bool // warnAstray has warned
	carriers *carry.Carriers
	meters   *meters
}

func newRoute(u Upstream, o Options) (*route, error) {
	if u.URL == nil || u.URL.Host == "" || (u.URL.Scheme != "http" && u.URL.Scheme != "https") {
		return nil, fmt.Errorf("upstream %s: %w", u.Name, errURL)
	}
	u.PathPrefix = strings.TrimRight(u.PathPrefix, "/")
	rt := &route{Upstream: u, base: strings.TrimRight(u.URL.EscapedPath(), "/"), lone: len(o.Upstreams) == 1, meters: o.Metrics.of(u.Name)}
	rt.carriers = carry.New(carry.Options{URL: u.URL, TLS: u.TLS, Connect: o.Limits.UpstreamConnect, ResponseHeader: o.Limits.UpstreamResponseHeader})
	return rt, nil
}

var errURL = errors.New("its URL needs a scheme (http or https) and a host, and nothing else")

// find returns the route of a request, or nil if there is none. host is as the client named it,
// path is decoded.
func (g *generation) find(host, path string) *route {
	if len(g.routes) == 1 {
		return g.routes[0]
	}
	var best *route
	var bestRank rank
	for _, rt := range g.routes {
		if r, ok := rt.rank(host, path); ok && (best == nil || r.compare(bestRank) > 0) {
			best, bestRank = rt, r
		}
	}
	return best
}

// rank orders the routes that match a request; the greatest wins, the first among equals.
type rank struct {
	path   int  // length of the entry in paths that matched
	prefix int  // length of the path prefix
	host   bool // the host is one of its own
	kind   bool // the path is of its API: /v2/ of registries, the rest of ChartMuseums
}

func (a rank) compare(b rank) int {
	return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.prefix, b.prefix), compareBool(a.host, b.host), compareBool(a.kind, b.kind))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// rank reports whether the route may get a request, and how well it fits.
func (rt *route) rank(host, path string) (rank, bool) {
	named := len(rt.Hosts) > 0
	if named && !slices.ContainsFunc(rt.Hosts, func(h string) bool { return sameHost(h, host) }) {
		return rank{}, false
	}
	r := rank{host: named, path: rt.further(path)}
	if rt.belowBase(path) {
		r.path = max(r.path, len(rt.base))
	}
	inner, below := cutPrefix(path, rt.PathPrefix)
	if !below {
		return r, r.path > 0
	}
	r.prefix = len(rt.PathPrefix)
	r.kind = (rt.Kind == detect.Registry) == ociPath(inner)
	return r, r.kind || r.path > 0 || r.prefix > 0 || named
}

// further returns the length of the longest entry in Paths that is a path or above it.
func (rt *route) further(path string) int {
	longest := 0
	for _, p := range rt.Paths {
		if _, ok := cutPrefix(path, strings.TrimRight(p, "/")); ok {
			longest = max(longest, len(p))
		}
	}
	return longest
}

// belowBase reports whether a decoded path is below the path of the upstream's URL already.
func (rt *route) belowBase(p string) bool {
	if rt.base == "" {
		return false
	}
	_, below := cutPrefix(p, rt.base)
	_, cleanly := cutPrefix(path.Clean(p), rt.base)
	return below && cleanly
}

// understood returns a decoded path as the upstream's API names it.
func (rt *route) understood(path string) string {
	if rt.belowBase(path) {
		return path[len(rt.base):]
	}
	return path
}

// sends returns the raw target that is sent to the upstream for that of a client. path is the
// client's, decoded.
func (rt *route) sends(target, path string) string {
	if rt.base == "" || upstream.Below(rt.base, rt.Paths, path) == path {
		return target
	}
	return rt.base + target
}

// escapes reports whether a decoded path could lead out of the path of the upstream's URL: a
// segment of it is . or .., also with parameters (..;x), which servlet containers cut off.
func (rt *route) escapes(path string) bool {
	if rt.base == "" || !strings.Contains(path, "/.") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			return true
		}
	}
	return false
}

// reaches returns the raw target that a client must send for the upstream to get target. It returns
// false if there is none.
func (rt *route) reaches(target string) (string, bool) {
	if rt.base == "" {
		return target, true
	}
	path, query := target, ""
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if inner, below := cutPrefix(path, rt.base); below {
		return cmp.Or(inner, "/") + query, true
	}
	return target, rt.further(path) > 0
}

// cutPrefix returns what follows a prefix that ends where a segment does.
func cutPrefix(path, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/' || prefix == "")
}

// ociPath reports whether a path belongs to the API of registries.
func ociPath(path string) bool {
	return path == "/v2" || strings.HasPrefix(path, "/v2/")
}

// sameHost compares a configured host, with or without port, with a request's.
func sameHost(configured, host string) bool {
	if strings.EqualFold(configured, host) {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	return err == nil && strings.EqualFold(strings.Trim(configured, "[]"), name)
}
