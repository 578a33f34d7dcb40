package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		metrics := NewMetrics(registry)
		s := newStore(t)
		metrics.Counters = counters.New(counters.Options{Rows: s})
		out := NewOutbox(s, OutboxOptions{Metrics: metrics})
		r := &rig{t: t, store: s, outbox: out, dispatcher: NewDispatcher(s, out, DispatcherOptions{Metrics: metrics})}
		r.configure(to("fine", &sink{}), to("broken", &sink{answer: fails(422, webhook.Permanent, 0)}), to("stuck", &sink{answer: fails(500, webhook.Retry, 0)}))
		ended := r.run()
		for i := range 8 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
			synctest.Wait()
		}
		r.commit(with(upload("", "", ""), func(e *detect.Event) { e.Unnamed = true }))
		if err := r.dispatcher.Disable(t.Context(), "fine"); err != nil {
			t.Fatal(err)
		}
		got := gather(t, registry)
		for _, want := range []string{
			`bellbuoy_events_total{type=PUSH_ARTIFACT} 8`,
			`bellbuoy_events_total{type=REPLICATION} 0`,
			`bellbuoy_events_total{type=UPLOAD_CHART} 1`,
			`bellbuoy_events_unnamed_total{} 1`,
			`bellbuoy_events_lost_total{} 0`,
			`bellbuoy_events_kept{} 0`,
			`bellbuoy_deliveries_total{outcome=delivered,webhook=fine} 8`,
			`bellbuoy_deliveries_total{outcome=dead,webhook=broken} 8`,
			`bellbuoy_deliveries_total{outcome=retry,webhook=stuck} 5`,
			`bellbuoy_pending_deliveries{webhook=stuck} 8`,
			`bellbuoy_pending_deliveries{webhook=fine} 0`,
			`bellbuoy_dead_deliveries{webhook=broken} 8`,
			`bellbuoy_circuit_open{webhook=stuck} 1`,
			`bellbuoy_circuit_open{webhook=fine} 0`,
			`bellbuoy_webhook_disabled{webhook=fine} 1`,
			`bellbuoy_webhook_disabled{webhook=stuck} 0`,
			`bellbuoy_oldest_pending_seconds{webhook=stuck} 0`,
			`bellbuoy_store_commit_seconds{} 9`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
			}
		}
		var plotted []string
		for _, measure := range []counters.Measure{counters.Events, counters.Deliveries} {
			lines, err := metrics.Counters.Series(t.Context(), counters.Query{Measure: measure, From: time.Now(), Step: time.Minute, Steps: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				plotted = append(plotted, fmt.Sprint(line.Name, " ", line.Label, " ", line.Points[0].Count))
			}
		}
		if want := []string{" UPLOAD_CHART 1", "a PUSH_ARTIFACT 8", "broken dead 8", "fine delivered 8", "stuck retry 5"}; !slices.Equal(plotted, want) {
			t.Errorf("counted for plots: %q, want %q", plotted, want)
		}
		r.configure(to("fine", &sink{}))
		synctest.Wait()
		if left := strings.Join(gather(t, registry), "\n"); strings.Contains(left, "webhook=broken") {
			t.Errorf("series of a removed webhook:\n%s", left)
		}
		ended()
	})
}

// gather returns every series as name{labels} and its value. A histogram's value is its number of
// observations.
func gather(t *testing.T, g prometheus.Gatherer) []string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out = append(out, fmt.Sprintf("%s{%s} %v", f.GetName(), strings.Join(labels, ","), value(m)))
		}
	}
	return out
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	}
	return float64(m.GetHistogram().GetSampleCount())
}
