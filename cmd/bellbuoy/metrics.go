package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
)

// registerTracker shows what detect counts; detect itself knows no metrics.
func registerTracker(r *prometheus.Registry, t *detect.Tracker) {
	gauge := func(name, help string, value func(detect.Stats) int) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value(t.Stats())) }))
	}
	gauge("bellbuoy_open_intents", "Writes whose outcome is unknown and that the upstream has not told yet.", func(s detect.Stats) int { return s.OpenIntents })
}
