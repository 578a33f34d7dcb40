package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readiness answers /readyz. bellbuoy is ready while traffic can pass; with store.on_failure pass
// this includes a failing store.
type readiness struct {
	draining atomic.Bool
	refuse   atomic.Bool // store.on_failure is refuse
	store    func() error
	deferred func() int // commits that wait in memory
}

func (h *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	err := h.store()
	switch {
	case h.draining.Load():
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
	case err != nil && h.refuse.Load():
		http.Error(w, "pushes and deletes are refused, the store fails: "+err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		fmt.Fprintf(w, "ok, but the store fails and events wait in memory: %v\n", err)
	case h.deferred() > 0:
		fmt.Fprintf(w, "ok, but the store fails now and then: %d events wait in memory\n", h.deferred())
	default:
		fmt.Fprintln(w, "ok")
	}
}

// healthServer serves /healthz, /readyz and /metrics for kubelets and Prometheus, without a login.
func healthServer(ready *readiness, metrics *prometheus.Registry) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{Registry: metrics}))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
}

func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "bellbuoy_build_info", Help: "Always 1; the label has the version.", ConstLabels: prometheus.Labels{"version": buildVersion()}})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
