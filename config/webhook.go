package config

import "slices"

// Webhook configures one receiver.
type Webhook struct {
	// Unique name. Deliveries are stored under it.
	Name string `yaml:"name"`
	// Free text for people.
	Description string `yaml:"description"`
	// false: no deliveries are planned for it.
	Enabled bool `yaml:"enabled" default:"true"`
	// URL of the receiver.
	URL URL `yaml:"url"`
	// Format of the body.
	Format string `yaml:"format" default:"harbor" enum:"harbor|cloudevents|bellbuoy|slack|teams|discord|distribution|cdevents|acr|dockerhub|quay|template"`
	// A consumer whose format, events, filters and headers are used; given keys replace them.
	// bellbuoy preset shows each preset.
	Preset string `yaml:"preset" enum:"@presets"`
	// Settings of the format.
	FormatOptions FormatOptions `yaml:"format_options"`
	// Event types, which the format must support. By default all that it supports except
	// PULL_ARTIFACT, DOWNLOAD_CHART and DELETE_TAG; "*" means all.
	Events []string `yaml:"events" enum:"*|PUSH_ARTIFACT|PULL_ARTIFACT|DELETE_ARTIFACT|DELETE_TAG|UPLOAD_CHART|DOWNLOAD_CHART|DELETE_CHART|SCANNING_COMPLETED|SCANNING_FAILED|QUOTA_EXCEED|QUOTA_WARNING|REPLICATION"`
	// Also send inspections: pulls that move no layer (inspect, verify, a poll).
	ManifestReads bool `yaml:"manifest_reads" default:"false"`
	// All given keys must match. A key constrains every event of a type that can have that
	// property: an event without a tag does not match tags. Types that never have it pass, such
	// as quotas, which have no tag.
	Match Match `yaml:"match"`
	// Events that match any of these keys are not sent to this webhook.
	Exclude Match `yaml:"exclude"`
	// Sent verbatim as Authorization.
	AuthHeader Secret `yaml:"auth_header"`
	// Further headers.
	Headers map[string]Secret `yaml:"headers"`
	// Standard Webhooks secrets (whsec_…). All of them sign, so that they can be rotated.
	SigningSecrets []Secret `yaml:"signing_secrets"`
	// Further signatures.
	Signatures []Signature `yaml:"signatures"`
	// TLS to a receiver with an https URL.
	TLS ClientTLS `yaml:"tls"`
	// Proxy to the receiver; by default HTTPS_PROXY and NO_PROXY of the environment apply.
	Proxy URL `yaml:"proxy"`
	// How long one attempt may take.
	Timeout Duration `yaml:"timeout" default:"15s"`
	// Most POSTs in flight.
	Concurrency int `yaml:"concurrency" default:"8"`
	// tag: one POST in flight for each tag of a repository. repository: one after the other for
	// each repository. none: any order.
	Order string `yaml:"order" default:"tag" enum:"tag|repository|none"`
	// What happens to a push or delete of a tag after a newer one was delivered: it is
	// delivered, or dropped as a dead letter.
	Overtaken string `yaml:"overtaken" default:"deliver" enum:"deliver|drop"`
	// Most POSTs in a time, such as 1/s; slack, teams and discord default to 1/s.
	RateLimit Rate `yaml:"rate_limit"`
	// Several events in one message; for slack, teams, discord and chat presets.
	Group Group `yaml:"group"`
	// Wait before each attempt; the number of entries is the number of attempts. After the last
	// one the delivery is a dead letter.
	Retry []Duration `yaml:"retry" default:"0s,5s,5m,30m,2h,5h,10h,14h,20h,24h"`
}

// Group combines events into messages.
type Group struct {
	// Events that occur within this time after a message are combined into the next one; 0:
	// each event is its own message.
	Wait Duration `yaml:"wait" default:"0s"`
	// Most events that a message lists; the others are counted.
	Most int `yaml:"most" default:"20"`
}

// FormatOptions are the settings of a format.
type FormatOptions struct {
	// cloudevents: one JSON body, or attributes as headers; structured by default.
	Mode string `yaml:"mode" enum:"structured|binary"`
	// cloudevents: type that replaces the event's own.
	Type string `yaml:"type"`
	// cloudevents: subject; none by default.
	Subject string `yaml:"subject"`
	// cdevents: version of the specification; 0.4.1 by default, which Flux reads.
	Spec string `yaml:"spec" enum:"0.4.1|0.5.1"`
	// template: file with the template.
	File string `yaml:"file" role:"file"`
	// template: the template itself, instead of a file.
	Text string `yaml:"text"`
	// template: Content-Type of the output; application/json by default, for which the output
	// is checked to be JSON.
	ContentType string `yaml:"content_type"`
}

// Match is a filter of events. An empty key constrains nothing.
type Match struct {
	// Names of upstreams.
	Upstreams []string `yaml:"upstreams"`
	// Globs of projects, in which * stays within a segment and ** crosses /.
	Projects []string `yaml:"projects"`
	// Globs of repositories, in which * stays within a segment and ** crosses /.
	Repositories []string `yaml:"repositories"`
	// Globs of tags, in which * matches any characters, ? one, [0-9] one of these, {a,b}
	// either.
	Tags []string `yaml:"tags"`
	// Globs of operators, as for tags.
	Operators []string `yaml:"operators"`
	// Globs of user agents, as for tags.
	UserAgents []string `yaml:"user_agents"`
	// Kinds of artifacts.
	Kinds []string `yaml:"kinds" enum:"image|index|chart|signature|attestation|sbom|referrer|other"`
	// Only events with a tag (true) or without one (false); null: both.
	Tagged *bool `yaml:"tagged"`
	// Only tags, and versions of charts, that are versions in this range, such as >=1.2 <2.
	Semver string `yaml:"semver"`
	// Only pushes that changed (true) or did not change (false) the digest of the tag; null:
	// both.
	Changed *bool `yaml:"changed"`
	// Scans whose worst finding is at least this severe.
	MinSeverity string `yaml:"min_severity" enum:"None|Unknown|Negligible|Low|Medium|High|Critical"`
	// Only scans that found what the last one of that tag had not (true) or did not (false);
	// nil says nothing.
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
	// Header that carries it, such as X-Hub-Signature-256.
	Header string `yaml:"header"`
	// Hash of the HMAC; token sends the secret itself, as GitLab's receivers expect.
	Algorithm string `yaml:"algorithm" default:"sha256" enum:"sha1|sha256|sha512|token"`
	// Text before the signature.
	Prefix string `yaml:"prefix"`
	// Encoding of the signature; a token is sent unchanged.
	Encoding string `yaml:"encoding" default:"hex" enum:"hex|base64"`
	// Key of the HMAC.
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
