package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/replication"
)

// TestReplicationMetrics: pulls that wait for a store that takes none are bounded, and the rest is
// counted.
func TestReplicationMetrics(t *testing.T) {
	runs := replication.NewRecorder(nil, nil) // that does not run
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
		t.Fatalf("%v %v", found, err)
	}
	if got := found[0].GetMetric()[0].GetCounter().GetValue(); got != more {
		t.Errorf("%v are counted, want %d", got, more)
	}
}
