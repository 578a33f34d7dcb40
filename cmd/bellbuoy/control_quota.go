package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// quotaLine is a project's usage of an upstream.
type quotaLine struct {
	Upstream  string    `json:"upstream"`
	Project   string    `json:"project"`
	Used      int64     `json:"used"`  // bytes
	Limit     int64     `json:"limit"` // bytes
	WarnAt    []float64 `json:"warn_at,omitempty"`
	Manifests int64     `json:"manifests"`         // that are counted
	Inexact   int64     `json:"inexact,omitempty"` // of these, whose blobs are not all known
	Since     time.Time `json:"since"`             // when counting began
}

func (l *quotaLine) percent() float64 { return float64(l.Used) * 100 / float64(l.Limit) }

// mostProjects bounds how many projects are listed or measured.
const mostProjects = 10_000

// quotaLines are the usages of the projects that have a quota, those of named upstreams that are gone included.
func (b *buoy) quotaLines(ctx context.Context, limit int) (lines []quotaLine, err error) {
	rule := quotaRule(b.wiring.Load().config.Projects)
	err = b.outbox.View(ctx, func(v detect.View) error {
		usages, err := quota.Usages(v, limit)
		for _, u := range usages {
			if r := rule(u.Project); r.Limit > 0 {
				lines = append(lines, quotaLine{Upstream: u.Upstream, Project: u.Project, Used: u.Used, Limit: r.Limit, WarnAt: r.WarnAt,
					Manifests: u.Manifests, Inexact: u.Inexact, Since: u.Since})
			}
		}
		return err
	})
	return lines, err
}

// controlQuota lists the usage of the project that is asked for, or of all.
func (b *buoy) controlQuota(w http.ResponseWriter, r *http.Request) error {
	if b.wiring.Load().quotas == nil {
		return fmt.Errorf("%w: no entry of projects has a quota", errBad)
	}
	lines, err := b.quotaLines(r.Context(), mostProjects)
	if err != nil {
		return err
	}
	project := r.URL.Query().Get("project")
	found := []quotaLine{}
	for _, l := range lines {
		if project == "" || l.Project == project {
			found = append(found, l)
		}
	}
	if project != "" && len(found) == 0 {
		if quotaRule(b.wiring.Load().config.Projects)(project).Limit > 0 {
			return fmt.Errorf("nothing of the project %q has been counted yet: %w; bellbuoy index counts what is there", project, store.ErrNotFound)
		}
		return fmt.Errorf("the project %q has no quota: %w", project, store.ErrNotFound)
	}
	return json.NewEncoder(w).Encode(found)
}

// quotaMetrics shows the usage of projects at each scrape.
type quotaMetrics struct{ buoy *buoy }

const (
	measuredProjects = 500 // a label each; those that come first by name
	quotaTimeout     = time.Second
)

var (
	quotaUsedDesc  = prometheus.NewDesc("bellbuoy_quota_used_bytes", "What a project with a quota uses of an upstream; of at most 500 projects.", []string{"upstream", "project"}, nil)
	quotaLimitDesc = prometheus.NewDesc("bellbuoy_quota_limit_bytes", "What it may use.", []string{"upstream", "project"}, nil)
)

// Describe implements prometheus.Collector.
func (m quotaMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- quotaUsedDesc
	out <- quotaLimitDesc
}

// Collect implements prometheus.Collector. While the store fails there are no usages.
func (m quotaMetrics) Collect(out chan<- prometheus.Metric) {
	if w := m.buoy.wiring.Load(); w == nil || w.quotas == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), quotaTimeout)
	defer cancel()
	lines, err := m.buoy.quotaLines(ctx, measuredProjects)
	if err != nil {
		return
	}
	for _, l := range lines {
		out <- prometheus.MustNewConstMetric(quotaUsedDesc, prometheus.GaugeValue, float64(l.Used), l.Upstream, l.Project)
		out <- prometheus.MustNewConstMetric(quotaLimitDesc, prometheus.GaugeValue, float64(l.Limit), l.Upstream, l.Project)
	}
}
