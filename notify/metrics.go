package notify

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/counters"
)

// Metrics counts events and deliveries. Its labels are types of events, outcomes, and the names of
// configured webhooks.
type Metrics struct {
	// Counters get what is counted, for plots; nil: nothing does.
	Counters *counters.Counters

	events     *prometheus.CounterVec
	eventsLost prometheus.Counter
	unnamed    prometheus.Counter
	underived  prometheus.Counter
	lostEvents atomic.Int64 // the value of eventsLost
	deliveries *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	commit     prometheus.Histogram

	mu       sync.Mutex
	deferred func() float64
	lanes    func() []laneGauges // nil: there is no dispatcher
}

// laneGauges are the values of one lane at a scrape.
type laneGauges struct {
	webhook       string
	pending, dead int64
	oldest        time.Time // zero: nothing is pending
	open, off     bool      // off: disabled by a 410 or by an operator
	known         bool      // the store returned the depths
}

var (
	deferredDesc = prometheus.NewDesc("bellbuoy_events_kept", "Events that wait in memory because the store fails.", nil, nil)
	pendingDesc  = prometheus.NewDesc("bellbuoy_pending_deliveries", "Deliveries that are not sent yet.", []string{"webhook"}, nil)
	oldestDesc   = prometheus.NewDesc("bellbuoy_oldest_pending_seconds", "Age of the oldest delivery that is not sent yet; 0 if there is none.", []string{"webhook"}, nil)
	deadDesc     = prometheus.NewDesc("bellbuoy_dead_deliveries", "Dead letters: deliveries that were given up.", []string{"webhook"}, nil)
	offDesc      = prometheus.NewDesc("bellbuoy_webhook_disabled", "1 while the webhook is disabled, by a 410 of its receiver or by an operator.", []string{"webhook"}, nil)
	openDesc     = prometheus.NewDesc("bellbuoy_circuit_open", "1 while the circuit is open: the receiver failed several times in a row, and is only probed.", []string{"webhook"}, nil)
)

// NewMetrics returns metrics that are registered with r, unless r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellbuoy_events_total", Help: "Events stored, by type."}, []string{"type"}),
		eventsLost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bellbuoy_events_lost_total", Help: "Events that were lost because they could not be stored."}),
		unnamed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bellbuoy_events_unnamed_total", Help: "Events of charts whose name is unknown. No webhook gets them."}),
		underived: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bellbuoy_derivations_failed_total", Help: "Events from which quotas and replications could not be derived. The events themselves are stored."}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bellbuoy_deliveries_total", Help: "Attempts to deliver, by outcome."}, []string{"webhook", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bellbuoy_delivery_duration_seconds", Help: "Time that receivers took to answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"webhook"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bellbuoy_store_commit_seconds", Help: "Time that commits to the store took.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}),
	}
	for _, t := range Types() {
		m.events.WithLabelValues(string(t))
	}
	if r != nil {
		r.MustRegister(m)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{deferredDesc, pendingDesc, oldestDesc, deadDesc, openDesc, offDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	m.mu.Lock()
	kept, lanes := m.deferred, m.lanes
	m.mu.Unlock()
	if kept != nil {
		ch <- prometheus.MustNewConstMetric(deferredDesc, prometheus.GaugeValue, kept())
	}
	if lanes == nil {
		return
	}
	for _, l := range lanes() {
		l.collect(ch)
	}
}

func (l laneGauges) collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l.webhook)
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge(openDesc, truth(l.open))
	gauge(offDesc, truth(l.off))
	if !l.known {
		return
	}
	age := 0.0
	if !l.oldest.IsZero() {
		age = max(0, time.Since(l.oldest).Seconds())
	}
	gauge(pendingDesc, float64(l.pending))
	gauge(deadDesc, float64(l.dead))
	gauge(oldestDesc, age)
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.events, m.eventsLost, m.unnamed, m.underived, m.deliveries, m.duration, m.commit}
}

func (m *Metrics) setDeferred(f func() float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deferred = f
}

func (m *Metrics) setLanes(f func() []laneGauges) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lanes = f
}

func (m *Metrics) committed(d time.Duration) { m.commit.Observe(d.Seconds()) }
func (m *Metrics) event(e *detect.Event) {
	m.events.WithLabelValues(string(e.Type)).Inc()
	m.Counters.Event(ProjectOf(e), string(e.Type))
	if e.Unnamed {
		m.unnamed.Inc()
	}
}
func (m *Metrics) lost(n int) {
	m.eventsLost.Add(float64(n))
	m.lostEvents.Add(int64(n))
}

// attempt counts an attempt; took is 0 if no POST was made.
func (m *Metrics) attempt(webhook, outcome string, took time.Duration) {
	m.deliveries.WithLabelValues(webhook, outcome).Inc()
	m.Counters.Attempt(webhook, outcome, took)
	if took > 0 {
		m.duration.WithLabelValues(webhook).Observe(took.Seconds())
	}
}

// forget removes the series of a webhook that no longer exists.
func (m *Metrics) forget(webhook string) {
	labels := prometheus.Labels{"webhook": webhook}
	m.deliveries.DeletePartialMatch(labels)
	m.duration.DeletePartialMatch(labels)
}
