// Package notify leads from something that happened to a delivered webhook.
//
//	            ┌─ Outbox ─────────────────────────┐        ┌─ Dispatcher ──────────────────────────────┐
//	detect ───► │ one transaction: events, rows,   │ store  │ lane of a webhook: due → render → POST →   │ ──► receiver
//	            │ deliveries planned by the Set    │ ─────► │ outcome (delivered | retry at | dead)      │
//	            └──────────────────────────────────┘        └────────────────────────────────────────────┘
//
// A [Set] is the webhooks of the configuration with their filters made ready; it says which of them an event concerns.
// The [Outbox] is detect's ledger: it commits what detect decides, and with it the deliveries that the Set plans.
// The [Dispatcher] has a lane for each webhook and nothing that two lanes share but the store, so that a receiver that hangs holds up itself alone.
// Reload hands both a new Set; nothing that was planned is lost by it.
//
// What is durable is in notify/store, one POST is notify/webhook's, bodies are notify/format's.
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

// Format renders events as bodies. It is pure: the same event and n give the same bytes. The renderers of notify/format satisfy it
// without knowing this package.
type Format interface {
	// Name is that of the configuration's `format`.
	Name() string
	// PerTag tells that a body names one tag: a push or a delete of several tags then makes a POST for each.
	PerTag() bool
	// Render makes the POST that tells of e.Tags[n]; n is 0 where the format is not per tag, or e has no tag. contentType "" is application/json;
	// header is what the format adds (ce-*), and may be nil. An error means that this event can never be rendered.
	Render(e detect.Event, n int) (contentType string, header map[string]string, body []byte, err error)
}

// Poster makes one attempt; *webhook.Client is one. The bytes of the message stay untouched.
type Poster interface {
	Post(context.Context, webhook.Message) webhook.Result
}

var _ Poster = (*webhook.Client)(nil)

// Webhook is who is told about what, and how. Zero fields mean the defaults named with them.
type Webhook struct {
	// Name is unique, and the identity under which deliveries are kept.
	Name string
	// Enabled false: nothing is planned for it, and what was planned before is parked until it is enabled again.
	Enabled bool
	// Events are types; "*" is all. Empty: all but those of QuietTypes.
	Events []string
	// ManifestReads lets through pulls that moved no blob.
	ManifestReads bool
	Match         Match
	Exclude       Match
	// Format must be set.
	Format Format
	// Poster must be set. The dispatcher uses it for attempts that begin after Configure, and never closes it.
	Poster Poster
	// Placeholders are those of the URL. Where it names the tag, a push or a delete of several tags makes a POST for each.
	Placeholders []string
	// Concurrency bounds the POSTs in flight; 0: 8.
	Concurrency int
	Order       store.Order
	// DropOvertaken makes a dead letter of a push or delete of a tag whose newer one was delivered.
	DropOvertaken bool
	// RateLimit bounds POSTs per second; 0: none.
	RateLimit rate.Limit
	// Group gathers events into messages, where the format can.
	Group Group
	// Retry is the time before each attempt, the first included; after the last a delivery is a dead letter. Empty: DefaultRetry.
	Retry []time.Duration
}

// Match is a filter. An empty key says nothing. A key constrains every event of a type that can have its property, and no other.
type Match struct {
	Upstreams    []string
	Projects     []string // globs in which * stays within a segment and ** crosses /
	Repositories []string // likewise
	Tags         []string // globs in which * matches any characters
	Operators    []string // likewise; "" is the anonymous client
	UserAgents   []string // likewise
	Kinds        []string
	Tagged       *bool
	Semver       string // a range that the tag, or a chart's version, lies in
	Changed      *bool
}

const defaultConcurrency = 8

// DefaultRetry is the schedule of a webhook that names none.
func DefaultRetry() []time.Duration {
	return []time.Duration{0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
}

// Types are all types of events.
func Types() []detect.Type {
	return []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag,
		detect.UploadChart, detect.DownloadChart, detect.DeleteChart, detect.ScanningCompleted, detect.ScanningFailed,
		detect.QuotaExceed, detect.QuotaWarning, detect.Replication}
}

// QuietTypes are those that a webhook gets only when it names them: a consumer that pulls would ring its own bell.
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
