package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

type (
	scanRequest struct {
		Upstream   string `json:"upstream,omitempty"`
		Repository string `json:"repository"`
		Reference  string `json:"reference"`
	}
	// scanLine is what is scanned, a scan that goes on, the event of one that has ended, or the
	// end.
	scanLine struct {
		Digest string       `json:"digest,omitempty"`
		Job    *scan.Job    `json:"job,omitempty"`
		Event  *api.V1Event `json:"event,omitempty"`
		Done   bool         `json:"done,omitempty"`
		Error  string       `json:"error,omitempty"`
	}
	scannerStatus struct {
		Name      string `json:"name"`
		Waiting   int    `json:"waiting"` // jobs, at most 1,000 are counted
		Scanning  int    `json:"scanning"`
		Completed int    `json:"completed"` // since the start
		Failed    int    `json:"failed"`
		Error     string `json:"error,omitempty"` // why jobs wait
	}
)

const (
	scanLook  = 500 * time.Millisecond
	mostScans = 1000 // jobs of one scanner that are listed or counted
)

// scan starts a scan and writes how it goes, line by line. The scan goes on without the command.
func (control controlAPI) scan(w http.ResponseWriter, r *http.Request) error {
	var in scanRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return fmt.Errorf("%w: %w", errBad, err)
	}
	upstream, err := control.scannedUpstream(in.Upstream)
	if err != nil {
		return err
	}
	f := &scanFollower{daemon: control.daemon, out: json.NewEncoder(w), flush: http.NewResponseController(w).Flush, shown: map[string]scan.JobState{}}
	top, err := control.dispatcher.Events(r.Context(), store.EventQuery{Limit: 1})
	if err != nil {
		return err
	}
	for i := range top {
		f.after = top[i].Seq
	}
	f.started, err = control.scans.Start(r.Context(), upstream, in.Repository, in.Reference)
	switch {
	case errors.Is(err, scan.ErrAbsent):
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	case errors.Is(err, scan.ErrNoScanner), errors.Is(err, scan.ErrNotScannable):
		return fmt.Errorf("%w: %w", errBad, err)
	case err != nil:
		return err
	}
	f.runs = slices.Collect(maps.Values(f.started.Runs))
	_ = f.out.Encode(scanLine{Digest: f.started.Digest})
	if err := f.follow(r.Context()); err != nil {
		_ = f.out.Encode(scanLine{Error: err.Error()})
	}
	return nil
}

// scannedUpstream is the registry that is named, or the only one.
func (control controlAPI) scannedUpstream(name string) (string, error) {
	var all []string
	for _, u := range control.wiring.Load().config.Upstreams {
		if u.Type == config.TypeRegistry && (name == "" || u.Name == name) {
			all = append(all, u.Name)
		}
	}
	switch {
	case len(all) == 1:
		return all[0], nil
	case name != "":
		return "", fmt.Errorf("%w: there is no registry %q", errBad, name)
	case len(all) == 0:
		return "", fmt.Errorf("%w: no upstream is a registry", errBad)
	}
	return "", fmt.Errorf("%w: there are several registries (%s): name one with --upstream", errBad, strings.Join(all, ", "))
}

// scanFollower writes how the scans of one command go.
type scanFollower struct {
	*daemon
	out     *json.Encoder
	flush   func() error
	started *scan.Started
	runs    []string
	after   int64                    // events up to this number are written
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
		if err := f.writeEvents(ctx); err != nil { // after the jobs were read: a job's end and its event are one commit
			return err
		}
		if len(jobs) == 0 {
			return f.out.Encode(scanLine{Done: true})
		}
		_ = f.flush()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scanLook):
		}
	}
}

func (f *scanFollower) writeJob(j *scan.Job) {
	k := j.Scanner + " " + j.Digest
	if f.shown[k] != j.State {
		f.shown[k] = j.State
		_ = f.out.Encode(scanLine{Job: j})
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
			line := api.NewV1Event(&found[i])
			_ = f.out.Encode(scanLine{Event: &line})
		}
	}
	return nil
}

// scannerStatuses are how the scanners are doing, in the order of the configuration.
func (control controlAPI) scannerStatuses(ctx context.Context) ([]scannerStatus, error) {
	jobs, err := control.scans.Jobs(ctx, "", "", mostScans)
	if err != nil {
		return nil, err
	}
	stats := control.scans.Stats()
	var all []scannerStatus
	for _, c := range control.wiring.Load().config.Scanners {
		s := scannerStatus{Name: c.Name, Completed: stats[c.Name].Completed, Failed: stats[c.Name].Failed}
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

// scanMetrics shows what scan counts; it knows no metrics itself.
type scanMetrics struct{ scans *scan.Runner }

var (
	scansDesc   = prometheus.NewDesc("bellbuoy_scans_total", "Scans that have ended, by scanner and outcome.", []string{"scanner", "outcome"}, nil)
	runningDesc = prometheus.NewDesc("bellbuoy_scans_running", "Scans that this process works on.", []string{"scanner"}, nil)
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
