package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

func (v *validator) upstreams() {
	if len(v.cfg.Upstreams) == 0 {
		v.problem("upstreams", "is missing: at least one upstream is required")
	}
	v.unique("upstreams", v.upstreamNames())
	for i, u := range v.cfg.Upstreams {
		at := fmt.Sprintf("upstreams[%d]", i)
		v.upstream(at, u)
		v.reachable(i, at)
	}
}

func (v *validator) upstreamNames() []string {
	var names []string
	for _, u := range v.cfg.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

// writtenNames returns the names of upstreams that a message may show: those without ${…}.
func (v *validator) writtenNames() []string {
	var names []string
	for i, name := range v.upstreamNames() {
		if at := fmt.Sprintf("upstreams[%d].", i); name != "" && !v.scalars[at+"name"].expanded && !v.scalars[at+"type"].expanded {
			names = append(names, name)
		}
	}
	return names
}

func (v *validator) upstream(at string, u Upstream) {
	if u.Type == "" {
		v.problem(at+".type", "is missing; want registry or chartmuseum")
	}
	v.upstreamURL(at+".url", u.URL, true)
	v.externalURL(at+".external_url", u)
	for i, host := range u.Hosts {
		if !isHostPort(host) {
			p := fmt.Sprintf("%s.hosts[%d]", at, i)
			v.problem(p, "%s is not a host name, with or without a port", v.show(p))
		}
	}
	if u.PathPrefix != "" && !isPathPrefix(u.PathPrefix) {
		v.problem(at+".path_prefix", "must begin with / and be clean: /charts, not charts or /charts/")
	}
	for i, p := range u.Paths {
		if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "?#") {
			v.problem(fmt.Sprintf("%s.paths[%d]", at, i), "must be a path that begins with /")
		}
	}
	v.credentials(at+".credentials", u.Credentials)
	v.clientTLS(at+".tls", u.TLS)
	v.unusedTLS(at+".tls", u.URL, u.TLS)
}

// upstreamURL checks scheme, host and port, and a path if one is allowed.
func (v *validator) upstreamURL(at, text string, path bool) {
	if text == "" {
		v.problem(at, "is missing")
		return
	}
	u, problem := parseHTTP(text)
	switch {
	case problem != "":
	case u.User != nil:
		problem = "must have no user; use credentials"
	case u.RawQuery != "" || u.Fragment != "":
		problem = "must have no query or fragment"
	case u.Path != "" && !path:
		problem = "must be scheme, host and port only"
	case strings.HasSuffix(u.Path, "/v2"):
		problem = "must not end in /v2, with which clients' paths begin"
	case u.Path != "" && (!isPathPrefix(u.Path) || u.RawPath != ""):
		problem = "must have a clean path without escapes, like /artifactory/api/docker/local"
	}
	if problem != "" {
		v.problem(at, "%s", problem)
	}
}

// externalURL checks that consumers read the URL's host as a registry. They take a name without a
// dot or a port for a repository of Docker Hub.
func (v *validator) externalURL(at string, u Upstream) {
	if u.ExternalURL == "" {
		// A wrong URL is reported elsewhere.
		if own, problem := parseHTTP(u.URL); problem == "" {
			v.warning(parentPath(at), "external_url is not set: payloads name the upstream's own host%s", v.hostOf(own, parentPath(at)))
		}
		return
	}
	ext, problem := parseHTTP(u.ExternalURL)
	switch {
	case problem != "":
	case ext.User != nil || ext.RawQuery != "" || ext.Fragment != "":
		problem = "must have no user, query or fragment"
	case !looksLikeRegistry(ext):
		problem = "must have a host with a dot or a port, or localhost; consumers read other names as Docker Hub's"
	case u.Type == TypeRegistry && strings.Trim(ext.Path, "/") != "":
		problem = "must have no path: clients request /v2/ right after the host, and a path before repositories is part of their names"
	}
	if problem != "" {
		v.problem(at, "%s", problem)
	}
}

// hostOf returns the host of an upstream's URL for a message, or "" if it was expanded.
func (v *validator) hostOf(u *url.URL, at string) string {
	if v.scalars[at+".url"].expanded {
		return ""
	}
	return " (" + u.Host + ")"
}

func looksLikeRegistry(u *url.URL) bool {
	return strings.ContainsAny(u.Host, ".:") || u.Host == "localhost"
}

// reachable rejects an upstream whose requests all go to an earlier one of the same type.
func (v *validator) reachable(i int, at string) {
	u := v.cfg.Upstreams[i]
	for j, other := range v.cfg.Upstreams[:i] {
		if len(u.Paths) == 0 && u.Type == other.Type && u.PathPrefix == other.PathPrefix && takesHosts(other.Hosts, u.Hosts) {
			v.problem(at, "gets no requests: upstreams[%d] has the same type, path_prefix and hosts; set hosts or path_prefix", j)
			return
		}
	}
}

// takesHosts reports whether an earlier upstream's hosts include all of a later one's.
func takesHosts(earlier, later []string) bool {
	if len(later) == 0 || len(earlier) == 0 {
		return len(later) == len(earlier)
	}
	return !slices.ContainsFunc(later, func(host string) bool { return !slices.Contains(earlier, host) })
}

func isHostPort(text string) bool {
	if isHost(text) {
		return true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		_, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil
	}
	host, port, err := splitAddress(text)
	return err == nil && host != "" && port != 0
}

func isPathPrefix(text string) bool {
	return strings.HasPrefix(text, "/") && text != "/" && path.Clean(text) == text && !strings.ContainsAny(text, "?#%")
}

func (v *validator) credentials(at string, c Credentials) {
	v.login(at, c.Username, c.Password)
	for i, realm := range c.Realms {
		if !isRealm(realm) {
			v.problem(fmt.Sprintf("%s.realms[%d]", at, i), "must be a host, or a URL like https://auth.example.com/token")
		}
	}
}

func isRealm(text string) bool {
	if !strings.Contains(text, "://") {
		return isHostPort(text)
	}
	u, problem := parseHTTP(text)
	return problem == "" && u.User == nil
}

func (v *validator) login(at, username string, password Secret) {
	if username != "" && password == "" {
		v.problem(at+".password", "is missing: username needs it")
	}
	if username == "" && password != "" {
		v.problem(at+".username", "is missing: password needs it")
	}
}

func (v *validator) projects() {
	for i, p := range v.cfg.Projects {
		at := fmt.Sprintf("projects[%d]", i)
		if p.Match == "" {
			v.problem(at+".match", "is missing")
		}
		v.globs(at, "match", projectGlobs, []string{p.Match})
		if p.Quota.Limit == 0 && len(p.Quota.WarnAt) > 0 {
			v.problem(at+".quota.limit", "is missing: warn_at is a share of it")
		}
	}
}

func (v *validator) scanners() {
	var names []string
	for i, s := range v.cfg.Scanners {
		names = append(names, s.Name)
		v.scanner(fmt.Sprintf("scanners[%d]", i), s)
	}
	v.unique("scanners", names)
}

func (v *validator) scanner(at string, s Scanner) {
	if s.URL.IsZero() {
		v.problem(at+".url", "is missing")
	}
	v.httpURL(at+".url", s.URL)
	v.positive(at+".timeout", s.Timeout)
	v.scannerAuth(at+".auth", s.Auth)
	v.clientTLS(at+".tls", s.TLS)
	v.unusedTLS(at+".tls", s.URL.Reveal(), s.TLS)
	v.globs(at+".match", "repositories", repositoryGlobs, s.Match.Repositories)
	v.onlyOneSegment(at+".match", s.Match.Repositories)
	v.login(at+".registry_credentials", s.RegistryCredentials.Username, s.RegistryCredentials.Password)
	if strings.Contains(s.RegistryCredentials.Username, ":") {
		v.problem(at+".registry_credentials.username", "must have no colon: HTTP Basic ends it there")
	}
	if strings.Contains(string(s.RegistryCredentials.Password), ":") {
		v.warning(at+".registry_credentials.password", "has a colon: Harbor's adapter for Trivy cuts it there, and cannot log in")
	}
	v.scannerReach(at, s)
	if s.RegistryURL != "" {
		v.upstreamURL(at+".registry_url", strings.TrimSuffix(s.RegistryURL, "/"), false)
	}
}

// scannerReach warns if a scanner cannot reach the artifacts that it must scan: scanners address a
// registry by its host, without a path.
func (v *validator) scannerReach(at string, s Scanner) {
	registries := 0
	for _, u := range v.cfg.Upstreams {
		if u.Type != TypeRegistry {
			continue
		}
		registries++
		if own, problem := parseHTTP(u.URL); problem == "" && own.Path != "" && s.RegistryURL == "" {
			v.warning(at, "registry_url is not set, and an upstream's url has a path: scanners pull by host only; name the registry as users do")
		}
	}
	switch {
	case registries == 0:
		v.warning(at, "scans nothing: no upstream is a registry")
	case registries > 1 && s.RegistryURL != "":
		v.warning(at+".registry_url", "is used for every registry, and there are %d: leave it empty, or match the repositories of one", registries)
	}
}

func (v *validator) scannerAuth(at string, a ScannerAuth) {
	basic, token := a.Type == "basic", a.Type == "bearer" || a.Type == "api_key"
	if basic && (a.Username == "" || a.Password == "") {
		v.problem(at, "basic needs username and password")
	}
	if token && a.Token == "" {
		v.problem(at, "%s needs token", a.Type)
	}
	if !basic && (a.Username != "" || a.Password != "") || !token && a.Token != "" {
		v.problem(at, "has a credential that type %s does not use", a.Type)
	}
}

func (v *validator) replications() {
	var names []string
	for i, r := range v.cfg.Replication {
		names = append(names, r.Name)
		at := fmt.Sprintf("replication[%d]", i)
		v.positive(at+".quiet", r.Quiet)
		v.globs(at+".match", "user_agents", agentGlobs, r.Match.UserAgents)
		v.globs(at+".match", "operators", operatorGlobs, r.Match.Operators)
		who := len(r.Match.Operators) + len(r.Match.SourceCIDRs)
		if who+len(r.Match.UserAgents) == 0 {
			v.problem(at+".match", "needs at least one of user_agents, operators and source_cidrs")
		} else if !r.AlsoPushEvents && who == 0 {
			v.problem(at+".also_push_events", "false needs operators or source_cidrs in match: any client can send a user agent and so hide its pushes")
		}
	}
	v.unique("replication", names)
}

// isLoopback reports whether only this machine can reach a listener's address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
