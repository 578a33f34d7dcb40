package config

import "net/netip"

// Upstream is one registry or ChartMuseum behind bellbuoy.
type Upstream struct {
	// Unique name, in events, metrics and match.upstreams; the type by default.
	Name string `yaml:"name"`
	// What the upstream is: an OCI registry or a ChartMuseum.
	Type string `yaml:"type" enum:"registry|chartmuseum"`
	// Where the upstream listens: scheme, host and port. A path is allowed for a registry whose
	// /v2/ lies below it: it is put before the path of each request (not before paths) and
	// removed from Location and Link headers.
	URL string `yaml:"url"`
	// The URL by which users name the upstream; its host has a dot, a port or is localhost.
	// Without it, payloads name the upstream's own host, which receivers can rarely use.
	ExternalURL string `yaml:"external_url"`
	// The Host header that the upstream gets. client: the client's. upstream: the upstream's
	// own, as virtual hosts, ECR, GHCR and ingresses need it.
	Host string `yaml:"host" default:"client" enum:"client|upstream"`
	// Host names of requests for this upstream; empty: any.
	Hosts []string `yaml:"hosts"`
	// Path below which this upstream is mounted, both at bellbuoy and at the upstream. A path
	// that only the upstream has belongs into url.
	PathPrefix string `yaml:"path_prefix"`
	// Further paths that are forwarded to this upstream unchanged, such as /service/token.
	Paths []string `yaml:"paths"`
	// Login for bellbuoy's own look-ups at the upstream. Clients' requests never use it.
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
	// User name; a read-only account is enough.
	Username string `yaml:"username"`
	// Password or token.
	Password Secret `yaml:"password"`
	// Further token servers that may receive the credentials, as a host or an https URL. The
	// upstream's own host always may.
	Realms []string `yaml:"realms"`
}

// Project holds the settings of the projects that a glob matches.
type Project struct {
	// Glob of project names, such as team-*.
	Match string `yaml:"match"`
	// What payloads say as repo_type. A project that no entry matches is private.
	Visibility string `yaml:"visibility" default:"private" enum:"public|private"`
	// How large each matching project may become in each upstream. bellbuoy reports it and
	// refuses nothing.
	Quota Quota `yaml:"quota"`
}

// Quota bounds the size of a project.
type Quota struct {
	// Size above which QUOTA_EXCEED is raised: manifests and their blobs, each counted once; 0:
	// no quota.
	Limit Size `yaml:"limit"`
	// Percentages of limit at which QUOTA_WARNING is raised, such as 85%. A level is reported
	// again after the usage was 5 points below it. Needs limit.
	WarnAt []Percent `yaml:"warn_at"`
}

// Scanner is a scanner adapter with Harbor's pluggable scanner API v1.
type Scanner struct {
	// Unique name, in events and metrics.
	Name string `yaml:"name"`
	// Base URL of the adapter. /api/v1 is added if it is missing.
	URL URL `yaml:"url"`
	// Login that the adapter asks for.
	Auth ScannerAuth `yaml:"auth"`
	// TLS to an adapter with an https URL.
	TLS ClientTLS `yaml:"tls"`
	// URL of the registry from which the scanner pulls; the upstream's url by default.
	RegistryURL string `yaml:"registry_url"`
	// Login with which the scanner pulls. Use a read-only account of its own: its pulls are no
	// events.
	RegistryCredentials Login `yaml:"registry_credentials"`
	// push: scan each artifact that is pushed. manual: only when somebody asks for it, with
	// bellbuoy scan or the API.
	Trigger string `yaml:"trigger" default:"push" enum:"push|manual"`
	// Which artifacts are scanned.
	Match ScannerMatch `yaml:"match"`
	// Time after which an artifact with a tag is scanned again, such as 24h, because new
	// vulnerabilities become known. Known tags that were never scanned (see bellbuoy index) are
	// scanned too. Empty: never.
	Every Interval `yaml:"every"`
	// How long a scan may take before it counts as failed. More than 0.
	Timeout Duration `yaml:"timeout" default:"30m"`
}

// ScannerAuth is the login to a scanner adapter.
type ScannerAuth struct {
	// How bellbuoy logs in. basic: username and password. bearer: Authorization: Bearer.
	// api_key: the header X-ScannerAdapter-API-Key.
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
	// Globs of repositories that are scanned; * stays within a segment, ** crosses /.
	Repositories []string `yaml:"repositories" default:"**"`
}

// Replication says how a replication is recognised.
type Replication struct {
	// Unique name, in REPLICATION events.
	Name string `yaml:"name"`
	// Which requests belong to the replication: all given keys must match. At least one is
	// required.
	Match ReplicationMatch `yaml:"match"`
	// A run ends when no request came for this long and no transfer is in flight. It is then
	// one REPLICATION event. More than 0.
	Quiet Duration `yaml:"quiet" default:"30s"`
	// false: pushes of the replication go to no webhook; the REPLICATION event lists them.
	// Needs operators or source_cidrs in match, because any client can send a user agent.
	AlsoPushEvents bool `yaml:"also_push_events" default:"true"`
}

// ReplicationMatch selects the requests of a replication.
type ReplicationMatch struct {
	// Globs of user agents, in which * matches any characters, ? one, [0-9] one of these, {a,b}
	// either.
	UserAgents []string `yaml:"user_agents"`
	// Globs of operators, with the same syntax.
	Operators []string `yaml:"operators"`
	// CIDRs of the addresses of clients.
	SourceCIDRs []netip.Prefix `yaml:"source_cidrs"`
}
