package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		metrics := NewMetrics(registry)
		s := newStore(t)
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
		r.configure(to("fine", &sink{}))
		synctest.Wait()
		if left := strings.Join(gather(t, registry), "\n"); strings.Contains(left, "webhook=broken") {
			t.Errorf("a webhook that is gone is still there:\n%s", left)
		}
		ended()
	})
}

// gather is every series as name{labels} and its value; of a histogram the number of observations.
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
