package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// mostProjects bounds how many projects are listed or measured.
const mostProjects = 10_000

// quotaLines returns the usage of the projects that have a quota, including usage in upstreams that
// were removed. It reads nothing where no project has a quota.
func (d *daemon) quotaLines(ctx context.Context, limit int) (lines []api.V1Quota, err error) {
	w := d.wiring.Load()
	if w == nil || w.quotas == nil {
		return nil, nil
	}
	rule := quotaRule(w.config.Projects)
	err = d.outbox.View(ctx, func(v detect.View) error {
		usages, err := quota.Usages(v, limit)
		for _, u := range usages {
			if r := rule(u.Project); r.Limit > 0 {
				lines = append(lines, api.V1Quota{Upstream: u.Upstream, Project: u.Project, Used: u.Used, Limit: r.Limit, WarnAt: r.WarnAt,
					Manifests: u.Manifests, Inexact: u.Inexact, Since: u.Since})
			}
		}
		return err
	})
	return lines, err
}

// mostOver bounds how many projects over their quota are named in a status.
const mostOver = 10

// overQuota returns a line for each project that uses more than its limit.
func overQuota(lines []api.V1Quota) (all []string) {
	over := 0
	for i := range lines {
		l := &lines[i]
		if l.Used <= l.Limit {
			continue
		}
		if over++; over <= mostOver {
			all = append(all, fmt.Sprintf("project %s: uses %s in upstream %s, over its quota of %s", l.Project, bytesText(l.Used), l.Upstream, bytesText(l.Limit)))
		}
	}
	if over > mostOver {
		all = append(all, fmt.Sprintf("%s more over their quota; see: bellbuoy quota", plural(over-mostOver, "project")))
	}
	return all
}

// quotaMetrics exports the usage of projects.
type quotaMetrics struct{ daemon *daemon }

const (
	measuredProjects = 500 // a label each; those that come first by name
	quotaTimeout     = time.Second
)

var (
	quotaUsedDesc  = prometheus.NewDesc("bellbuoy_quota_used_bytes", "Size of what a project with a quota holds in an upstream.", []string{"upstream", "project"}, nil)
	quotaLimitDesc = prometheus.NewDesc("bellbuoy_quota_limit_bytes", "Limit of the quota of a project in an upstream.", []string{"upstream", "project"}, nil)
)

// Describe implements prometheus.Collector.
func (m quotaMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- quotaUsedDesc
	out <- quotaLimitDesc
}

// Collect implements prometheus.Collector. It exports nothing while the store fails.
func (m quotaMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), quotaTimeout)
	defer cancel()
	lines, err := m.daemon.quotaLines(ctx, measuredProjects)
	if err != nil {
		return
	}
	for _, l := range lines {
		out <- prometheus.MustNewConstMetric(quotaUsedDesc, prometheus.GaugeValue, float64(l.Used), l.Upstream, l.Project)
		out <- prometheus.MustNewConstMetric(quotaLimitDesc, prometheus.GaugeValue, float64(l.Limit), l.Upstream, l.Project)
	}
}

// Quotas implements api.V1Projects.
func (d control) Quotas(ctx context.Context, project string) ([]api.V1Quota, error) {
	if d.wiring.Load().quotas == nil {
		return nil, manage.Problems{{Message: "no entry of projects has a quota"}}
	}
	lines, err := d.quotaLines(ctx, mostProjects)
	if err != nil || project == "" {
		return lines, err
	}
	lines = slices.DeleteFunc(lines, func(l api.V1Quota) bool { return l.Project != project })
	switch {
	case len(lines) > 0:
		return lines, nil
	case quotaRule(d.wiring.Load().config.Projects)(project).Limit > 0:
		return nil, fmt.Errorf("%w: nothing of the project %q has been counted yet; run bellbuoy index", manage.ErrNotFound, project)
	}
	return nil, fmt.Errorf("%w: the project %q has no quota", manage.ErrNotFound, project)
}
