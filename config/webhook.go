package config

import "slices"

// Webhook configures one receiver.
type Webhook struct {
	// Unique name. Deliveries are stored under it: a webhook that is renamed is another one.
	Name string `yaml:"name"`
	// Free text for people.
	Description string `yaml:"description"`
	// false: the webhook gets no new deliveries.
	Enabled bool `yaml:"enabled" default:"true"`
	// URL of the receiver. Path and query may have the placeholders {tag} {digest} {repository}
	// {namespace} {name} {type}; values are percent-encoded.
	URL URL `yaml:"url"`
	// Format of the body.
	Format string `yaml:"format" default:"harbor" enum:"harbor|cloudevents|bellbuoy|slack|teams|discord|distribution|cdevents|acr|dockerhub|quay|template"`
	// A receiver whose format, events, filters and headers are used; keys that are given
	// replace them. bellbuoy preset lists the presets.
	Preset string `yaml:"preset" enum:"@presets"`
	// Settings of the format.
	FormatOptions FormatOptions `yaml:"format_options"`
	// Event types that the webhook gets; the format must support them. Empty: all that it
	// supports except PULL_ARTIFACT, DOWNLOAD_CHART and DELETE_TAG. ["*"]: all that it
	// supports.
	Events []string `yaml:"events" enum:"*|PUSH_ARTIFACT|PULL_ARTIFACT|DELETE_ARTIFACT|DELETE_TAG|UPLOAD_CHART|DOWNLOAD_CHART|DELETE_CHART|SCANNING_COMPLETED|SCANNING_FAILED|QUOTA_EXCEED|QUOTA_WARNING|REPLICATION"`
	// true: also send inspections, which are reads of a manifest that move no layer.
	ManifestReads bool `yaml:"manifest_reads" default:"false"`
	// All given keys must match. A key constrains every event of a type that can have that
	// property: an event without a tag does not match tags. Types that never have it pass, such
	// as quotas, which have no tag.
	Match Match `yaml:"match"`
	// An event that matches any of these keys is not sent to this webhook.
	Exclude Match `yaml:"exclude"`
	// Value of the header Authorization, sent unchanged, such as Bearer followed by a token.
	AuthHeader Secret `yaml:"auth_header"`
	// Further headers, as name: value.
	Headers map[string]Secret `yaml:"headers"`
	// Secrets of Standard Webhooks (whsec_…). Each adds a signature to webhook-signature, so
	// that they can be rotated.
	SigningSecrets []Secret `yaml:"signing_secrets"`
	// Further signatures, each in a header of its own, for receivers that check another scheme.
	Signatures []Signature `yaml:"signatures"`
	// TLS to a receiver with an https URL.
	TLS ClientTLS `yaml:"tls"`
	// URL of an HTTP or SOCKS5 proxy to the receiver; by default HTTPS_PROXY and NO_PROXY of
	// the environment apply.
	Proxy URL `yaml:"proxy"`
	// How long one attempt may take, from connecting to the end of the answer. More than 0.
	Timeout Duration `yaml:"timeout" default:"15s"`
	// Most POSTs in flight: 1 to 1000.
	Concurrency int `yaml:"concurrency" default:"8"`
	// Which deliveries wait for each other. tag: one POST in flight for each tag of a
	// repository, oldest first; one that waits for its retry holds up none. repository:
	// strictly one after the other for each repository. none: none waits.
	Order string `yaml:"order" default:"tag" enum:"tag|repository|none"`
	// What happens to a push or delete of a tag when a newer one was delivered before it.
	// deliver: it is sent all the same. drop: it becomes a dead letter.
	Overtaken string `yaml:"overtaken" default:"deliver" enum:"deliver|drop"`
	// Most POSTs in a time, such as 1/s or 30/m. Empty: no limit, but 1/s for slack, teams and
	// discord.
	RateLimit Rate `yaml:"rate_limit"`
	// Several events in one message, for slack, teams, discord, and templates that use .message
	// or .events.
	Group Group `yaml:"group"`
	// Wait before each attempt: 1 to 100 entries, each an attempt. After the last one the
	// delivery is a dead letter. [0s]: one attempt.
	Retry []Duration `yaml:"retry" default:"0s,5s,5m,30m,2h,5h,10h,14h,20h,24h"`
}

// Group combines events into messages.
type Group struct {
	// Events within this time after a message are combined into the next one. 0s: each event is
	// a message of its own. Not with placeholders in url.
	Wait Duration `yaml:"wait" default:"0s"`
	// Most events that a message lists, 1 to 100; the others are counted.
	Most int `yaml:"most" default:"20"`
}

// FormatOptions are the settings of a format.
type FormatOptions struct {
	// cloudevents: structured (one JSON body, the default) or binary (attributes as headers).
	Mode string `yaml:"mode" enum:"structured|binary"`
	// cloudevents: a type for all events, instead of the one of each event.
	Type string `yaml:"type"`
	// cloudevents: the subject of all events; none by default.
	Subject string `yaml:"subject"`
	// cdevents: version of the specification. 0.4.1, which Flux reads, is the default.
	Spec string `yaml:"spec" enum:"0.4.1|0.5.1"`
	// template: file with the Go text/template.
	File string `yaml:"file" role:"file"`
	// template: the template itself, instead of file.
	Text string `yaml:"text"`
	// template: Content-Type of the body. By default application/json; the output must then be
	// JSON.
	ContentType string `yaml:"content_type"`
}

// Match is a filter of events. An empty key constrains nothing.
type Match struct {
	// Names of upstreams, exactly.
	Upstreams []string `yaml:"upstreams"`
	// Globs of projects: * is any characters.
	Projects []string `yaml:"projects"`
	// Globs of repositories: * stays within a segment, ** crosses /, so team/** is all of team.
	Repositories []string `yaml:"repositories"`
	// Globs of tags: * is any characters, ? one, [0-9] one of these, {a,b} either.
	Tags []string `yaml:"tags"`
	// Globs of operators, with the syntax of tags.
	Operators []string `yaml:"operators"`
	// Globs of clients' User-Agent headers, with the syntax of tags.
	UserAgents []string `yaml:"user_agents"`
	// Kinds of artifacts. An artifact of an unknown kind passes.
	Kinds []string `yaml:"kinds" enum:"image|index|chart|signature|attestation|sbom|referrer|other"`
	// Only events with a tag (true) or without one (false); null: both.
	Tagged *bool `yaml:"tagged"`
	// Only tags, and versions of charts, that are versions in this range, such as >=1.2 <2.
	Semver string `yaml:"semver"`
	// Only pushes that changed (true) or did not change (false) the digest of the tag; null:
	// both.
	Changed *bool `yaml:"changed"`
	// Only scans whose worst finding is at least this severe. Scans of artifacts only; other
	// events pass.
	MinSeverity string `yaml:"min_severity" enum:"None|Unknown|Negligible|Low|Medium|High|Critical"`
	// Only scans with findings that the last scan of that tag did not have (true), or without
	// such findings (false); null: both.
	NewFindings *bool `yaml:"new_findings"`
}

// Empty reports whether the filter constrains nothing.
func (m Match) Empty() bool {
	lists := len(m.Upstreams) + len(m.Projects) + len(m.Repositories) + len(m.Tags) +
		len(m.Operators) + len(m.UserAgents) + len(m.Kinds)
	return lists == 0 && m.Tagged == nil && m.Semver == "" && m.Changed == nil && m.MinSeverity == "" && m.NewFindings == nil
}

// Signature is a further signature of the body, in its own header.
type Signature struct {
	// Header of the signature, such as X-Hub-Signature-256.
	Header string `yaml:"header"`
	// Hash of the HMAC. token: the secret itself, as GitLab and its like expect in
	// X-Gitlab-Token.
	Algorithm string `yaml:"algorithm" default:"sha256" enum:"sha1|sha256|sha512|token"`
	// Text before the signature, such as sha256=.
	Prefix string `yaml:"prefix"`
	// How the signature is written. A token is sent unchanged.
	Encoding string `yaml:"encoding" default:"hex" enum:"hex|base64"`
	// Key of the HMAC, or the token.
	Secret Secret `yaml:"secret"`
}

// quietEvents are the types that a webhook gets only if it names them: a consumer that pulls in
// answer to an event would otherwise cause its own events.
var quietEvents = map[string]bool{"PULL_ARTIFACT": true, "DOWNLOAD_CHART": true, "DELETE_TAG": true}

// chatFormats are sent at most once a second, unless the webhook sets another rate.
var chatFormats = map[string]bool{"slack": true, "teams": true, "discord": true}

// formatEvents maps formats to the types that they can render; others can render all.
var formatEvents = map[string][]string{
	"distribution": {"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "DELETE_TAG"},
	"cdevents":     {"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"},
	"acr":          {"PUSH_ARTIFACT", "DELETE_ARTIFACT", "UPLOAD_CHART", "DELETE_CHART"},
	"dockerhub":    {"PUSH_ARTIFACT"},
	"quay":         {"PUSH_ARTIFACT"},
}

// FormatEvents returns the types that a format can render, in the order of the documentation.
func FormatEvents(format string) []string {
	if some, ok := formatEvents[format]; ok {
		return slices.Clone(some)
	}
	return EventTypes()
}

// tagFormats cannot render an artifact without a tag.
var tagFormats = map[string]bool{"dockerhub": true, "quay": true}
