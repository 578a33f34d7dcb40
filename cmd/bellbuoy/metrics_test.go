package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/replication"
)

// While the store takes nothing, the Recorder keeps a bounded number of pulls and counts the others
// as dropped.
func TestReplicationMetrics(t *testing.T) {
	runs := replication.NewRecorder(nil, nil) // its Run is never called
	all := func(*detect.Client) bool { return true }
	runs.Configure(replication.Rules{{Name: "all", Matches: all}}, func(string) string { return "" }, 0)
	registry := prometheus.NewRegistry()
	registry.MustRegister(replicationMetrics(runs))
	const waiting, more = 4096, 3
	runs.Pulled(make([]detect.Event, 1)) // no pull
	for range waiting + more {
		runs.Pulled([]detect.Event{{Type: detect.PullArtifact, Moved: detect.MovedLayers}})
	}
	found, err := registry.Gather()
	if err != nil || len(found) != 1 || found[0].GetName() != "bellbuoy_replication_dropped_total" {
		t.Fatalf("Gather: %v, %v, want one metric of replications", found, err)
	}
	if got := found[0].GetMetric()[0].GetCounter().GetValue(); got != more {
		t.Errorf("dropped after %d pulls: got %v, want %d", waiting+more, got, more)
	}
}
