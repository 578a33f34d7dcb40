package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/http/httpguts"
)

// validator checks decoded values. It skips values that already have a problem.
type validator struct {
	*decoder
	cfg *Config
}

// problem reports a problem at path, at its place in the file or at the nearest value that contains
// it.
func (v *validator) problem(path, format string, args ...any) {
	if !v.findings.hasProblem(path) {
		v.findings.problem(v.place(path), path, fmt.Sprintf(format, args...))
	}
}

func (v *validator) warning(path, format string, args ...any) {
	if !v.findings.hasProblem(path) {
		v.findings.warning(v.place(path), path, fmt.Sprintf(format, args...))
	}
}

func (v *validator) place(path string) place { return source{places: v.places}.place(path) }

// show returns the value at path as written in the file.
func (v *validator) show(path string) string { return v.scalars[path].show() }

func (v *validator) config() {
	c := v.cfg
	v.listeners()
	v.serverTLS("tls", c.TLS)
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		v.problem("proxy_protocol", "needs trusted_proxies: the header is trusted only from them")
	}
	v.trustedProxies()
	v.dataDir()
	v.database()
	v.limits()
	v.identity()
	v.store()
	v.correlation()
	v.upstreams()
	v.projects()
	v.scanners()
	v.replications()
	v.webhooks()
	v.admin()
	v.secrets()
	v.files()
}

// correlation compares the times that belong together.
func (v *validator) correlation() {
	if c := v.cfg.Correlation; c.Pull < c.Repeat {
		v.warning("correlation.pull", "is shorter than correlation.repeat: a manifest that is read again in between continues a pull that has already ended, and its layers raise no event")
	}
}

// listeners checks the addresses of the listeners, and that they differ.
func (v *validator) listeners() {
	c := v.cfg
	if c.Listen == "" {
		v.problem("listen", "must not be empty")
	}
	type listener struct {
		path, host string
		port       int
	}
	var seen []listener
	for _, l := range []struct{ path, addr string }{
		{"listen", c.Listen}, {"health.listen", c.Health.Listen}, {"admin.listen", c.Admin.Listen},
	} {
		if l.addr == "" {
			continue
		}
		host, port, err := splitAddress(l.addr)
		if err != nil {
			v.problem(l.path, "must be an address like :5080 or 127.0.0.1:5080: %v", err)
			continue
		}
		for _, other := range seen {
			if port != 0 && port == other.port && overlap(host, other.host) {
				v.taken(l.path, l.addr, other.path)
			}
		}
		seen = append(seen, listener{l.path, host, port})
	}
}

// taken reports an address that another listener has. If one of the two is a default, the problem
// is reported at the key that is in the file.
func (v *validator) taken(path, addr, other string) {
	if _, written := v.places[path]; written {
		v.problem(path, "is used by %s", other)
		return
	}
	v.problem(other, "is used by %s, whose default is %s", path, addr)
}

// overlap reports whether listeners at two hosts conflict on the same port.
func overlap(a, b string) bool { return a == b || isAnyAddress(a) || isAnyAddress(b) }

func isAnyAddress(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// splitAddress splits host:port. Its errors do not show the address.
func splitAddress(addr string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("host and port are not separated by a colon")
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("the port is not a number from 0 to 65535")
	}
	if host != "" && !isHost(host) {
		return "", 0, fmt.Errorf("the host is neither a name nor an IP address")
	}
	return host, int(n), nil
}

// isHost reports whether host is a host name or an IP address, which may have a zone.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if host == "" || len(host) > 253 {
		return false
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	})
}

func (v *validator) serverTLS(path string, t ServerTLS) {
	v.pair(path, t.CertFile, t.KeyFile)
	if t.ClientCAFile != "" && t.CertFile == "" {
		v.problem(join(path, "client_ca_file"), "needs cert_file and key_file")
	}
	v.authorities(join(path, "client_ca_file"), t.ClientCAFile)
}

func (v *validator) clientTLS(path string, t ClientTLS) {
	v.pair(path, t.CertFile, t.KeyFile)
	v.authorities(join(path, "ca_file"), t.CAFile)
}

// files checks that the files of the configuration can be read.
func (v *validator) files() {
	eachFile(reflect.ValueOf(v.cfg).Elem(), "", func(path, name string) {
		file, err := os.Open(name)
		if err != nil {
			v.problem(path, "%s cannot be read: %v", v.show(path), withoutPath(err))
			return
		}
		file.Close()
	})
}

func (v *validator) dataDir() {
	if v.cfg.DataDir == "" {
		v.problem("data_dir", "must not be empty")
	} else if info, err := os.Stat(v.cfg.DataDir); err == nil && !info.IsDir() {
		v.problem("data_dir", "is not a directory")
	}
}

func (v *validator) database() {
	text := v.cfg.Database.Reveal()
	if text == "" {
		return
	}
	if c := v.cfg; c.ShutdownDelay >= c.ShutdownGrace {
		v.warning("shutdown_delay", "leaves no time of shutdown_grace (%s) for requests in flight", c.ShutdownGrace)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		v.problem("database", "must be a URL like postgres://user:password@host:5432/name")
	}
}

// limits checks durations and sizes that have bounds.
func (v *validator) limits() {
	if v.cfg.Limits.Connections < 0 {
		v.problem("limits.connections", "must not be negative")
	}
	if v.cfg.Limits.ConnectionsPerClient < 0 {
		v.problem("limits.connections_per_client", "must not be negative")
	}
	c := v.cfg.Correlation
	v.positive("correlation.untagged_push", c.UntaggedPush)
	v.positive("correlation.untagged_push_max", c.UntaggedPushMax)
	v.positive("correlation.pull", c.Pull)
	if c.UntaggedPushMax < c.UntaggedPush {
		v.problem("correlation.untagged_push_max", "must not be less than untagged_push")
	}
}

func (v *validator) positive(path string, d Duration) {
	if d <= 0 {
		v.problem(path, "must be more than 0")
	}
}

func (v *validator) identity() {
	id := v.cfg.Identity
	if id.Header != "" && !httpguts.ValidHeaderFieldName(id.Header) {
		v.problem("identity.header", "%s is not a valid header name", v.show("identity.header"))
	}
	if id.Header != "" && len(v.cfg.TrustedProxies) == 0 {
		v.problem("identity.header", "needs trusted_proxies: the header is trusted only from them")
	}
	for i, claim := range id.JWTClaims {
		if claim == "" {
			v.problem(fmt.Sprintf("identity.jwt_claims[%d]", i), "must not be empty")
		}
	}
	v.httpURL("identity.verify.jwks_url", id.Verify.JWKSURL)
	if id.Verify.JWKSFile != "" && !id.Verify.JWKSURL.IsZero() {
		v.problem("identity.verify", "needs one of jwks_file and jwks_url, not both")
	}
	for i, audience := range id.Verify.Audience {
		if audience == "" {
			v.problem(fmt.Sprintf("identity.verify.audience[%d]", i), "must not be empty")
		}
	}
	if keys := id.Verify.JWKSFile != "" || !id.Verify.JWKSURL.IsZero(); !keys && (len(id.Verify.Audience) > 0 || id.Verify.Issuer != "") {
		v.problem("identity.verify", "needs jwks_file or jwks_url: without keys no token can be verified")
	}
}

func (v *validator) store() {
	s := v.cfg.Store
	v.positive("store.timeout", s.Timeout)
	if most := s.Retention.MaxSize; most > 0 && most < 1<<20 {
		v.warning("store.retention.max_size", "is %d bytes, which keeps almost no delivered events; a number without a unit is bytes", int64(most))
	}
	for path, d := range map[string]Duration{
		"delivered": s.Retention.Delivered, "pulls": s.Retention.Pulls, "unmatched": s.Retention.Unmatched,
		"dead": s.Retention.Dead, "attempts": s.Retention.Attempts,
	} {
		v.positive("store.retention."+path, d)
	}
}

// httpURL checks a URL, which may be absent.
func (v *validator) httpURL(path string, address URL) {
	if address.IsZero() {
		return
	}
	u, problem := parseHTTP(address.Reveal())
	if problem == "" && u.Fragment != "" {
		problem = "must have no fragment"
	}
	if problem != "" {
		v.problem(path, "%s", problem)
	}
}

// parseHTTP parses an http or https URL. It returns the problem, or "". The problem never shows the
// URL, which may hold secrets.
func parseHTTP(text string) (*url.URL, string) {
	u, err := url.Parse(text)
	switch {
	case !strings.Contains(text+"//", "://"): // an upstream's url has lost the slashes at its end
		return nil, "must begin with http:// or https://"
	case err != nil || u.Opaque != "":
		return nil, "is not a URL; write it like https://host.example.com"
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "must begin with http:// or https://"
	case !isHost(u.Hostname()):
		return nil, "has no valid host"
	case !validPort(u):
		return nil, "has a port that is not a number from 1 to 65535"
	}
	return u, ""
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

// unique checks that names are given and differ.
func (v *validator) unique(block string, names []string) {
	seen := map[string]int{}
	for i, name := range names {
		path := fmt.Sprintf("%s[%d].name", block, i)
		if name == "" && block == "upstreams" {
			continue // its type is missing, which is reported elsewhere
		}
		if problem := checkName(name); problem != "" {
			v.problem(path, "%s", problem)
			continue
		}
		if first, taken := seen[name]; taken {
			at := v.place(fmt.Sprintf("%s[%d].name", block, first))
			v.problem(path, "the same name as %s[%d] in line %d; names are unique", block, first, at.line)
			continue
		}
		seen[name] = i
	}
}

func checkName(name string) string {
	const most = 128
	switch {
	case name == "":
		return "is missing"
	case len(name) > most:
		return fmt.Sprintf("is longer than %d bytes", most)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "has characters that cannot be printed"
	case strings.TrimSpace(name) != name:
		return "begins or ends with a space"
	}
	return ""
}
