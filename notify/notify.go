// Package notify records events and delivers them to webhooks.
//
//	            ┌─ Outbox ────────────────────┐       ┌─ Dispatcher ──────────────┐
//	detect ───► │ one transaction: rows,      │ store │ a lane for each webhook:  │ ──► POST
//	            │ events, and the deliveries  │ ────► │ due → render → POST →     │
//	            │ that the Set plans          │       │ delivered, retry, or dead │
//	            └─────────────────────────────┘       └───────────────────────────┘
//
// A [Set] holds the configured webhooks with compiled filters. It plans the deliveries of an event.
//
// The [Outbox] implements detect.Ledger. It commits the changes and events of the tracker together
// with the deliveries that the Set plans. Its methods are in outbox.go (Commit), deferred.go
// (CommitLater), pullqueue.go (Record) and ledger.go (View, Due, Own).
//
// The [Dispatcher] has one lane for each webhook. Lanes share nothing but the store, so a receiver
// that hangs delays only its own deliveries. A reload gives both a new Set and drops nothing that
// is planned.
//
// The store's contract is in notify/store, a single POST in notify/webhook, bodies in
// notify/format.
package notify

import (
	"context"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Format renders events as bodies. It is pure: the same event and n give the same bytes. The
// renderers of notify/format implement it without importing this package.
type Format interface {
	// Name returns the format's name in the configuration.
	Name() string
	// PerTag reports whether a body names one tag. A push or delete of several tags then causes
	// one POST for each.
	PerTag() bool
	// Render returns the body about e.Tags[n]. n is 0 if the format is not per tag or e has no
	// tag. contentType "" means application/json. header holds the format's own headers (ce-*)
	// and may be nil. An error means that the event can never be rendered.
	Render(e detect.Event, n int) (contentType string, header map[string]string, body []byte, err error)
}

// Poster makes one attempt; *webhook.Client is one. It does not change the message's bytes.
type Poster interface {
	Post(context.Context, webhook.Message) webhook.Result
}

var _ Poster = (*webhook.Client)(nil)

// Webhook configures one receiver: its events, filter, format and schedule. A zero field has the
// default that its comment names.
type Webhook struct {
	// Name is unique. Deliveries are stored under it.
	Name string
	// Enabled false plans no deliveries and parks those that are pending until it is enabled
	// again.
	Enabled bool
	// Events lists types; "*" means all. Empty: all but QuietTypes.
	Events []string
	// ManifestReads includes pulls that downloaded no blob.
	ManifestReads bool
	// Project limits it to events of one project, and keeps out those that have none; "": no
	// limit.
	Project string
	Match   Match
	Exclude Match
	// Format must be set.
	Format Format
	// Poster must be set. The dispatcher uses it for attempts that start after Configure and
	// never closes it.
	Poster Poster
	// Placeholders lists the placeholders of the URL. If "tag" is among them, a push or delete
	// of several tags causes one POST for each.
	Placeholders []string
	// Concurrency bounds the POSTs in flight; 0: 8.
	Concurrency int
	Order       store.Order
	// DropOvertaken makes a dead letter of a push or delete of a tag after a newer one was
	// delivered.
	DropOvertaken bool
	// RateLimit bounds the POSTs per second; 0: no limit.
	RateLimit rate.Limit
	// Group combines events into messages, if the format can do that.
	Group Group
	// Retry lists the wait before each attempt, including the first. After the last attempt a
	// delivery becomes a dead letter. Empty: DefaultRetry.
	Retry []time.Duration
}

// Match is a filter. An empty key constrains nothing. Other keys constrain only events whose type
// can have the property.
type Match struct {
	Upstreams    []string
	Projects     []string // globs; * stays within a segment, ** crosses /
	Repositories []string // globs, as for Projects
	Tags         []string // globs; * matches any characters
	Operators    []string // globs, as for Tags; "" is the anonymous client
	UserAgents   []string // globs, as for Tags
	Kinds        []string
	Tagged       *bool
	Semver       string // a range for the tag, or for a chart's version
	Changed      *bool
	MinSeverity  string // of a scan's worst finding; "": any
	NewFindings  *bool
}

const defaultConcurrency = 8

// DefaultRetry returns the schedule of webhooks that configure none.
func DefaultRetry() []time.Duration {
	return []time.Duration{0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
}

// Types returns all types of events.
func Types() []detect.Type {
	return []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag,
		detect.UploadChart, detect.DownloadChart, detect.DeleteChart, detect.ScanningCompleted, detect.ScanningFailed,
		detect.QuotaExceed, detect.QuotaWarning, detect.Replication}
}

// QuietTypes returns the types that a webhook gets only if it names them: a consumer that pulls in
// answer to an event would otherwise cause its own events.
func QuietTypes() []detect.Type {
	return []detect.Type{detect.PullArtifact, detect.DownloadChart, detect.DeleteTag}
}

// perTag reports whether a POST is about one tag.
func (w *Webhook) perTag() bool { return w.Format.PerTag() || slices.Contains(w.Placeholders, "tag") }

func (w *Webhook) concurrency() int {
	if w.Concurrency > 0 {
		return w.Concurrency
	}
	return defaultConcurrency
}

func (w *Webhook) schedule() schedule {
	if len(w.Retry) > 0 {
		return w.Retry
	}
	return DefaultRetry()
}
