package console

import (
	"context"
	"net/http"
	"slices"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// ProjectDesk has the projects in the scope of an account, ordered by name.
type ProjectDesk interface {
	Projects(ctx context.Context, by access.Principal) ([]Project, error)
}

// Project is a project and what it uses of its quota.
type Project struct {
	Name   string
	Public bool
	Usage  []QuotaUse // of each upstream; none: it has no quota
}

// QuotaUse is what a project uses of its quota in an upstream.
type QuotaUse struct {
	Upstream    string
	Used, Limit int64
	Inexact     bool // not all blobs are known
}

// Percent is the share of the limit; over 100, the limit is exceeded.
func (u QuotaUse) Percent() int64 { return int64(float64(u.Used) * 100 / float64(max(u.Limit, 1))) }

const projectsPath = "/projects"

func (c *Console) addProjects() {
	c.mux.Handle("GET "+projectsPath, c.page(showProjects))
	c.mux.Handle("GET "+projectsPath+"/{name}", c.page(showProject))
}

type projectsPage struct {
	Filters      filters
	Rows         []Project
	Pages        pages
	Scans        []scanRow
	Replications []eventRow
}

// scanRow is the event of a scan that has ended.
type scanRow struct {
	eventRow
	Failed           bool
	Severity, Reason string
}

const lastOnes = 10 // scans and replications

func showProjects(v *pageRequest) error {
	all, err := v.c.Projects.Projects(v.Context(), v.by)
	if err != nil {
		return err
	}
	p := projectsPage{Filters: v.filters(byProject)}
	all = slices.DeleteFunc(all, func(one Project) bool { return !containsFold(one.Name, p.Filters.Form.Value("project")) })
	from := v.offset(len(all), webhooksAtOnce)
	p.Rows = all[from:min(from+webhooksAtOnce, len(all))]
	p.Pages = offsetPages(v.URL.Query(), from, len(p.Rows), len(all), "project", "projects")
	if p.Scans, p.Replications, err = v.lastRuns(""); err != nil {
		return err
	}
	v.render(http.StatusOK, "projects", pageData{Title: "Projects", Tab: "projects", Body: p})
	return nil
}

type projectPage struct {
	Project
	Scans        []scanRow
	Replications []eventRow
}

func showProject(v *pageRequest) error {
	name := v.PathValue("name")
	all, err := v.c.Projects.Projects(v.Context(), v.by)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(one Project) bool { return one.Name == name })
	if i < 0 {
		return manage.ErrNotFound
	}
	p := projectPage{Project: all[i]}
	if p.Scans, p.Replications, err = v.lastRuns(name); err != nil {
		return err
	}
	v.render(http.StatusOK, "project", pageData{Title: name, Tab: "projects", Body: p})
	return nil
}

// lastRuns are the last scans and replications of a project, or of all for "".
func (v *pageRequest) lastRuns(project string) (scans []scanRow, replications []eventRow, err error) {
	q := manage.EventQuery{Project: project, Limit: lastOnes, Types: []string{string(detect.ScanningCompleted), string(detect.ScanningFailed)}}
	found, err := v.c.newest.events(v, q)
	if err != nil {
		return nil, nil, err
	}
	for i := range found.Events {
		e := &found.Events[i]
		row := scanRow{eventRow: rowOfEvent(e), Failed: e.Type == detect.ScanningFailed}
		if e.Scan != nil {
			row.Severity, row.Reason = e.Scan.Severity, e.Scan.Reason
		}
		scans = append(scans, row)
	}
	q.Types = []string{string(detect.Replication)}
	if found, err = v.c.newest.events(v, q); err != nil {
		return nil, nil, err
	}
	for i := range found.Events {
		row := rowOfEvent(&found.Events[i])
		if r := found.Events[i].Replication; r != nil {
			row.Note = plural(len(r.Succeeded), "artifact", "artifacts") + ", " + plural(len(r.Failed), "failure", "failures")
		}
		replications = append(replications, row)
	}
	return scans, replications, nil
}
