// Package replication makes one REPLICATION event of what a replicator pushes to, or pulls from, a
// project in one go.
//
// A run is kept in rows of the ledger, from its first artifact on, so that a crash loses nothing of
// it:
//
//	replication.run        rule, upstream, project, direction: when it began, and when it is
//	                       over unless something comes
//	replication.artifact   … repository, reference: what it moved, or why it failed to
//
// What comes of pushes is written in the transaction of their events (Rules.Derive). Pulls and
// refusals have no transaction and are added behind them (Recorder). The Recorder ends a run when
// nothing came for the rule's quiet time and no transfer of the replicator is in flight in the
// project, at any replica.
package replication

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Rule tells the requests of one replicator from all others.
type Rule struct {
	Name    string
	Matches func(*detect.Client) bool
	Quiet   time.Duration
	Mute    bool // its pushes are events that no webhook gets
}

// Rules make runs of the pushes that are committed. They keep nothing in memory. They are notify's
// Deriver.
type Rules []Rule

// of is the first rule that matches a client; nil: none does.
func (r Rules) of(c *detect.Client) *Rule {
	for i := range r {
		if r[i].Matches(c) {
			return &r[i]
		}
	}
	return nil
}

// Mutes reports whether no webhook shall get an event.
func (r Rules) Mutes(e *detect.Event) bool {
	if e.Type != detect.PushArtifact {
		return false
	}
	rule := r.of(&e.Client)
	return rule != nil && rule.Mute
}

// Scope is what commits of a scope (an upstream's repository) must exclude each other in besides: a
// run is of a whole project.
func (r Rules) Scope(scope string) string {
	upstream, repository, ok := strings.Cut(scope, "/")
	if !ok || len(r) == 0 || strings.HasPrefix(scope, scopePrefix) {
		return ""
	}
	return scopeOf(upstream, detect.Project(repository))
}

const scopePrefix = "replication "

func scopeOf(upstream, project string) string { return scopePrefix + upstream + "/" + project }

// Derive adds the pushes of replicators to their runs.
func (r Rules) Derive(c *detect.Changes, v detect.View) (detect.Changes, error) {
	b := newBooks(v)
	for i := range c.Events {
		e := &c.Events[i]
		if e.Type != detect.PushArtifact {
			continue
		}
		if rule := r.of(&e.Client); rule != nil {
			if err := b.moved(rule, pushes, e); err != nil {
				return detect.Changes{}, err
			}
		}
	}
	return b.Changes, nil
}

// The directions, seen from the upstream.
const (
	pushes = "push"
	pulls  = "pull"
)

// The kinds of row.
const (
	rowRun      detect.RowKind = "replication.run"
	rowArtifact detect.RowKind = "replication.artifact"
	rowNumber   detect.RowKind = "replication.number" // how many runs there have been; one row

	separator = "\x1f"
)

// runKey names a run.
type runKey struct{ rule, upstream, project, direction string }

func (k runKey) row() detect.Key {
	return detect.Key{Kind: rowRun, ID: strings.Join([]string{k.rule, k.upstream, k.project, k.direction}, separator)}
}

// artifact is the row of what a run has moved; its prefix that of all of them.
func (k runKey) artifact(repository, reference string) detect.Key {
	return detect.Key{Kind: rowArtifact, ID: k.artifacts() + repository + separator + reference}
}

func (k runKey) artifacts() string { return k.row().ID + separator }

func runKeyOf(id string) (k runKey, ok bool) {
	parts := strings.Split(id, separator)
	if len(parts) != 4 {
		return k, false
	}
	return runKey{parts[0], parts[1], parts[2], parts[3]}, true
}

// runRow is a run that is not over. Its Due is when it is.
type runRow struct {
	Event      string          `json:"event"` // the id of the event that it will be
	Number     int64           `json:"number"`
	Started    time.Time       `json:"started"`
	Last       time.Time       `json:"last"`
	Bytes      int64           `json:"bytes"`
	Artifacts  int             `json:"artifacts"`      // rows
	More       int             `json:"more,omitempty"` // that there was no room for
	Quiet      time.Duration   `json:"quiet"`
	External   detect.External `json:"external"`
	Visibility string          `json:"visibility,omitempty"`
	Client     detect.Client   `json:"client"`
}

// artifactRow is one tag, or one digest without a tag, that a run has moved or failed to move.
type artifactRow struct {
	Reason string `json:"reason,omitempty"` // why it failed; "": it did not
}

// maxArtifacts bounds what is kept of a run; more is counted.
const maxArtifacts = 10_000

func row(k detect.Key, value any) detect.Row {
	b, _ := json.Marshal(value) // these types always encode
	return detect.Row{Key: k, Value: b}
}
