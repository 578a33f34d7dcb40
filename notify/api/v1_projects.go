package api

import (
	"context"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Projects returns quotas and scans of all projects. The endpoints restrict them to the account's
// scope.
type V1Projects interface {
	// Quotas returns the usage of the project, or of all projects with a quota for "".
	Quotas(ctx context.Context, project string) ([]V1Quota, error)
	// Scans returns the scans that have not ended, of a repository, or of all for "".
	Scans(ctx context.Context, upstream, repository string) ([]V1ScanJob, error)
	// Scan starts a scan and reports its progress. The scan continues when ctx ends.
	Scan(ctx context.Context, by access.Principal, in V1Scan, line func(V1ScanLine) error) error
}

// V1Quota is the usage of a project in an upstream.
type V1Quota struct {
	Upstream  string    `json:"upstream"`
	Project   string    `json:"project"`
	Used      int64     `json:"used" doc:"bytes"`
	Limit     int64     `json:"limit" doc:"bytes"`
	WarnAt    []float64 `json:"warn_at,omitempty" doc:"percentages"`
	Manifests int64     `json:"manifests" doc:"manifests that are counted"`
	Inexact   int64     `json:"inexact,omitempty" doc:"of these, the manifests whose blobs are not all known"`
	Since     time.Time `json:"since" doc:"when counting began"`
}

// Percent returns the usage as a percentage of the limit.
func (q *V1Quota) Percent() float64 { return float64(q.Used) * 100 / float64(q.Limit) }

// V1Scan names the image to scan.
type V1Scan struct {
	Upstream   string `json:"upstream,omitempty" maxLength:"255" doc:"name of the registry; required if there are several"`
	Repository string `json:"repository" maxLength:"512" doc:"repository of the image"`
	Reference  string `json:"reference" maxLength:"255" doc:"a tag or a digest"`
}

// V1ScanLine is one line of the answer: the images to scan, a scan in progress, the event of a
// finished scan, or the end.
type V1ScanLine struct {
	Digest string     `json:"digest,omitempty"`
	Job    *V1ScanJob `json:"job,omitempty"`
	Event  *V1Event   `json:"event,omitempty"`
	Done   bool       `json:"done,omitempty"`
	Error  string     `json:"error,omitempty"`
}

// V1ScanJob is a scan that has not ended.
type V1ScanJob struct {
	Scanner    string    `json:"scanner"`
	Upstream   string    `json:"upstream"`
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"`
	Platform   string    `json:"platform,omitempty"`
	State      string    `json:"state"`
	Why        string    `json:"why,omitempty" doc:"why it waits"`
	Since      time.Time `json:"since"`
}

// addProjects adds the endpoints about quotas, scans and replications.
func (v *V1) addProjects() {
	addV1(v, operation("listQuotas", "GET /quotas", "Usage of projects with a quota", "projects"), everyAccount, v.listQuotas)
	addV1(v, operation("listScans", "GET /scans", "Scans that have not ended", "projects"), everyAccount, v.listScans)
	addV1(v, linesOf[V1ScanLine](v, operation("scan", "POST /scans", "Scan an image now; the results come as lines of JSON", "projects")), everyAccount, v.scan)
	addV1(v, operation("listReplications", "GET /replications", "Runs of replications that have ended, newest first", "projects"), everyAccount, v.listReplications)
}

func (v *V1) listQuotas(ctx context.Context, by access.Principal, in *struct {
	Project string `query:"project" maxLength:"255" doc:"only of this project"`
}) (*struct {
	Body struct {
		Items []V1Quota `json:"items" nullable:"false"`
	}
}, error) {
	out := &struct {
		Body struct {
			Items []V1Quota `json:"items" nullable:"false"`
		}
	}{}
	if in.Project != "" && !by.May(in.Project) {
		return nil, fmt.Errorf("%w: the project %q has no quota", manage.ErrNotFound, in.Project)
	}
	all, err := v.Projects.Quotas(ctx, in.Project)
	out.Body.Items = []V1Quota{}
	for _, q := range all {
		if by.May(q.Project) {
			out.Body.Items = append(out.Body.Items, q)
		}
	}
	return out, err
}

func (v *V1) listScans(ctx context.Context, by access.Principal, in *struct {
	Upstream   string `query:"upstream" maxLength:"255" doc:"only of this upstream"`
	Repository string `query:"repository" maxLength:"512" doc:"only of this repository"`
}) (*struct {
	Body struct {
		Items []V1ScanJob `json:"items" nullable:"false" doc:"at most 1,000 of each scanner"`
	}
}, error) {
	out := &struct {
		Body struct {
			Items []V1ScanJob `json:"items" nullable:"false" doc:"at most 1,000 of each scanner"`
		}
	}{}
	all, err := v.Projects.Scans(ctx, in.Upstream, in.Repository)
	out.Body.Items = []V1ScanJob{}
	for _, j := range all {
		if by.May(detect.Project(j.Repository)) {
			out.Body.Items = append(out.Body.Items, j)
		}
	}
	return out, err
}

func (v *V1) scan(_ context.Context, by access.Principal, in *struct{ Body V1Scan }) (*huma.StreamResponse, error) {
	if !by.May(detect.Project(in.Body.Repository)) {
		return nil, fmt.Errorf("%w: there is no repository %q", manage.ErrNotFound, in.Body.Repository)
	}
	return streamLines(v, "scan", func(ctx context.Context, line func(V1ScanLine) error) error {
		return v.Projects.Scan(ctx, by, in.Body, line)
	}), nil
}

func (v *V1) listReplications(ctx context.Context, by access.Principal, in *struct {
	Project string `query:"project" maxLength:"255" doc:"only of this project"`
	TimeSpan
	Paging
}) (*struct{ Body V1EventPage }, error) {
	found, err := v.Events.Events(ctx, by, manage.EventQuery{Types: []string{string(detect.Replication)}, Project: in.Project,
		Since: in.Since, Until: in.Until, Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	return &struct{ Body V1EventPage }{pageOfEvents(by, found)}, nil
}

func pageOfEvents(by access.Principal, found manage.EventPage) V1EventPage {
	page := V1EventPage{Items: make([]V1Event, len(found.Events)), Next: found.Next, LookedTo: found.LookedTo}
	for i := range found.Events {
		page.Items[i] = NewV1Event(by, &found.Events[i])
	}
	return page
}
