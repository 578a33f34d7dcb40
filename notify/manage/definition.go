package manage

import (
	"cmp"
	"encoding/json"
	"time"
)

// Definition has the keys of an entry of webhooks in the configuration file, in the same text
// forms. A missing key has the file's default.
type Definition struct {
	Name           string            `json:"name" yaml:"name" required:"false" doc:"unique in its project"`
	Description    string            `json:"description,omitempty" yaml:"description,omitempty"`
	Enabled        bool              `json:"enabled" yaml:"enabled" required:"false" doc:"default: true"`
	URL            string            `json:"url" yaml:"url" required:"false" doc:"URL of the receiver; its secret parts are shown as ***, and *** sent back leaves them unchanged"`
	Format         string            `json:"format,omitempty" yaml:"format,omitempty"`
	Preset         string            `json:"preset,omitempty" yaml:"preset,omitempty"`
	FormatOptions  FormatOptions     `json:"format_options,omitzero" yaml:"format_options,omitempty"`
	Events         []string          `json:"events,omitempty" yaml:"events,omitempty,flow"`
	ManifestReads  bool              `json:"manifest_reads,omitempty" yaml:"manifest_reads,omitempty"`
	Match          Filter            `json:"match,omitzero" yaml:"match,omitempty"`
	Exclude        Filter            `json:"exclude,omitzero" yaml:"exclude,omitempty"`
	AuthHeader     string            `json:"auth_header,omitempty" yaml:"auth_header,omitempty" doc:"shown as ***; *** sent back leaves it unchanged"`
	Headers        map[string]string `json:"headers,omitempty" yaml:"headers,omitempty" doc:"values are shown as ***; *** sent back leaves one unchanged"`
	SigningSecrets []string          `json:"signing_secrets,omitempty" yaml:"signing_secrets,omitempty" doc:"shown as ***, ***2, …; a mask sent back leaves its secret unchanged"`
	Signatures     []Signature       `json:"signatures,omitempty" yaml:"signatures,omitempty"`
	TLS            TLS               `json:"tls,omitzero" yaml:"tls,omitempty"`
	Proxy          string            `json:"proxy,omitempty" yaml:"proxy,omitempty"`
	Timeout        string            `json:"timeout,omitempty" yaml:"timeout,omitempty" example:"15s"`
	Concurrency    int               `json:"concurrency,omitempty" yaml:"concurrency,omitempty"`
	Order          string            `json:"order,omitempty" yaml:"order,omitempty"`
	Overtaken      string            `json:"overtaken,omitempty" yaml:"overtaken,omitempty"`
	RateLimit      string            `json:"rate_limit,omitempty" yaml:"rate_limit,omitempty" example:"1/s"`
	Group          Group             `json:"group,omitzero" yaml:"group,omitempty"`
	Retry          []string          `json:"retry,omitempty" yaml:"retry,omitempty,flow"`
}

// FormatOptions are the settings of a format.
type FormatOptions struct {
	Mode        string `json:"mode,omitempty" yaml:"mode,omitempty"`
	Type        string `json:"type,omitempty" yaml:"type,omitempty"`
	Subject     string `json:"subject,omitempty" yaml:"subject,omitempty"`
	Spec        string `json:"spec,omitempty" yaml:"spec,omitempty"`
	File        string `json:"file,omitempty" yaml:"file,omitempty" doc:"only for webhooks of the configuration file"`
	Text        string `json:"text,omitempty" yaml:"text,omitempty"`
	ContentType string `json:"content_type,omitempty" yaml:"content_type,omitempty"`
}

// Filter is match or exclude.
type Filter struct {
	Upstreams    []string `json:"upstreams,omitempty" yaml:"upstreams,omitempty,flow"`
	Projects     []string `json:"projects,omitempty" yaml:"projects,omitempty,flow"`
	Repositories []string `json:"repositories,omitempty" yaml:"repositories,omitempty,flow"`
	Tags         []string `json:"tags,omitempty" yaml:"tags,omitempty,flow"`
	Operators    []string `json:"operators,omitempty" yaml:"operators,omitempty,flow"`
	UserAgents   []string `json:"user_agents,omitempty" yaml:"user_agents,omitempty,flow"`
	Kinds        []string `json:"kinds,omitempty" yaml:"kinds,omitempty,flow"`
	Tagged       *bool    `json:"tagged,omitempty" yaml:"tagged,omitempty"`
	Semver       string   `json:"semver,omitempty" yaml:"semver,omitempty"`
	Changed      *bool    `json:"changed,omitempty" yaml:"changed,omitempty"`
	MinSeverity  string   `json:"min_severity,omitempty" yaml:"min_severity,omitempty"`
	NewFindings  *bool    `json:"new_findings,omitempty" yaml:"new_findings,omitempty"`
}

// Signature is a further signature of the body.
type Signature struct {
	Header    string `json:"header" yaml:"header"`
	Algorithm string `json:"algorithm,omitempty" yaml:"algorithm,omitempty"`
	Prefix    string `json:"prefix,omitempty" yaml:"prefix,omitempty"`
	Encoding  string `json:"encoding,omitempty" yaml:"encoding,omitempty"`
	Secret    string `json:"secret" yaml:"secret" doc:"shown as ***, in the second signature as ***2, and so on; a mask sent back leaves the secret unchanged"`
}

// TLS holds the TLS settings of a webhook.
type TLS struct {
	InsecureSkipVerify bool   `json:"insecure_skip_verify,omitempty" yaml:"insecure_skip_verify,omitempty"`
	ServerName         string `json:"server_name,omitempty" yaml:"server_name,omitempty"`
}

// Group combines events into messages.
type Group struct {
	Wait string `json:"wait,omitempty" yaml:"wait,omitempty"`
	Most int    `json:"most,omitempty" yaml:"most,omitempty"`
}

// UnmarshalJSON sets enabled to true if it is missing, as in the file.
func (d *Definition) UnmarshalJSON(b []byte) error {
	type plain Definition
	p := plain{Enabled: true}
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*d = Definition(p)
	return nil
}

// Webhook is a webhook as an account sees it.
type Webhook struct {
	Number   int64
	Key      string   // of its deliveries
	Name     string   // of the store's: unique in its project
	Project  string   // "": in the file, for no project or several
	Projects []string // in the file: the projects of match.projects, if none is a glob
	Source   string   // in the file: its position, such as bellbuoy.yaml:12; "": in the store
	Maker    string
	Limited  bool // the limits of limited accounts apply to it
	Made     time.Time
	Changed  time.Time
	Version  int64 // counts changes
	// Definition is the definition as it was given, with masked secrets. For a webhook of the
	// file it is complete.
	Definition Definition
	// Complete is the definition with its preset and all defaults.
	Complete Definition
	Editable bool // by this account
	Health   Health
}

// Compare orders webhooks by project, name and number.
func (w Webhook) Compare(o Webhook) int {
	return cmp.Or(cmp.Compare(w.Project, o.Project), cmp.Compare(w.Name, o.Name), cmp.Compare(w.Number, o.Number))
}

// Health is the state of a webhook's deliveries.
type Health struct {
	State       string // ok, failing, disabled (by hand), gone (its receiver answered 410) or off
	Since       time.Time
	Why         string
	CircuitOpen bool
	NextAttempt time.Time
	SuccessRate *float64 // of the attempts of the last 24 h; nil: there were none
	Tried       int64    // attempts of the last 24 h
	Pending     int64
	Dead        int64
	Parked      int64
	Oldest      time.Time // when the oldest pending delivery was planned
	// LastDelivery is when the webhook last got an event.
	LastDelivery time.Time
}

// Trigger is a type of events that a webhook gets.
type Trigger struct {
	Type    string
	Enabled bool
	Last    time.Time // zero: never
}
