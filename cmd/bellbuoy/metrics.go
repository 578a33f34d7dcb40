package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect/replication"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/proxy"
)

// traffic yields the traffic of each upstream as a point of the counters.
func (d *daemon) traffic(yield func(string, counters.Point)) {
	d.data.metrics.Traffic(func(upstream string, t proxy.Traffic) {
		yield(upstream, counters.Point{Count: t.Requests, In: t.In, Out: t.Out, Errors: t.Errors})
	})
}

// trackerMetrics exports the tracker's counters; the tracker itself imports no metrics.
type trackerMetrics struct{ tracker *track.Tracker }

var trackerDescriptions = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*track.Stats) float64
}{
	{describeMetric("bellbuoy_open_intents", "Pushes and deletes whose outcome is unknown, because the upstream gave no clear answer. bellbuoy asks it again."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.OpenIntents) }},
	{describeMetric("bellbuoy_intents_given_up_total", "Pushes and deletes whose outcome stayed unknown for 7 days. They have no event."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.GivenUp) }},
	{describeMetric("bellbuoy_writes_in_flight", "Pushes and deletes in progress."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.InFlight) }},
	{describeMetric("bellbuoy_held_pushes", "Manifests pushed by digest that wait for their index or tag."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.HeldPushes) }},
	{describeMetric("bellbuoy_correlation_sessions", "Clients whose reads are being correlated, counted once for each repository."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.Sessions) }},
	{describeMetric("bellbuoy_correlation_bytes", "Memory that correlation uses, approximately."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.SessionBytes + s.ContentBytes) }},
	{describeMetric("bellbuoy_tag_index_entries", "Entries of the tag index in memory."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.Index) }},
	{describeMetric("bellbuoy_tag_index_hits_total", "Look-ups that the tag index in memory answered."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.Hits) }},
	{describeMetric("bellbuoy_tag_index_misses_total", "Look-ups that the tag index in memory could not answer; the store was asked."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.Misses) }},
	{describeMetric("bellbuoy_observations_dropped_total", "Reads that were not observed for lack of memory. They have no event."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.Dropped) }},
}

// replicationMetrics exports how many transfers a Recorder had to leave out of runs.
func replicationMetrics(r *replication.Recorder) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "bellbuoy_replication_dropped_total",
		Help: "Pulls and failures that are missing in REPLICATION events, because they came faster than the store could take them."},
		func() float64 { return float64(r.Dropped()) })
}

func describeMetric(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, nil, nil)
}

// Describe implements prometheus.Collector.
func (m trackerMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range trackerDescriptions {
		out <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (m trackerMetrics) Collect(out chan<- prometheus.Metric) {
	stats := m.tracker.Stats()
	for _, d := range trackerDescriptions {
		out <- prometheus.MustNewConstMetric(d.desc, d.kind, d.value(&stats))
	}
}
