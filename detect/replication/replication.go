// Package replication makes one REPLICATION event for each run: what a replicator pushes to a
// project, or pulls from it, without a longer pause.
//
// A run is stored in rows of the ledger from its first artifact on, so that a crash loses none of
// it:
//
//	replication.run        rule, upstream, project, direction: when it began, and when it is
//	                       over if nothing is added
//	replication.artifact   … repository, reference: what it moved, or why it failed to
//
// Pushes are added in the transaction of their events (Rules.Derive). Pulls and failures have no
// transaction, and are added later (Recorder). The Recorder ends a run when nothing was added for
// the quiet time of its rule, and no transfer of the replicator is in flight in the project at any
// replica.
package replication

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Rule says which requests are those of a replicator.
type Rule struct {
	Name    string
	Matches func(*detect.Client) bool
	Quiet   time.Duration
	Mute    bool // its pushes are events that no webhook gets
}

// Rules add the pushes that are committed to runs. They keep nothing in memory. They implement
// notify's Deriver.
type Rules []Rule

// of returns the first rule that matches a client, or nil.
func (r Rules) of(c *detect.Client) *Rule {
	for i := range r {
		if r[i].Matches(c) {
			return &r[i]
		}
	}
	return nil
}

// Mutes reports whether no webhook gets an event.
func (r Rules) Mutes(e *detect.Event) bool {
	if e.Type != detect.PushArtifact {
		return false
	}
	rule := r.of(&e.Client)
	return rule != nil && rule.Mute
}

// Scope returns a second scope in which a commit for a repository of an upstream must be
// serialized, because commits for other repositories of the project add to the same run. "": there
// is none.
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

// artifact returns the key of an artifact of the run.
func (k runKey) artifact(repository, reference string) detect.Key {
	return detect.Key{Kind: rowArtifact, ID: k.artifacts() + repository + separator + reference}
}

// artifacts returns the prefix of the IDs of all artifacts of the run.
func (k runKey) artifacts() string { return k.row().ID + separator }

func runKeyOf(id string) (k runKey, ok bool) {
	parts := strings.Split(id, separator)
	if len(parts) != 4 {
		return k, false
	}
	return runKey{parts[0], parts[1], parts[2], parts[3]}, true
}

// runRow is a run that is not over. Due of its row is when it will be.
type runRow struct {
	Event      string          `json:"event"` // the ID of its event
	Number     int64           `json:"number"`
	Started    time.Time       `json:"started"`
	Last       time.Time       `json:"last"`
	Bytes      int64           `json:"bytes"`
	Artifacts  int             `json:"artifacts"`      // the number of its rows
	More       int             `json:"more,omitempty"` // artifacts for which there was no room
	Quiet      time.Duration   `json:"quiet"`
	External   detect.External `json:"external"`
	Visibility string          `json:"visibility,omitempty"`
	Client     detect.Client   `json:"client"`
}

// artifactRow is one tag, or one digest without a tag, that a run has moved or failed to move.
type artifactRow struct {
	Reason string `json:"reason,omitempty"` // why it failed; "": it did not
}

// maxArtifacts bounds the artifacts that are stored of a run. Further ones are counted.
const maxArtifacts = 10_000

func row(k detect.Key, value any) detect.Row {
	b, _ := json.Marshal(value) // these types always encode
	return detect.Row{Key: k, Value: b}
}
