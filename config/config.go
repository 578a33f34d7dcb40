// Package config reads bellbuoy's one YAML file and says everything that is wrong with it.
//
// Start at Load (a file) or Parse (bytes). Both go the same way:
//
//	bytes → tree (tree.go) → Config (decode.go, expanding ${…} as it goes) → checked Config (validate*.go)
//
// The type tree below Config is the documentation of the file: the comment of a field is its description in the
// JSON Schema (schema.json), and its tags are the rest of it:
//
//	yaml:"key"        the key in the file
//	default:"value"   what stands when the key is absent, written as in the file; a list is separated by commas
//	enum:"a|b"        the only values, besides the default
//	role:"file"       names a file that serve watches; it must be readable when the configuration is loaded
//
// After Load every default is filled in, so that consumers read plain values and never ask whether a key was there.
// Keys whose feature does not exist yet are listed in support.go and refused: a key is never ignored in silence.
//
// Whatever may hold a credential has the type Secret or URL. Both print themselves redacted, everywhere, and no error
// of this package shows what ${…} expanded to.
package config

import "net/netip"

// Config is the whole file. Its values are read-only once loaded: a reload makes a new one.
type Config struct {
	// Address on which clients connect. Needs a restart to change.
	Listen string `yaml:"listen" default:":5080"`
	// Certificate that clients see. Its files are read again when they change; turning TLS on or off needs a restart.
	TLS ServerTLS `yaml:"tls"`
	// Connections from trusted_proxies begin with a PROXY protocol v1 or v2 header; one without it is closed.
	ProxyProtocol bool `yaml:"proxy_protocol" default:"false"`
	// CIDRs whose X-Forwarded-* and Forwarded headers and identity header are believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// Directory of the SQLite file, its lock, admin.sock and admin.token. $STATE_DIRECTORY is the default when it is set. Needs a restart to change.
	DataDir string `yaml:"data_dir" default:"./data"`
	// URL of a PostgreSQL database (postgres://…) that several replicas share; empty for the embedded SQLite. Needs a restart to change.
	Database Secret `yaml:"database"`
	// What is logged, and how.
	Log Log `yaml:"log"`
	// How long a stop waits for requests and deliveries in flight.
	ShutdownGrace Duration `yaml:"shutdown_grace" default:"25s"`
	// How much of shutdown_grace bellbuoy goes on accepting connections for, with /readyz at 503, until load balancers send theirs to another replica. Only with a database: without one nobody could take over.
	ShutdownDelay Duration `yaml:"shutdown_delay" default:"8s"`
	// Limits of the data plane; 0 is none.
	Limits Limits `yaml:"limits"`
	// The registries and ChartMuseums that bellbuoy stands in front of; at least one.
	Upstreams []Upstream `yaml:"upstreams"`
	// Who the operator of a request is.
	Identity Identity `yaml:"identity"`
	// How events are kept.
	Store Store `yaml:"store"`
	// What counts as an event.
	Detection Detection `yaml:"detection"`
	// How long a client's doings in a repository count as one. All are quiet time, and a transfer in flight is not quiet.
	Correlation Correlation `yaml:"correlation"`
	// Settings by project: the first path segment of a repository. The first entry whose glob matches wins.
	Projects []Project `yaml:"projects"`
	// Scanner adapters that are asked to scan what is pushed.
	Scanners []Scanner `yaml:"scanners"`
	// Whose pushes or pulls are a replication.
	Replication []Replication `yaml:"replication"`
	// Switches deliveries as a whole.
	Notifications Notifications `yaml:"notifications"`
	// Who is told about what.
	Webhooks []Webhook `yaml:"webhooks"`
	// Where outbound calls may go; upstreams[].url is always allowed.
	Egress Egress `yaml:"egress"`
	// Health and metrics address.
	Health Health `yaml:"health"`
	// Console and API address.
	Admin Admin `yaml:"admin"`

	source source
}

// source is where a Config came from.
type source struct {
	file        string
	places      map[string]place // of every value that the file has
	secretFiles []string         // what ${file:…} named
}

// place is where the value at path stands, or what it would lie in.
func (s source) place(path string) place {
	for path != "" {
		if at, ok := s.places[path]; ok {
			return at
		}
		path = parentPath(path)
	}
	return place{1, 1}
}

// ServerTLS is a listener's certificate. TLS is on when cert_file is set.
type ServerTLS struct {
	// PEM file with the certificate chain.
	CertFile string `yaml:"cert_file" role:"file"`
	// PEM file with the private key.
	KeyFile string `yaml:"key_file" role:"file"`
	// PEM file with CAs: every client must then have a certificate of one of them.
	ClientCAFile string `yaml:"client_ca_file" role:"file"`
}

// On says whether the listener speaks TLS.
func (t ServerTLS) On() bool { return t.CertFile != "" }

// ClientTLS is how a TLS server is called.
type ClientTLS struct {
	// PEM file with the CAs that the server's certificate may come from; the system's CAs by default.
	CAFile string `yaml:"ca_file" role:"file"`
	// PEM file with the client certificate.
	CertFile string `yaml:"cert_file" role:"file"`
	// PEM file with the client certificate's private key.
	KeyFile string `yaml:"key_file" role:"file"`
	// Name that the server's certificate must have; the URL's host by default.
	ServerName string `yaml:"server_name"`
	// Accepts any certificate.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify" default:"false"`
}

// Log is what is logged, and how.
type Log struct {
	// Least severe level that is logged.
	Level string `yaml:"level" default:"info" enum:"debug|info|warn|error"`
	// Lines as JSON, or for a person's eyes.
	Format string `yaml:"format" default:"json" enum:"json|console"`
	// One line for each request.
	Access bool `yaml:"access" default:"false"`
}

// Limits are the data plane's limits; 0 is none.
type Limits struct {
	// How long a client may take to send a request's header.
	HeaderRead Duration `yaml:"header_read" default:"10s"`
	// How long an idle client connection is kept.
	Idle Duration `yaml:"idle" default:"2m"`
	// How long connecting to an upstream may take.
	UpstreamConnect Duration `yaml:"upstream_connect" default:"10s"`
	// How long an upstream may take to answer; not for a blob PUT, which a registry may hash for long.
	UpstreamResponseHeader Duration `yaml:"upstream_response_header" default:"15m"`
	// A body that moves no byte for this long is cut.
	StalledBody Duration `yaml:"stalled_body" default:"2m"`
	// A detached manifest or chart write is given up after this; its outcome is then unknown.
	WriteTimeout Duration `yaml:"write_timeout" default:"15m"`
	// Largest request header.
	HeaderSize Size `yaml:"header_size" default:"64KiB"`
	// Most client connections at a time.
	Connections int `yaml:"connections" default:"0"`
	// Most connections of one client's address at a time; more are closed. trusted_proxies are not limited: their connections are many clients'.
	ConnectionsPerClient int `yaml:"connections_per_client" default:"0"`
}

// Identity is who the operator of a request is: the header, then the token's claims, then the Basic user name, then
// the client certificate's CN, then nobody.
type Identity struct {
	// Header that names the operator, such as X-Forwarded-User; believed only from trusted_proxies.
	Header string `yaml:"header"`
	// Claims of a Bearer token that may name the operator, in this order.
	JWTClaims []string `yaml:"jwt_claims" default:"sub"`
	// Which tokens are good: names from others are not reported.
	Verify Verify `yaml:"verify"`
	// Believes a name although the upstream asks nobody for credentials: a proxy in front has checked it.
	TrustClaims bool `yaml:"trust_claims" default:"false"`
}

// Verify says which tokens are good: their signature is of one of the keys, they have exp, and that is not over. The keys
// come from a file or a URL, not both.
type Verify struct {
	// JWKS file.
	JWKSFile string `yaml:"jwks_file" role:"file"`
	// JWKS URL.
	JWKSURL URL `yaml:"jwks_url"`
	// A token's aud has one of these; whatever it is when empty.
	Audience []string `yaml:"audience"`
	// A token's iss is this; whatever it is when empty.
	Issuer string `yaml:"issuer"`
}

// Store is how events are kept.
type Store struct {
	// What happens when an event cannot be stored. pass: traffic flows, the event is kept in memory and retried.
	// refuse: pushes and deletes get 503 and do not reach the upstream.
	OnFailure string `yaml:"on_failure" default:"pass" enum:"pass|refuse"`
	// A commit that takes longer counts as a failure.
	Timeout Duration `yaml:"timeout" default:"2s"`
	// How long what is kept.
	Retention Retention `yaml:"retention"`
}

// Retention is how long events and deliveries are kept.
type Retention struct {
	// Delivered events.
	Delivered Duration `yaml:"delivered" default:"7d"`
	// Pull events.
	Pulls Duration `yaml:"pulls" default:"24h"`
	// Events that no webhook wanted.
	Unmatched Duration `yaml:"unmatched" default:"24h"`
	// Dead letters.
	Dead Duration `yaml:"dead" default:"30d"`
	// The attempt log.
	Attempts Duration `yaml:"attempts" default:"7d"`
	// Past this size the oldest delivered events go first, pending ones never; 0 is no limit.
	MaxSize Size `yaml:"max_size" default:"10GiB"`
}

// Detection is what counts as an event.
type Detection struct {
	// Signatures, attestations, SBOMs and referrers are events of their own; false mutes their pushes, pulls and deletes.
	Accessories bool `yaml:"accessories" default:"true"`
}

// Correlation is how long a client's doings in a repository count as one.
type Correlation struct {
	// A manifest put by digest waits this long for its index or its tag.
	UntaggedPush Duration `yaml:"untagged_push" default:"30s"`
	// And at most this long in all.
	UntaggedPushMax Duration `yaml:"untagged_push_max" default:"24h"`
	// A HEAD's tag waits this long for its GET, and a manifest read for its first blob.
	Pull Duration `yaml:"pull" default:"30s"`
	// The same reference read again by the same client within this time is the same pull.
	Repeat Duration `yaml:"repeat" default:"5s"`
}

// Notifications switches deliveries as a whole.
type Notifications struct {
	// With false, events are recorded and nothing is delivered.
	Enabled bool `yaml:"enabled" default:"true"`
}

// Egress is where outbound calls may go, checked when they are dialled. Link-local, cloud metadata and bellbuoy's own
// listeners are always denied.
type Egress struct {
	// CIDRs that may be called; any when empty.
	Allow []netip.Prefix `yaml:"allow"`
	// CIDRs that may not be called.
	Deny []netip.Prefix `yaml:"deny"`
}

// Health is the address of /healthz, /readyz and /metrics.
type Health struct {
	// Address without a login, for kubelets and Prometheus; "" turns it off. Needs a restart to change.
	Listen string `yaml:"listen" default:":5081"`
}

// Admin is the address of console, API and profiles.
type Admin struct {
	// Address; "" turns it off. One that is not loopback needs users or tokens. Needs a restart to change.
	Listen string `yaml:"listen" default:"127.0.0.1:5082"`
	// Certificate of the admin address.
	TLS ServerTLS `yaml:"tls"`
	// People, who log in with HTTP Basic.
	Users []AdminUser `yaml:"users"`
	// Programs, which send a bearer token.
	Tokens []AdminToken `yaml:"tokens"`
}

// AdminUser is somebody who may log in.
type AdminUser struct {
	// Unique name.
	Name string `yaml:"name"`
	// bcrypt hash of the password.
	PasswordHash Secret `yaml:"password_hash"`
	// Projects whose webhooks this user manages; all, and everything else, when empty.
	Projects []string `yaml:"projects"`
}

// AdminToken is a program's access.
type AdminToken struct {
	// Unique name.
	Name string `yaml:"name"`
	// The token itself.
	Token Secret `yaml:"token"`
	// Projects whose webhooks this token manages; all, and everything else, when empty.
	Projects []string `yaml:"projects"`
}
