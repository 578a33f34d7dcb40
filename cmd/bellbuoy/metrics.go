package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect/track"
)

// trackerMetrics shows what detect counts; detect itself knows no metrics.
type trackerMetrics struct{ tracker *track.Tracker }

var trackerDescriptions = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*track.Stats) float64
}{
	{describeMetric("bellbuoy_open_intents", "Writes whose outcome is unknown and that the upstream has not told yet."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.OpenIntents) }},
	{describeMetric("bellbuoy_intents_given_up_total", "Writes whose outcome the upstream has not told for 7 days, and never will be known."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.GivenUp) }},
	{describeMetric("bellbuoy_writes_in_flight", "Pushes and deletes that wait for their answer."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.InFlight) }},
	{describeMetric("bellbuoy_held_pushes", "Manifests put by digest that wait for their index or tag."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.HeldPushes) }},
	{describeMetric("bellbuoy_correlation_sessions", "Clients in repositories whose reads are correlated."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.Sessions) }},
	{describeMetric("bellbuoy_correlation_bytes", "Memory that their correlation takes, about."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.SessionBytes + s.ContentBytes) }},
	{describeMetric("bellbuoy_tag_index_entries", "Rows of the tag index in memory."), prometheus.GaugeValue,
		func(s *track.Stats) float64 { return float64(s.Index) }},
	{describeMetric("bellbuoy_tag_index_hits_total", "Questions that the tag index in memory answered."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.Hits) }},
	{describeMetric("bellbuoy_tag_index_misses_total", "Questions that it could not answer."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.Misses) }},
	{describeMetric("bellbuoy_observations_dropped_total", "Things seen in reads for which there was no room; events are not among them."), prometheus.CounterValue,
		func(s *track.Stats) float64 { return float64(s.Dropped) }},
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
