// Package quota records the usage of each project in a registry, and makes QUOTA_WARNING and
// QUOTA_EXCEED.
//
// The usage of a project is the bytes of the manifests in its repositories and of the blobs that
// these name, each digest counted once. It is kept in rows of the ledger, which are written in the
// transaction of the change (Quotas.Derive). So it is as durable as the event, and the same in all
// replicas:
//
//	quota.manifest   upstream, repository, digest: which blobs a manifest there names
//	quota.blob       upstream, project, digest: its size, and how many of these rows name it
//	quota.project    upstream, project: the sum, and the levels that had an event
//	quota.gone       upstream, repository, digest: when a manifest was deleted, for reads that
//	                 were under way then
//	quota.refused    upstream, repository, client: when a push that the upstream refused had
//	                 its event (Refusals)
//
// A change writes one row for each blob of the manifest, at most 2,002 rows. A further tag of a
// known manifest costs one read. The size of a blob is that in the first manifest that names it.
//
// The command index counts manifests that were pushed before the quota was configured, and removes
// those that were deleted without bellbuoy (Counted). Layers that no client uploads (foreign layers
// of Windows images) count as if the registry had them.
package quota

import (
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Rule is the quota of a project. Without a Limit the project has none, and its usage is not
// recorded.
type Rule struct {
	Limit  int64     // bytes
	WarnAt []float64 // percent of Limit
}

// Quotas derives rows and events from changes of manifests. It keeps no state in memory. It
// implements notify's Deriver.
type Quotas struct {
	rule func(project string) Rule
}

// New returns Quotas with the rules of projects. rule is called often and concurrently.
func New(rule func(project string) Rule) *Quotas { return &Quotas{rule: rule} }

// Scope returns a second scope in which a commit for a repository of an upstream must be
// serialized, because commits for other repositories of the project change the same sum. "": the
// project has no quota.
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

// Derive returns the rows and events that follow from changes that are about to be committed. v
// shows the rows after these changes.
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
		b.reset(m.Upstream, project, rule)
	}
	for i := range c.Events {
		if err := q.follow(b, &c.Events[i]); err != nil {
			return detect.Changes{}, err
		}
	}
	return b.changes(), nil
}

// follow adds the events that follow from another event. Only a push causes them, although other
// changes (children that wait for their index, a walk of the command index) also change the usage.
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
	before := *u
	u.reset(rule)
	if e.Type == detect.PushArtifact {
		for _, level := range u.warns(rule) {
			b.add(event(e, detect.QuotaWarning, &detect.Quota{Project: project, Limit: rule.Limit, Used: u.Used, Level: int(level)}))
		}
		if u.exceeds(rule) {
			used := min(u.Judged, u.Used)
			b.add(event(e, detect.QuotaExceed, &detect.Quota{Project: project, Limit: rule.Limit, Used: used, Added: u.Used - used}))
		}
	}
	u.Judged = u.Used
	if !u.same(&before) {
		b.touch(e.Upstream, project)
	}
	return nil
}

// event returns an event about a project's quota that follows from another event.
func event(of *detect.Event, t detect.Type, q *detect.Quota) detect.Event {
	return detect.Event{
		ID: detect.NewID(), Type: t, At: of.At, Upstream: of.Upstream, External: of.External,
		Repository: of.Repository, FirstSeen: of.FirstSeen, Visibility: of.Visibility, Hint: of.Hint,
		Tags: of.Tags, Digest: of.Digest, Quota: q, Client: of.Client, RequestID: of.RequestID,
	}
}

// Usage is the usage of a project at an upstream.
type Usage struct {
	Upstream string `json:"-"`
	Project  string `json:"-"`
	Used     int64  `json:"used"` // bytes
	// in its repositories; one that is in two repositories counts twice
	Manifests int64     `json:"manifests"`
	Inexact   int64     `json:"inexact,omitempty"` // the number of them with unknown blobs or sizes
	Since     time.Time `json:"since"`             // when counting began
	Judged    int64     `json:"told"`              // Used at the last push or delete
	// levels that had an event, while the usage has not fallen below them
	Warned   []float64 `json:"warned,omitempty"`
	Exceeded bool      `json:"exceeded,omitempty"` // the same for the limit
}
