package config

import "net/netip"

// Upstream is one registry or ChartMuseum that bellbuoy stands in front of.
type Upstream struct {
	// Unique name; its type by default.
	Name string `yaml:"name"`
	// What it speaks.
	Type string `yaml:"type" enum:"registry|chartmuseum"`
	// Scheme, host and port, and a path where the registry's /v2/ lies below one: it is put before what clients ask for (not before paths) and taken off the Locations and Links that come back.
	URL string `yaml:"url"`
	// How users name it; its host has a dot, a port or is localhost. Payloads name the upstream's own host where it is absent.
	ExternalURL string `yaml:"external_url"`
	// Host header that the upstream gets: the client's, or its own (virtual hosts, ECR, GHCR, ingresses).
	Host string `yaml:"host" default:"client" enum:"client|upstream"`
	// Host names that lead here; any when empty.
	Hosts []string `yaml:"hosts"`
	// Mounted below this path, at bellbuoy and at the upstream alike; one that only the upstream has goes into url.
	PathPrefix string `yaml:"path_prefix"`
	// Further paths that are sent here, as they are.
	Paths []string `yaml:"paths"`
	// For bellbuoy's own look-ups only, never for clients' requests.
	Credentials Credentials `yaml:"credentials"`
	// How the upstream is called when its URL is https.
	TLS ClientTLS `yaml:"tls"`
}

// The values of Upstream.Type and Upstream.Host.
const (
	TypeRegistry    = "registry"
	TypeChartMuseum = "chartmuseum"
	HostClient      = "client"
	HostUpstream    = "upstream"
)

// Credentials are what bellbuoy shows an upstream for its own look-ups.
type Credentials struct {
	// User name.
	Username string `yaml:"username"`
	// Password or token.
	Password Secret `yaml:"password"`
	// Further token servers, as a host or an https URL, that may see them; the upstream's own host may.
	Realms []string `yaml:"realms"`
}

// Project are the settings of the projects that a glob matches.
type Project struct {
	// Glob of project names.
	Match string `yaml:"match"`
	// The repo_type in payloads; private also where no project matches.
	Visibility string `yaml:"visibility" default:"private" enum:"public|private"`
	// How much the project may hold. bellbuoy tells, it refuses nothing.
	Quota Quota `yaml:"quota"`
}

// Quota is how much a project may hold.
type Quota struct {
	// Most bytes; 0 is no limit.
	Limit Size `yaml:"limit"`
	// Shares of the limit at which to warn.
	WarnAt []Percent `yaml:"warn_at"`
}

// Scanner is one scanner adapter, of Harbor's pluggable scanner API v1.
type Scanner struct {
	// Unique name.
	Name string `yaml:"name"`
	// Base URL of the adapter.
	URL URL `yaml:"url"`
	// What the adapter asks for.
	Auth ScannerAuth `yaml:"auth"`
	// How the adapter is called when its URL is https.
	TLS ClientTLS `yaml:"tls"`
	// What the scanner pulls from; the upstream's url by default.
	RegistryURL string `yaml:"registry_url"`
	// What the scanner pulls with; a read-only account.
	RegistryCredentials Login `yaml:"registry_credentials"`
	// When to scan.
	Trigger string `yaml:"trigger" default:"push" enum:"push|manual"`
	// What to scan.
	Match ScannerMatch `yaml:"match"`
	// A scan that takes longer has failed.
	Timeout Duration `yaml:"timeout" default:"30m"`
}

// ScannerAuth is what a scanner adapter asks for.
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

// ScannerMatch is what a scanner scans.
type ScannerMatch struct {
	// Globs of repositories.
	Repositories []string `yaml:"repositories" default:"**"`
}

// Replication is how one replication is recognized.
type Replication struct {
	// Unique name.
	Name string `yaml:"name"`
	// All keys given must match; at least one must be given.
	Match ReplicationMatch `yaml:"match"`
	// The run is over when nothing came for this long and no transfer is in flight.
	Quiet Duration `yaml:"quiet" default:"30s"`
	// Pushes of the replication are events of their own too; false needs operators or source_cidrs in match.
	AlsoPushEvents bool `yaml:"also_push_events" default:"true"`
}

// ReplicationMatch is whose requests belong to a replication.
type ReplicationMatch struct {
	// Globs of user agents, in which * matches any characters, ? one, [0-9] one of these, {a,b} either.
	UserAgents []string `yaml:"user_agents"`
	// Globs of operators, as of user agents.
	Operators []string `yaml:"operators"`
	// CIDRs of clients.
	SourceCIDRs []netip.Prefix `yaml:"source_cidrs"`
}
