// Package config reads bellbuoy's YAML file and reports all of its problems.
//
// Load reads a file, and Parse reads bytes. Both take the same steps:
//
//	bytes → tree (tree.go) → Config (decode.go, which expands ${…}) → checks (validate*.go)
//
// The types below Config document the file. The comment of a field is its description in the JSON
// Schema (schema.json). Its tags are:
//
//	yaml:"key"        the key in the file
//	default:"value"   the value of an absent key, as in the file; commas separate a list
//	enum:"a|b"        the allowed values, besides the default
//	role:"file"       the name of a file that serve watches; it must be readable at load
//
// After Load every default is filled in. No key is ignored without a message.
//
// A value that may hold a credential has the type Secret or URL. Both are redacted when they are
// printed, and no error of this package shows the value of a ${…}.
package config

import "net/netip"

// Config is the whole file. It does not change after Load: a reload makes a new one.
type Config struct {
	// Address on which clients connect. Changing it needs a restart.
	Listen string `yaml:"listen" default:":5080"`
	// Certificate that clients see. Its files are read again when they change. Turning TLS on
	// or off needs a restart.
	TLS ServerTLS `yaml:"tls"`
	// true: connections from trusted_proxies must begin with a PROXY protocol v1 or v2 header,
	// which names the client; those without it are closed. Needs trusted_proxies.
	ProxyProtocol bool `yaml:"proxy_protocol" default:"false"`
	// CIDRs of proxies in front of bellbuoy. Only their X-Forwarded-* and Forwarded headers,
	// and the header of identity.header, are trusted.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// Directory of the SQLite file, its lock, admin.sock and admin.token. $STATE_DIRECTORY is
	// the default if it is set. Changing it needs a restart.
	DataDir string `yaml:"data_dir" default:"./data"`
	// URL of a PostgreSQL database (postgres://…) that several replicas share. Empty: embedded
	// SQLite. Changing it needs a restart.
	Database Secret `yaml:"database"`
	// What is logged, and in which format.
	Log Log `yaml:"log"`
	// How long a stop waits for requests and deliveries in flight. No delivery begins in its
	// last 10s; one that is cut is sent again after the next start.
	ShutdownGrace Duration `yaml:"shutdown_grace" default:"25s"`
	// Part of shutdown_grace in which connections are still accepted while /readyz says 503, so
	// that load balancers switch to another replica. It applies only with a database, because
	// only then another replica can take over.
	ShutdownDelay Duration `yaml:"shutdown_delay" default:"8s"`
	// Limits of the proxy; 0 means no limit.
	Limits Limits `yaml:"limits"`
	// The registries and ChartMuseums behind bellbuoy; at least one.
	Upstreams []Upstream `yaml:"upstreams"`
	// How the operator of a request is determined.
	Identity Identity `yaml:"identity"`
	// How events are stored.
	Store Store `yaml:"store"`
	// What counts as an event.
	Detection Detection `yaml:"detection"`
	// How long requests of one client in one repository count as one operation. All times are
	// quiet times; a transfer in flight is not quiet.
	Correlation Correlation `yaml:"correlation"`
	// Settings of projects. A project is the first path segment of a repository. The first
	// entry whose glob matches applies.
	Projects []Project `yaml:"projects"`
	// Scanner adapters that scan pushed artifacts.
	Scanners []Scanner `yaml:"scanners"`
	// Which pushes or pulls belong to a replication.
	Replication []Replication `yaml:"replication"`
	// Turns all deliveries on or off.
	Notifications Notifications `yaml:"notifications"`
	// The receivers of events.
	Webhooks []Webhook `yaml:"webhooks"`
	// Addresses that outbound calls may reach; upstreams[].url is always allowed.
	Egress Egress `yaml:"egress"`
	// Address of health checks and metrics.
	Health Health `yaml:"health"`
	// Address of the console, the APIs and profiles.
	Admin Admin `yaml:"admin"`

	source source
}

// source holds the origin of a Config's values.
type source struct {
	file        string
	places      map[string]place // of every value in the file
	secretFiles []string         // files of ${file:…}
}

// place returns the place of the value at path, or of the nearest value that contains it.
func (s source) place(path string) place {
	for path != "" {
		if at, ok := s.places[path]; ok {
			return at
		}
		path = parentPath(path)
	}
	return place{1, 1}
}

// ServerTLS is a listener's certificate. TLS is on if cert_file is set.
type ServerTLS struct {
	// PEM file with the certificate chain. TLS is on if it is set.
	CertFile string `yaml:"cert_file" role:"file"`
	// PEM file with the private key of the certificate.
	KeyFile string `yaml:"key_file" role:"file"`
	// PEM file with CAs. Every client must then present a certificate that one of them issued.
	// Needs cert_file.
	ClientCAFile string `yaml:"client_ca_file" role:"file"`
}

// On reports whether the listener uses TLS.
func (t ServerTLS) On() bool { return t.CertFile != "" }

// ClientTLS configures TLS to a server.
type ClientTLS struct {
	// PEM file with the CAs that may have issued the server's certificate; the system's CAs by
	// default.
	CAFile string `yaml:"ca_file" role:"file"`
	// PEM file with the certificate that bellbuoy presents, for servers that ask for one. Needs
	// key_file.
	CertFile string `yaml:"cert_file" role:"file"`
	// PEM file with the private key of cert_file.
	KeyFile string `yaml:"key_file" role:"file"`
	// Host name that the server's certificate must have; the URL's host by default.
	ServerName string `yaml:"server_name"`
	// true: accept any certificate, even an attacker's. For tests only.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify" default:"false"`
}

// Log configures the log.
type Log struct {
	// Least severe level that is logged.
	Level string `yaml:"level" default:"info" enum:"debug|info|warn|error"`
	// json for programs, console for people.
	Format string `yaml:"format" default:"json" enum:"json|console"`
	// true: also log a line for each request.
	Access bool `yaml:"access" default:"false"`
}

// Limits are the limits of the proxy; 0 means no limit.
type Limits struct {
	// How long a client may take to send a request's header.
	HeaderRead Duration `yaml:"header_read" default:"10s"`
	// How long an idle client connection is kept open.
	Idle Duration `yaml:"idle" default:"2m"`
	// How long connecting to an upstream may take.
	UpstreamConnect Duration `yaml:"upstream_connect" default:"10s"`
	// How long an upstream may take to answer. It does not apply to a blob PUT, which a
	// registry may hash for a long time.
	UpstreamResponseHeader Duration `yaml:"upstream_response_header" default:"15m"`
	// A body that moves no byte for this long is aborted.
	StalledBody Duration `yaml:"stalled_body" default:"2m"`
	// A manifest or chart write is given up after this time. Its outcome is then unknown and
	// looked up.
	WriteTimeout Duration `yaml:"write_timeout" default:"15m"`
	// Largest header of a request, all its lines together.
	HeaderSize Size `yaml:"header_size" default:"64KiB"`
	// Most client connections at a time; further ones wait.
	Connections int `yaml:"connections" default:"0"`
	// Most connections of one client address at a time; further ones are closed. It does not
	// apply to trusted_proxies, which carry connections of many clients.
	ConnectionsPerClient int `yaml:"connections_per_client" default:"0"`
}

// Identity determines the operator of a request: the header, else a claim of the token, else the
// Basic user name, else the CN of the client certificate, else nobody.
type Identity struct {
	// Header that names the operator, such as X-Forwarded-User. It is trusted only from
	// trusted_proxies, which must be set.
	Header string `yaml:"header"`
	// Claims of a Bearer token that may name the operator, in this order.
	JWTClaims []string `yaml:"jwt_claims" default:"sub"`
	// Keys that verify tokens. Without them, a token counts if the upstream accepts it.
	Verify Verify `yaml:"verify"`
	// true: believe a name even if the upstream asks nobody for credentials, because a proxy in
	// front of bellbuoy has checked it. false: believe a name only if the upstream checks it,
	// or verify, a trusted header or a client certificate proves it.
	TrustClaims bool `yaml:"trust_claims" default:"false"`
}

// Verify says which tokens are valid: they are signed by one of the keys and have an exp in the
// future. The keys come from a file or from a URL.
type Verify struct {
	// JSON file with the public keys (JWKS). Not together with jwks_url.
	JWKSFile string `yaml:"jwks_file" role:"file"`
	// URL of the public keys (JWKS). Not together with jwks_file.
	JWKSURL URL `yaml:"jwks_url"`
	// Accepted audiences: the aud of a token must contain one of them; empty: any.
	Audience []string `yaml:"audience"`
	// Accepted issuer: the iss of a token must be equal to it; empty: any.
	Issuer string `yaml:"issuer"`
}

// Store configures how events are stored.
type Store struct {
	// What happens while an event cannot be stored. pass: traffic continues, and the event is
	// kept in memory and stored later. refuse: pushes and deletes get 503 and do not reach the
	// upstream.
	OnFailure string `yaml:"on_failure" default:"pass" enum:"pass|refuse"`
	// How long storing an event may take before it counts as failed. More than 0.
	Timeout Duration `yaml:"timeout" default:"2s"`
	// How long events and deliveries are kept.
	Retention Retention `yaml:"retention"`
}

// Retention is how long events and deliveries are kept.
type Retention struct {
	// How long deliveries are kept after their success, with their events. More than 0.
	Delivered Duration `yaml:"delivered" default:"7d"`
	// How long pull events are kept. More than 0.
	Pulls Duration `yaml:"pulls" default:"24h"`
	// How long events are kept that no webhook wanted. More than 0.
	Unmatched Duration `yaml:"unmatched" default:"24h"`
	// How long dead letters are kept: deliveries that were given up. More than 0.
	Dead Duration `yaml:"dead" default:"30d"`
	// How long the attempts of deliveries are kept: time, status and answer of each POST. More
	// than 0.
	Attempts Duration `yaml:"attempts" default:"7d"`
	// Largest size of the store. Above it, the oldest delivered events are removed; pending
	// deliveries never are. 0: no limit.
	MaxSize Size `yaml:"max_size" default:"10GiB"`
}

// Detection is what counts as an event.
type Detection struct {
	// Signatures, attestations, SBOMs and referrers raise events. false: their pushes, pulls
	// and deletes raise none.
	Accessories bool `yaml:"accessories" default:"true"`
}

// Correlation says how long requests of one client in one repository count as one operation.
type Correlation struct {
	// How long a manifest that was pushed by digest waits for its index or its tag. If neither
	// comes, it becomes an event without a tag. More than 0.
	UntaggedPush Duration `yaml:"untagged_push" default:"30s"`
	// How long it waits in all while the client keeps pushing to the repository. Not less than
	// untagged_push.
	UntaggedPushMax Duration `yaml:"untagged_push_max" default:"24h"`
	// How long a HEAD of a tag waits for the GET by digest that belongs to it, and a manifest
	// that was read for its first blob. Without a blob the read is an inspection, not a pull.
	// More than 0.
	Pull Duration `yaml:"pull" default:"30s"`
	// A client that reads the same reference again within this time continues the same pull.
	Repeat Duration `yaml:"repeat" default:"5s"`
}

// Notifications turns all deliveries on or off.
type Notifications struct {
	// false: events are recorded and nothing is delivered.
	Enabled bool `yaml:"enabled" default:"true"`
}

// Egress restricts outbound calls. Addresses are checked when they are dialled. Link-local
// addresses, cloud metadata and bellbuoy's own listeners are always denied.
type Egress struct {
	// CIDRs that may be called; empty: all but the denied ones.
	Allow []netip.Prefix `yaml:"allow"`
	// CIDRs that may not be called. They win over allow.
	Deny []netip.Prefix `yaml:"deny"`
	// CIDRs of loopback, private and this machine's own addresses that webhooks of accounts
	// limited to projects may call; empty: none.
	Private []netip.Prefix `yaml:"private"`
}

// Health is the address of /healthz, /readyz and /metrics.
type Health struct {
	// Address without a login, for kubelets and Prometheus; "" turns it off. Changing it needs
	// a restart.
	Listen string `yaml:"listen" default:":5081"`
}

// Admin is the address of the console, the APIs and profiles.
type Admin struct {
	// Address; "" turns it off. An address that is not loopback needs users or tokens. Changing
	// it needs a restart.
	Listen string `yaml:"listen" default:"127.0.0.1:5082"`
	// Certificate of the admin address.
	TLS ServerTLS `yaml:"tls"`
	// People, who log in with a name and a password, at the console or by HTTP Basic.
	Users []AdminUser `yaml:"users"`
	// Programs, which send the token as Authorization: Bearer.
	Tokens []AdminToken `yaml:"tokens"`
}

// AdminUser is a person who may log in.
type AdminUser struct {
	// Unique name, without a colon.
	Name string `yaml:"name"`
	// bcrypt hash of the password, as made by htpasswd -nB NAME.
	PasswordHash Secret `yaml:"password_hash"`
	// Globs of the projects that this user sees and whose webhooks it manages. Without the key:
	// everything, as an administrator.
	Projects []string `yaml:"projects"`
}

// AdminToken is the token of a program.
type AdminToken struct {
	// Unique name. The log names it with each change.
	Name string `yaml:"name"`
	// The token itself: at least 16 characters.
	Token Secret `yaml:"token"`
	// Globs of the projects that this token sees and whose webhooks it manages. Without the
	// key: everything, as an administrator.
	Projects []string `yaml:"projects"`
}
