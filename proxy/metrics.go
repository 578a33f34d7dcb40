package proxy

import (
	"cmp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Metrics count requests, bytes and failures. Their labels are bounded: configured upstreams,
// detect's actions, status classes, kinds of failure.
type Metrics struct {
	requests, requestBytes, responseBytes, failures *prometheus.CounterVec
	inFlight                                        *prometheus.GaugeVec
	duration, firstByte                             *prometheus.HistogramVec
	panics, spoofed                                 prometheus.Counter
	unrouted                                        *meters

	mu sync.Mutex
	by map[string]*meters // by upstream; they survive reloads
}

// NewMetrics makes the metrics and registers them. With a nil Registerer nobody can read them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	by := []string{"upstream", "operation"}
	class := append(by[:2:2], "class")
	seconds := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	counter := func(name, help string, labels []string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}, class)
	}
	m := &Metrics{
		requests:      counter("bellbuoy_requests_total", "Requests that have ended, answered or not.", class),
		requestBytes:  counter("bellbuoy_request_bytes_total", "Bytes received in bodies of requests.", by),
		responseBytes: counter("bellbuoy_response_bytes_total", "Bytes sent in bodies of answers.", by),
		failures:      counter("bellbuoy_upstream_errors_total", "Requests that ended without a usable answer of the upstream, by reason.", []string{"upstream", "kind"}),
		inFlight:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "bellbuoy_requests_in_flight", Help: "Requests in progress."}, []string{"upstream"}),
		duration:      histogram("bellbuoy_request_duration_seconds", "Time from a request's header to the end of its answer."),
		firstByte:     histogram("bellbuoy_time_to_first_byte_seconds", "Time from a request's header to the beginning of its answer."),
		panics:        prometheus.NewCounter(prometheus.CounterOpts{Name: "bellbuoy_panics_total", Help: "Panics while a request was observed, each a fault of bellbuoy; the requests went on."}),
		spoofed:       prometheus.NewCounter(prometheus.CounterOpts{Name: "bellbuoy_untrusted_forwarded_headers_total", Help: "Requests with X-Forwarded or Forwarded headers from peers that are not in trusted_proxies; the headers were ignored."}),
		by:            map[string]*meters{},
	}
	m.unrouted = m.of("")
	if r != nil {
		r.MustRegister(m.requests, m.requestBytes, m.responseBytes, m.failures, m.inFlight, m.duration, m.firstByte, m.panics, m.spoofed)
	}
	return m
}

const classes = 6 // of status: 1xx to 5xx; 0 stands for no answer

// meters are the metrics of one upstream, found without hashing labels.
type meters struct {
	m        *Metrics
	upstream string
	inFlight prometheus.Gauge
	at       [detect.Actions][classes]atomic.Pointer[meter]
}

// meter has the metrics of one operation and status class.
type meter struct {
	requests, requestBytes, responseBytes prometheus.Counter
	duration, firstByte                   prometheus.Observer
}

func (m *Metrics) of(upstream string) *meters {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.by[upstream]
	if !ok {
		found = &meters{m: m, upstream: upstream, inFlight: m.inFlight.WithLabelValues(upstream)}
		m.by[upstream] = found
	}
	return found
}

func (s *meters) of(action detect.Action, status int) *meter {
	class := status / 100
	if class < 0 || class >= classes {
		class = 0
	}
	at := &s.at[action][class]
	if found := at.Load(); found != nil {
		return found
	}
	operation, label := action.String(), strconv.Itoa(class)+"xx"
	made := &meter{
		requests:      s.m.requests.WithLabelValues(s.upstream, operation, label),
		requestBytes:  s.m.requestBytes.WithLabelValues(s.upstream, operation),
		responseBytes: s.m.responseBytes.WithLabelValues(s.upstream, operation),
		duration:      s.m.duration.WithLabelValues(s.upstream, operation, label),
		firstByte:     s.m.firstByte.WithLabelValues(s.upstream, operation, label),
	}
	at.Store(made)
	return made
}

// Traffic is what an upstream has done since the start.
type Traffic struct {
	Requests, In, Out int64 // bytes of requests' bodies, and of answers'
	Errors            int64 // answers with a status of 500 and above
}

// Traffic yields the traffic of each upstream, and under "" that of requests for which there is no
// upstream. It reads the counters of the metrics: requests are not counted twice.
func (m *Metrics) Traffic(yield func(upstream string, t Traffic)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for upstream, of := range m.by {
		yield(upstream, of.traffic())
	}
}

func (s *meters) traffic() (t Traffic) {
	for action := range s.at {
		bytesKnown := false // classes share the counters of bytes
		for class := range s.at[action] {
			m := s.at[action][class].Load()
			if m == nil {
				continue
			}
			requests := valueOf(m.requests)
			t.Requests += requests
			if class == 5 {
				t.Errors += requests
			}
			if !bytesKnown {
				t.In, t.Out, bytesKnown = t.In+valueOf(m.requestBytes), t.Out+valueOf(m.responseBytes), true
			}
		}
	}
	return t
}

func valueOf(c prometheus.Counter) int64 {
	var m dto.Metric
	_ = c.Write(&m) // a counter's own value: never fails
	return int64(m.GetCounter().GetValue())
}

// count counts a finished exchange.
func (x *exchange) count() {
	s := x.g.Metrics.unrouted
	if x.route != nil {
		s = x.route.meters
	}
	m := s.of(x.op.Action, x.status())
	m.requests.Inc()
	m.requestBytes.Add(float64(x.wire.Received()))
	m.responseBytes.Add(float64(x.wire.Answer.Sent()))
	m.duration.Observe(time.Since(x.start).Seconds())
	if began := x.wire.Answer.Began(); !began.IsZero() {
		m.firstByte.Observe(began.Sub(x.start).Seconds())
	}
	if x.failure != "" {
		s.m.failures.WithLabelValues(s.upstream, x.failure).Inc()
	}
}

// status returns the status that the client got, or 499 if it was gone.
func (x *exchange) status() int {
	return cmp.Or(x.wire.Answer.Status(), statusClientGone)
}
