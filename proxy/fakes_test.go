package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// patience is much longer than anything takes, also on a busy machine.
const patience = time.Minute

// tracker is a fake that records its calls and checks their order: Start before End, Intend before
// Settle, each once.
type tracker struct {
	t *testing.T

	mu           sync.Mutex
	inFlight     map[string]bool // by request ID
	open         map[*track.Intent]bool
	ended        []detect.Operation
	intended     []detect.Operation
	settled      []detect.Operation
	leftOpen     int
	dropped      int
	acknowledged int
	standing     map[string]string
	tags         []string
	sized        bool
	indexed      bool
	intendErr    error
	noIntent     bool
	panics       bool
	onIntend     func()
	onSettle     func()
	changed      chan struct{} // closed and replaced at every change
}

func newTracker(t *testing.T) *tracker {
	return &tracker{t: t, inFlight: map[string]bool{}, open: map[*track.Intent]bool{}, changed: make(chan struct{})}
}

func (f *tracker) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("the tracker is broken")
	}
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *tracker) Start(op *detect.Operation) (_ track.Transfer) {
	f.change(func() {
		if f.inFlight[op.ID] {
			f.t.Errorf("%s started twice", op.ID)
		}
		f.inFlight[op.ID] = true
	})
	return
}

func (f *tracker) Answered(_ *track.Transfer, op *detect.Operation) {
	f.change(func() {
		if !f.inFlight[op.ID] {
			f.t.Errorf("%s answered without start", op.ID)
		}
	})
}

func (f *tracker) End(_ *track.Transfer, op *detect.Operation) {
	f.change(func() {
		if !f.inFlight[op.ID] {
			f.t.Errorf("%s ended without start", op.ID)
		}
		delete(f.inFlight, op.ID)
		f.ended = append(f.ended, *op)
	})
}

func (f *tracker) Intend(_ context.Context, op *detect.Operation) (*track.Intent, error) {
	var in *track.Intent
	f.change(func() {
		if f.onIntend != nil {
			f.onIntend()
		}
		f.intended = append(f.intended, *op)
		if !f.noIntent {
			in = &track.Intent{ID: op.ID}
			f.open[in] = true
		}
	})
	return in, f.intendErr
}

// end removes an intent, which must be open.
func (f *tracker) end(in *track.Intent, what string, do func()) {
	f.change(func() {
		if !f.open[in] {
			f.t.Errorf("%s of an intent that is not open", what)
		}
		delete(f.open, in)
		do()
	})
}

func (f *tracker) Settle(_ context.Context, in *track.Intent, op *detect.Operation) error {
	f.end(in, "Settle", func() {
		if f.onSettle != nil {
			f.onSettle()
		}
		f.settled = append(f.settled, *op)
	})
	return nil
}

func (f *tracker) LeaveOpen(in *track.Intent) { f.end(in, "LeaveOpen", func() { f.leftOpen++ }) }

func (f *tracker) Acknowledged(*track.Intent) { f.change(func() { f.acknowledged++ }) }

func (f *tracker) Drop(_ context.Context, in *track.Intent) error {
	f.end(in, "Drop", func() { f.dropped++ })
	return nil
}

func (f *tracker) Standing(_, _, repository, tag string) (string, bool, bool) {
	d, ok := f.standing[repository+":"+tag]
	return d, false, ok
}

func (f *tracker) TagsOf(context.Context, string, string, string, string) []string { return f.tags }

func (f *tracker) Indexed(context.Context, string, string, string) bool { return f.indexed }

func (f *tracker) SizeOf(context.Context, string, string, string, string) (int64, bool) {
	return 0, f.sized
}

// wait waits until is returns true. is runs under the fake's lock.
func (f *tracker) wait(what string, is func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		ok, changed := is(), f.changed
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			f.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// lastEnded returns the operation that ended last, once n have ended.
func (f *tracker) lastEnded(n int) detect.Operation {
	f.t.Helper()
	f.wait("ended operations", func() bool { return len(f.ended) >= n })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended[len(f.ended)-1]
}

// asker is a fake of the upstream's client.
type asker struct {
	mu      sync.Mutex
	head    func(repository, reference string) (upstream.Manifest, error)
	before  func(repository, reference string, known []string) (upstream.Deleted, error)
	chart   func(tenant, name, version string) (upstream.Chart, error)
	probe   func(method, uri string) (int, error)
	probes  []string
	refuses bool     // token servers refuse made-up logins
	madeUp  []string // the URIs at which they were tried
	askedAs []upstream.As
	bodies  int // deletes for which the manifest's bytes were wanted
}

func (a *asker) Head(_ context.Context, repository, reference string, as upstream.As) (upstream.Manifest, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.askedAs = append(a.askedAs, as)
	if a.head == nil {
		return upstream.Manifest{}, upstream.ErrNotFound
	}
	return a.head(repository, reference)
}

func (a *asker) BeforeDelete(_ context.Context, repository, reference string, known []string, needBody bool, as upstream.As) (upstream.Deleted, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if needBody {
		a.bodies++
	}
	a.askedAs = append(a.askedAs, as)
	return a.before(repository, reference, known)
}

func (a *asker) BeforeChartDelete(_ context.Context, tenant, name, version string, as upstream.As) (upstream.Chart, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.askedAs = append(a.askedAs, as)
	return a.chart(tenant, name, version)
}

func (a *asker) Probe(_ context.Context, method, uri string) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.probes = append(a.probes, method+" "+uri)
	if a.probe == nil {
		return 401, nil
	}
	return a.probe(method, uri)
}

func (a *asker) Refuses(_ context.Context, uri string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.madeUp = append(a.madeUp, uri)
	return a.refuses, nil
}

// stand is a proxy in front of an upstream, both on loopback sockets.
type stand struct {
	*testing.T
	tracker *tracker
	handler *Handler
	front   *httptest.Server
	back    *httptest.Server
	metrics *prometheus.Registry
}

// newStand starts a proxy in front of back. edit, if not nil, changes the options first.
func newStand(t *testing.T, back http.Handler, edit func(*Options)) *stand {
	t.Helper()
	s := &stand{T: t, tracker: newTracker(t), metrics: prometheus.NewRegistry()}
	s.back = httptest.NewServer(back)
	t.Cleanup(s.back.Close)
	s.start(s.back.URL, edit)
	return s
}

// newRawStand starts a proxy in front of whatever listens on address.
func newRawStand(t *testing.T, address string, edit func(*Options)) *stand {
	t.Helper()
	s := &stand{T: t, tracker: newTracker(t), metrics: prometheus.NewRegistry()}
	s.start("http://"+address, edit)
	return s
}

func (s *stand) start(backURL string, edit func(*Options)) {
	s.Helper()
	u, err := url.Parse(backURL)
	if err != nil {
		s.Fatal(err)
	}
	o := Options{
		Upstreams: []Upstream{{Name: "registry", Kind: detect.Registry, URL: u}},
		Limits:    Limits{UpstreamConnect: patience, UpstreamResponseHeader: patience, StalledBody: patience, WriteTimeout: patience},
		Tracker:   s.tracker,
		Metrics:   NewMetrics(s.metrics),
	}
	if edit != nil {
		edit(&o)
	}
	if s.handler, err = New(o); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { // returns when every handler has returned
		s.tracker.mu.Lock()
		defer s.tracker.mu.Unlock()
		if !s.tracker.panics && (len(s.tracker.open) > 0 || len(s.tracker.inFlight) > 0) {
			s.Errorf("left behind: %d intents, %d operations in flight", len(s.tracker.open), len(s.tracker.inFlight))
		}
	})
	s.front = httptest.NewServer(s.handler)
	s.Cleanup(s.front.Close)
	s.Cleanup(s.front.CloseClientConnections)
}

// do sends a request and reads the whole answer.
func (s *stand) do(method, path string, body io.Reader, headers ...string) (*http.Response, string) {
	s.Helper()
	r, err := http.NewRequest(method, s.front.URL+path, body)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	res, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatalf("reading the answer of %s %s: %v", method, path, err)
	}
	return res, string(b)
}

// raw sends bytes unchanged and returns everything that the proxy sends until it closes the
// connection.
func (s *stand) raw(request string) string {
	s.Helper()
	c := s.dial()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		s.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var b strings.Builder
	_, _ = io.Copy(&b, c)
	return b.String()
}

func (s *stand) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", s.front.Listener.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// recorder is an upstream that records the bytes of each request, gives its answer and closes the
// connection.
type recorder struct {
	net.Listener
	mu   sync.Mutex
	seen []string
}

func newRecorder(t *testing.T, answer string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{Listener: l}
	accept(t, l, func(c net.Conn) { rec.serve(c, answer) })
	return rec
}

// serveRaw serves each connection with serve and returns the address.
func serveRaw(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accept(t, l, func(c net.Conn) { defer c.Close(); serve(c) })
	return l.Addr().String()
}

func accept(t testing.TB, l net.Listener, serve func(net.Conn)) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
}

func (rec *recorder) serve(c net.Conn, answer string) {
	defer c.Close()
	var raw strings.Builder
	r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &raw)))
	if err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	rec.mu.Lock()
	if raw.Len() > 0 {
		rec.seen = append(rec.seen, raw.String())
	}
	rec.mu.Unlock()
	_, _ = io.WriteString(c, strings.Replace(answer, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
}

// requests returns the requests so far.
func (rec *recorder) requests() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]string(nil), rec.seen...)
}

// limiterOfNothing returns a limiter that allows no look-up.
func limiterOfNothing() *upstream.Limiter { return upstream.NewLimiter(0, 0, 1) }
