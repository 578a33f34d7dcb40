// Package quota keeps what each project uses of a registry's storage, and makes QUOTA_WARNING and
// QUOTA_EXCEED of it.
//
// The usage of a project is the bytes of the manifests in its repositories and of the blobs that
// these name, each digest counted once. It is kept in rows of the ledger, in the transaction of the
// change that it follows from (Quotas.Derive), and so is as durable as the event, and the same in
// all replicas:
//
//	quota.manifest   upstream, repository, digest: which blobs a manifest there names
//	quota.blob       upstream, project, digest: its size, and how many of these rows name it
//	quota.project    upstream, project: the sum, and which levels have been told
//	quota.gone       upstream, repository, digest: when a manifest was deleted, for reads that were under way then
//	quota.refused    upstream, repository, client: when a push that the upstream refused was told (Refusals)
//
// A change costs a row for each blob that the manifest names and at most 2,002 of them; a manifest
// that is known already, under however many tags, costs one look. Sizes are those that the first
// manifest with a blob says.
//
// What stood in the registry before the quota did, and what was deleted past bellbuoy, is found by
// bellbuoy index (Counted). Blobs of layers that no client uploads (foreign layers of Windows
// images) count as if they were there.
package quota

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Rule is a project's quota. Without a Limit the project has none, and nothing is kept of it.
type Rule struct {
	Limit  int64     // bytes
	WarnAt []float64 // percent of Limit
}

// Quotas makes what follows from changes of manifests. It keeps nothing in memory. It is notify's
// Deriver.
type Quotas struct {
	rule func(project string) Rule
}

// New makes Quotas by the rules of projects. rule is called often and at once.
func New(rule func(project string) Rule) *Quotas { return &Quotas{rule: rule} }

// Scope is what commits of a scope (an upstream's repository) must exclude each other in besides:
// those of other repositories of the project change the same sum. "": the project has no quota.
func (q *Quotas) Scope(scope string) string {
	upstream, repository, ok := strings.Cut(scope, "/")
	if !ok {
		return ""
	}
	project := detect.Project(repository)
	if q.rule(project).Limit <= 0 {
		return ""
	}
	return "quota " + upstream + "/" + project
}

// Derive makes the rows and events that follow from changes that are about to be committed. v shows
// the rows as these leave them.
func (q *Quotas) Derive(c *detect.Changes, v detect.View) (detect.Changes, error) {
	b := newBooks(v)
	for i := range c.Manifests {
		m, project := &c.Manifests[i], detect.Project(c.Manifests[i].Repository)
		rule := q.rule(project)
		if rule.Limit <= 0 {
			continue
		}
		if err := b.change(m); err != nil {
			return detect.Changes{}, err
		}
		b.calm(m.Upstream, project, rule)
	}
	for i := range c.Events {
		if err := q.follow(b, &c.Events[i]); err != nil {
			return detect.Changes{}, err
		}
	}
	return b.changes(), nil
}

// follow makes the events that follow from one: only what a push raises is told, whatever else
// changed the usage meanwhile (children that wait for their index, an index walk).
func (q *Quotas) follow(b *books, e *detect.Event) error {
	if e.Type != detect.PushArtifact && e.Type != detect.DeleteArtifact {
		return nil
	}
	project := detect.Project(e.Repository)
	rule := q.rule(project)
	if rule.Limit <= 0 {
		return nil
	}
	u, err := b.project(e.Upstream, project)
	if err != nil {
		return err
	}
	told := *u
	u.calm(rule)
	if e.Type == detect.PushArtifact {
		for _, level := range u.warns(rule) {
			b.tell(event(e, detect.QuotaWarning, &detect.Quota{Project: project, Limit: rule.Limit, Used: u.Used, Level: int(level)}))
		}
		if u.exceeds(rule) {
			before := min(u.Told, u.Used)
			b.tell(event(e, detect.QuotaExceed, &detect.Quota{Project: project, Limit: rule.Limit, Used: before, Added: u.Used - before}))
		}
	}
	u.Told = u.Used
	if !u.same(&told) {
		b.touch(e.Upstream, project)
	}
	return nil
}

// event is one about a project's quota that follows from another.
func event(of *detect.Event, t detect.Type, q *detect.Quota) detect.Event {
	return detect.Event{
		ID: newID(), Type: t, At: of.At, Upstream: of.Upstream, External: of.External,
		Repository: of.Repository, FirstSeen: of.FirstSeen, Visibility: of.Visibility, Hint: of.Hint,
		Tags: of.Tags, Digest: of.Digest, Quota: q, Client: of.Client, RequestID: of.RequestID,
	}
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: the system cannot run anything safely
		return uuid.NewString()
	}
	return id.String()
}

// Usage is what a project uses of an upstream.
type Usage struct {
	Upstream string `json:"-"`
	Project  string `json:"-"`
	Used     int64  `json:"used"` // bytes
	// in its repositories; one in two of them counts twice
	Manifests int64     `json:"manifests"`
	Inexact   int64     `json:"inexact,omitempty"` // of these, whose blobs are not all known
	Since     time.Time `json:"since"`             // when counting began
	Told      int64     `json:"told"`              // Used at the last push or delete
	// levels that were told and have not been left since
	Warned   []float64 `json:"warned,omitempty"`
	Exceeded bool      `json:"exceeded,omitempty"` // likewise the limit
}
