package config

import "net/netip"

// Upstream is one registry or ChartMuseum behind bellbuoy.
type Upstream struct {
	// Unique name; its type by default.
	Name string `yaml:"name"`
	// The API of the upstream.
	Type string `yaml:"type" enum:"registry|chartmuseum"`
	// Scheme, host and port. A path is allowed for a registry whose /v2/ lies below it: it is
	// put before the path of each request (not before paths) and removed from Location and Link
	// headers.
	URL string `yaml:"url"`
	// The URL by which users name it; its host has a dot, a port or is localhost. Payloads name
	// the upstream's own host if it is absent.
	ExternalURL string `yaml:"external_url"`
	// Host header for the upstream: the client's, or the upstream's own (for virtual hosts,
	// ECR, GHCR, ingresses).
	Host string `yaml:"host" default:"client" enum:"client|upstream"`
	// Host names that select this upstream; empty: any.
	Hosts []string `yaml:"hosts"`
	// Path below which this upstream is mounted, both at bellbuoy and at the upstream. A path
	// that only the upstream has belongs into url.
	PathPrefix string `yaml:"path_prefix"`
	// Further paths that are forwarded to this upstream unchanged.
	Paths []string `yaml:"paths"`
	// For bellbuoy's own look-ups only, never for clients' requests.
	Credentials Credentials `yaml:"credentials"`
	// TLS to an upstream with an https URL.
	TLS ClientTLS `yaml:"tls"`
}

// The values of Upstream.Type and Upstream.Host.
const (
	TypeRegistry    = "registry"
	TypeChartMuseum = "chartmuseum"
	HostClient      = "client"
	HostUpstream    = "upstream"
)

// Credentials are sent to an upstream with bellbuoy's own look-ups.
type Credentials struct {
	// User name.
	Username string `yaml:"username"`
	// Password or token.
	Password Secret `yaml:"password"`
	// Further token servers, as a host or an https URL, that may receive the credentials; the
	// upstream's own host may.
	Realms []string `yaml:"realms"`
}

// Project holds the settings of the projects that a glob matches.
type Project struct {
	// Glob of project names.
	Match string `yaml:"match"`
	// The repo_type in payloads; private if no project matches.
	Visibility string `yaml:"visibility" default:"private" enum:"public|private"`
	// Quota of the project. bellbuoy reports it and refuses nothing.
	Quota Quota `yaml:"quota"`
}

// Quota bounds the size of a project.
type Quota struct {
	// Most bytes; 0 is no limit.
	Limit Size `yaml:"limit"`
	// Shares of the limit at which to warn.
	WarnAt []Percent `yaml:"warn_at"`
}

// Scanner is a scanner adapter with Harbor's pluggable scanner API v1.
type Scanner struct {
	// Unique name.
	Name string `yaml:"name"`
	// Base URL of the adapter.
	URL URL `yaml:"url"`
	// Login to the adapter.
	Auth ScannerAuth `yaml:"auth"`
	// TLS to an adapter with an https URL.
	TLS ClientTLS `yaml:"tls"`
	// Registry from which the scanner pulls; the upstream's url by default.
	RegistryURL string `yaml:"registry_url"`
	// Login with which the scanner pulls; use a read-only account.
	RegistryCredentials Login `yaml:"registry_credentials"`
	// When to scan.
	Trigger string `yaml:"trigger" default:"push" enum:"push|manual"`
	// What to scan.
	Match ScannerMatch `yaml:"match"`
	// How often to scan what has a tag, such as 24h, because new vulnerabilities become known
	// without a push; also what was never scanned, as far as the tag index knows it. Never when
	// empty.
	Every Interval `yaml:"every"`
	// A scan that takes longer has failed.
	Timeout Duration `yaml:"timeout" default:"30m"`
}

// ScannerAuth is the login to a scanner adapter.
type ScannerAuth struct {
	// Kind of login.
	Type string `yaml:"type" default:"none" enum:"none|basic|bearer|api_key"`
	// User name, for basic.
	Username string `yaml:"username"`
	// Password, for basic.
	Password Secret `yaml:"password"`
	// Token, for bearer and api_key.
	Token Secret `yaml:"token"`
}

// Login is a user name and its password.
type Login struct {
	// User name.
	Username string `yaml:"username"`
	// Password or token.
	Password Secret `yaml:"password"`
}

// ScannerMatch selects the repositories that a scanner scans.
type ScannerMatch struct {
	// Globs of repositories.
	Repositories []string `yaml:"repositories" default:"**"`
}

// Replication says how a replication is recognised.
type Replication struct {
	// Unique name.
	Name string `yaml:"name"`
	// All given keys must match; at least one is required.
	Match ReplicationMatch `yaml:"match"`
	// A run ends when no request came for this long and no transfer is in flight.
	Quiet Duration `yaml:"quiet" default:"30s"`
	// Pushes of the replication also raise events of their own; false needs operators or
	// source_cidrs in match.
	AlsoPushEvents bool `yaml:"also_push_events" default:"true"`
}

// ReplicationMatch selects the requests of a replication.
type ReplicationMatch struct {
	// Globs of user agents, in which * matches any characters, ? one, [0-9] one of these, {a,b}
	// either.
	UserAgents []string `yaml:"user_agents"`
	// Globs of operators, as for user agents.
	Operators []string `yaml:"operators"`
	// CIDRs of clients.
	SourceCIDRs []netip.Prefix `yaml:"source_cidrs"`
}
