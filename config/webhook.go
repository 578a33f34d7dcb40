package config

import "reflect"

import "slices"

// Webhook is who is told about what, and how.
type Webhook struct {
	// Unique name; the stable identity of the webhook.
	Name string `yaml:"name"`
	// Free text for people.
	Description string `yaml:"description"`
	// With false, nothing is queued for it.
	Enabled bool `yaml:"enabled" default:"true"`
	// Where to POST.
	URL URL `yaml:"url"`
	// What the body looks like.
	Format string `yaml:"format" default:"harbor" enum:"harbor|cloudevents|bellbuoy|slack|teams|discord|distribution|cdevents|acr|dockerhub|quay|template"`
	// A consumer whose format, events, filters and headers are taken; keys that are given override them. bellbuoy preset shows what each
	// stands for.
	Preset string `yaml:"preset" enum:"@presets"`
	// Settings of the format.
	FormatOptions FormatOptions `yaml:"format_options"`
	// Event types that the format has a body for. By default all of these but PULL_ARTIFACT, DOWNLOAD_CHART and DELETE_TAG; "*" is all.
	Events []string `yaml:"events" enum:"*|PUSH_ARTIFACT|PULL_ARTIFACT|DELETE_ARTIFACT|DELETE_TAG|UPLOAD_CHART|DOWNLOAD_CHART|DELETE_CHART|SCANNING_COMPLETED|SCANNING_FAILED|QUOTA_EXCEED|QUOTA_WARNING|REPLICATION"`
	// Also inspections: pulls that move no layer (inspect, verify, a poll).
	ManifestReads bool `yaml:"manifest_reads" default:"false"`
	// All given keys must match. A key constrains every event of a type that can have that property: one without a tag does not match tags.
	// Types that never have it pass, such as quotas, which have no tag.
	Match Match `yaml:"match"`
	// An event that has any of these is not for this webhook.
	Exclude Match `yaml:"exclude"`
	// Sent verbatim as Authorization.
	AuthHeader Secret `yaml:"auth_header"`
	// Further headers.
	Headers map[string]Secret `yaml:"headers"`
	// Standard Webhooks secrets (whsec_…); all sign, which is how they are rotated.
	SigningSecrets []Secret `yaml:"signing_secrets"`
	// Further signatures.
	Signatures []Signature `yaml:"signatures"`
	// How the receiver is called when its URL is https.
	TLS ClientTLS `yaml:"tls"`
	// Proxy that is used; by default what HTTPS_PROXY and NO_PROXY of the environment say.
	Proxy URL `yaml:"proxy"`
	// How long one attempt may take.
	Timeout Duration `yaml:"timeout" default:"15s"`
	// Most POSTs in flight.
	Concurrency int `yaml:"concurrency" default:"8"`
	// tag: one POST in flight for each tag of a repository. repository: strictly one after the other for each
	// repository. none: any order.
	Order string `yaml:"order" default:"tag" enum:"tag|repository|none"`
	// What becomes of a push or delete of a tag whose newer one was delivered meanwhile: delivered, or dropped as a dead letter.
	Overtaken string `yaml:"overtaken" default:"deliver" enum:"deliver|drop"`
	// Most POSTs in a time, such as 1/s; slack, teams and discord default to 1/s.
	RateLimit Rate `yaml:"rate_limit"`
	// slack, teams, discord and chat presets: several events in one message.
	Group Group `yaml:"group"`
	// Time before each attempt, as many as there are entries; after the last it is a dead letter.
	Retry []Duration `yaml:"retry" default:"0s,5s,5m,30m,2h,5h,10h,14h,20h,24h"`
}

// Group gathers events into messages.
type Group struct {
	// What comes within this time after a message goes into the next one together; 0: each event is a message of its own.
	Wait Duration `yaml:"wait" default:"0s"`
	// Most events that a message lists; the rest is counted.
	Most int `yaml:"most" default:"20"`
}

// FormatOptions are the settings of a format.
type FormatOptions struct {
	// cloudevents: one JSON body, or attributes as headers; structured by default.
	Mode string `yaml:"mode" enum:"structured|binary"`
	// cloudevents: type instead of the event's own.
	Type string `yaml:"type"`
	// cloudevents: subject instead of the event's own.
	Subject string `yaml:"subject"`
	// cdevents: version of the specification; 0.4.1 by default, which is what Flux reads.
	Spec string `yaml:"spec" enum:"0.4.1|0.5.1"`
	// template: file with the template.
	File string `yaml:"file" role:"file"`
	// template: the template itself, instead of a file.
	Text string `yaml:"text"`
	// template: Content-Type of what it makes; application/json by default, which is then checked to be JSON.
	ContentType string `yaml:"content_type"`
}

// Match is a filter of events. An empty key says nothing.
type Match struct {
	// Names of upstreams.
	Upstreams []string `yaml:"upstreams"`
	// Globs of projects, in which * stays within a segment and ** crosses /.
	Projects []string `yaml:"projects"`
	// Globs of repositories, in which * stays within a segment and ** crosses /.
	Repositories []string `yaml:"repositories"`
	// Globs of tags, in which * matches any characters, ? one, [0-9] one of these, {a,b} either.
	Tags []string `yaml:"tags"`
	// Globs of operators, as of tags.
	Operators []string `yaml:"operators"`
	// Globs of user agents, as of tags.
	UserAgents []string `yaml:"user_agents"`
	// Kinds of artifacts.
	Kinds []string `yaml:"kinds" enum:"image|index|chart|signature|attestation|sbom|referrer|other"`
	// Only events with a tag (true) or without one (false); nil says nothing.
	Tagged *bool `yaml:"tagged"`
	// Only tags, and versions of charts, that are versions within this range, such as >=1.2 <2.
	Semver string `yaml:"semver"`
	// Only pushes that changed what the tag stands on (true) or did not (false); nil says nothing.
	Changed *bool `yaml:"changed"`
	// Scans whose worst finding is at least this.
	MinSeverity string `yaml:"min_severity" enum:"None|Unknown|Negligible|Low|Medium|High|Critical"`
}

// Clear takes a key out of the filter, and reports whether it was there.
func (m *Match) Clear(key string) bool {
	v := reflect.ValueOf(m).Elem()
	for _, f := range fieldsOf(v.Type()) {
		if f.name == key {
			there := !v.Field(f.index).IsZero()
			v.Field(f.index).SetZero()
			return there
		}
	}
	return false
}

// Empty says whether the filter says nothing at all.
func (m Match) Empty() bool {
	lists := len(m.Upstreams) + len(m.Projects) + len(m.Repositories) + len(m.Tags) +
		len(m.Operators) + len(m.UserAgents) + len(m.Kinds)
	return lists == 0 && m.Tagged == nil && m.Semver == "" && m.Changed == nil && m.MinSeverity == ""
}

// Signature is one further signature of the body, in a header of its own.
type Signature struct {
	// Header that carries it, such as X-Hub-Signature-256.
	Header string `yaml:"header"`
	// Hash of the HMAC; token sends the secret itself, as GitLab's receivers want it.
	Algorithm string `yaml:"algorithm" default:"sha256" enum:"sha1|sha256|sha512|token"`
	// Written before the signature.
	Prefix string `yaml:"prefix"`
	// How the signature is written; a token is sent as it is.
	Encoding string `yaml:"encoding" default:"hex" enum:"hex|base64"`
	// Key of the HMAC.
	Secret Secret `yaml:"secret"`
}

// quietEvents are the types that a webhook gets only when it asks: a consumer that pulls would ring its own bell.
var quietEvents = map[string]bool{"PULL_ARTIFACT": true, "DOWNLOAD_CHART": true, "DELETE_TAG": true}

// chatFormats are sent at most once a second unless the webhook says otherwise.
var chatFormats = map[string]bool{"slack": true, "teams": true, "discord": true}

// formatEvents are the types that a format has a body for; a format that is not here has one for all.
var formatEvents = map[string][]string{
	"distribution": {"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "DELETE_TAG"},
	"cdevents":     {"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"},
	"acr":          {"PUSH_ARTIFACT", "DELETE_ARTIFACT", "UPLOAD_CHART", "DELETE_CHART"},
	"dockerhub":    {"PUSH_ARTIFACT"},
	"quay":         {"PUSH_ARTIFACT"},
}

// FormatEvents are the types of events that a format has a body for, in the order of the documentation.
func FormatEvents(format string) []string {
	if some, ok := formatEvents[format]; ok {
		return slices.Clone(some)
	}
	return EventTypes()
}

// tagFormats have no word for an artifact without a tag.
var tagFormats = map[string]bool{"dockerhub": true, "quay": true}
