package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	scanPoll  = 500 * time.Millisecond
	mostScans = 1000 // jobs of one scanner that are listed or counted
)

// Scan implements api.V1Projects.
func (d control) Scan(ctx context.Context, by access.Principal, in api.V1Scan, line func(api.V1ScanLine) error) error {
	upstream, err := d.scannedUpstream(in.Upstream)
	if err != nil {
		return err
	}
	f := &scanFollower{daemon: d.daemon, by: by, line: line, shown: map[string]scan.JobState{}}
	if f.after, err = d.desk.LastSeq(ctx); err != nil {
		return err
	}
	f.started, err = d.scans.Start(ctx, upstream, in.Repository, in.Reference)
	switch {
	case errors.Is(err, scan.ErrAbsent):
		return fmt.Errorf("%w: %w", manage.ErrNotFound, err)
	case errors.Is(err, scan.ErrNoScanner), errors.Is(err, scan.ErrNotScannable):
		return manage.Problems{{Message: err.Error()}}
	case err != nil:
		return err
	}
	d.log.Info("scan started by request", zap.String("account", by.Name), zap.String("upstream", upstream), zap.String("repository", in.Repository), zap.String("digest", f.started.Digest))
	f.runs = slices.Collect(maps.Values(f.started.Runs))
	if err := line(api.V1ScanLine{Digest: f.started.Digest}); err != nil {
		return err
	}
	if err := f.follow(ctx); err != nil {
		return line(api.V1ScanLine{Error: err.Error()})
	}
	return nil
}

// Scans implements api.V1Projects.
func (d control) Scans(ctx context.Context, upstream, repository string) ([]api.V1ScanJob, error) {
	jobs, err := d.scans.Jobs(ctx, upstream, repository, mostScans)
	var all []api.V1ScanJob
	for i := range jobs {
		if upstream == "" || jobs[i].Upstream == upstream {
			all = append(all, shownJob(&jobs[i]))
		}
	}
	return all, err
}

func shownJob(j *scan.Job) api.V1ScanJob {
	return api.V1ScanJob{Scanner: j.Scanner, Upstream: j.Upstream, Repository: j.Repository, Digest: j.Digest, Platform: j.Platform, State: string(j.State), Why: j.Why, Since: j.Since}
}

// scannedUpstream returns the registry with this name, or the only one if name is "".
func (d control) scannedUpstream(name string) (string, error) {
	var all []string
	for _, u := range d.wiring.Load().config.Upstreams {
		if u.Type == config.TypeRegistry && (name == "" || u.Name == name) {
			all = append(all, u.Name)
		}
	}
	switch {
	case len(all) == 1:
		return all[0], nil
	case name != "":
		return "", problemText("there is no registry %q", name)
	case len(all) == 0:
		return "", problemText("no upstream is a registry")
	}
	return "", problemText("there are several registries (%s): name one with --upstream", strings.Join(all, ", "))
}

// scanFollower writes the progress of the scans that one request started, until all have ended.
type scanFollower struct {
	*daemon
	by      access.Principal
	line    func(api.V1ScanLine) error
	started *scan.Started
	runs    []string
	after   int64                    // events up to this sequence number are written
	shown   map[string]scan.JobState // by scanner and digest
}

func (f *scanFollower) follow(ctx context.Context) error {
	for {
		jobs, err := f.scans.Jobs(ctx, f.started.Upstream, f.started.Repository, mostScans)
		if err != nil {
			return err
		}
		jobs = slices.DeleteFunc(jobs, func(j scan.Job) bool { return !slices.Contains(f.runs, j.Run) })
		for i := range jobs {
			f.writeJob(&jobs[i])
		}
		if err := f.writeEvents(ctx); err != nil { // after Jobs: a job ends in the commit of its event, so no event is missed
			return err
		}
		if len(jobs) == 0 {
			return f.line(api.V1ScanLine{Done: true})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scanPoll):
		}
	}
}

func (f *scanFollower) writeJob(j *scan.Job) {
	k := j.Scanner + " " + j.Digest
	if f.shown[k] != j.State {
		f.shown[k] = j.State
		shown := shownJob(j)
		_ = f.line(api.V1ScanLine{Job: &shown})
	}
}

func (f *scanFollower) writeEvents(ctx context.Context) error {
	q := store.EventQuery{Types: []string{string(detect.ScanningCompleted), string(detect.ScanningFailed)},
		Upstream: f.started.Upstream, Repository: f.started.Repository, After: f.after, Ascending: true, Limit: manage.MostPage}
	found, err := f.dispatcher.Events(ctx, q)
	if err != nil {
		return err
	}
	for i := range found {
		f.after = found[i].Seq
		if s := found[i].Scan; s != nil && slices.Contains(f.runs, s.Run) {
			line := api.NewV1Event(f.by, &found[i])
			_ = f.line(api.V1ScanLine{Event: &line})
		}
	}
	return nil
}

// scannerStatuses returns the state of each scanner, in the order of the configuration.
func (d control) scannerStatuses(ctx context.Context) ([]api.V1ScannerStatus, error) {
	jobs, err := d.scans.Jobs(ctx, "", "", mostScans)
	if err != nil {
		return nil, err
	}
	stats := d.scans.Stats()
	var all []api.V1ScannerStatus
	for _, c := range d.wiring.Load().config.Scanners {
		s := api.V1ScannerStatus{Name: c.Name, Completed: stats[c.Name].Completed, Failed: stats[c.Name].Failed}
		for i := range jobs {
			switch {
			case jobs[i].Scanner != c.Name:
			case jobs[i].State == scan.Scanning:
				s.Scanning++
			default:
				s.Waiting++
				if jobs[i].State == scan.Down {
					s.Error = jobs[i].Why
				}
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// scanMetrics exports the counts of a scan.Runner; package scan imports no metrics.
type scanMetrics struct{ scans *scan.Runner }

var (
	scansDesc   = prometheus.NewDesc("bellbuoy_scans_total", "Scans that have ended, by outcome.", []string{"scanner", "outcome"}, nil)
	runningDesc = prometheus.NewDesc("bellbuoy_scans_running", "Scans in progress in this process.", []string{"scanner"}, nil)
)

// Describe implements prometheus.Collector.
func (m scanMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- scansDesc
	out <- runningDesc
}

// Collect implements prometheus.Collector.
func (m scanMetrics) Collect(out chan<- prometheus.Metric) {
	for name, s := range m.scans.Stats() {
		out <- prometheus.MustNewConstMetric(scansDesc, prometheus.CounterValue, float64(s.Completed), name, "completed")
		out <- prometheus.MustNewConstMetric(scansDesc, prometheus.CounterValue, float64(s.Failed), name, "failed")
		out <- prometheus.MustNewConstMetric(runningDesc, prometheus.GaugeValue, float64(s.Running), name)
	}
}
