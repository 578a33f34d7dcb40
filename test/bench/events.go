package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// latency measures the time from the answer of a push to its webhook, without other load.
func latency(s *stage, opts options) []row {
	hooks, upstream := newSink(s), newMemory(s)
	b := startBuoy(s, fmt.Sprintf(bellbuoyConfig, upstream.entry(), hooks.url("/all")))
	pushes := int64(opts.scaled(500))
	t := newTiming(pushes, 1, nil)
	hooks.tell(t.received)
	l := pushing(b.Host, pushes, func(int64) string { return "team/app" })
	l.workers, l.rate, l.answered = 1, 50, t.acknowledged
	_, err := l.run(s.Context())
	s.must(err)
	s.until(10*time.Second, "webhooks", t.complete)
	took := t.latencies()
	p50, p99 := percentile(took, 0.5), percentile(took, 0.99)
	return []row{
		atMost("push acknowledged → webhook received, idle: p50", brief(p50), float64(p50), float64(10*time.Millisecond), "10 ms"),
		atMost("push acknowledged → webhook received, idle: p99", brief(p99), float64(p99), float64(50*time.Millisecond), "50 ms"),
	}
}

// pushing returns a load of pushes, each of another tag: t0, t1, ….
func pushing(address string, total int64, repository func(n int64) string) load {
	return load{address: address, workers: requestWorkers, total: total, want: http.StatusCreated, request: func(buf []byte, n int64) []byte {
		return putManifest(buf, address, fmt.Sprintf("/v2/%s/manifests/t%d", repository(n), n), newManifest(n))
	}}
}

// timing records when each push was acknowledged and when each of its webhooks arrived.
type timing struct {
	owed func(n int64) int // the number of webhooks that push n must cause; nil: the same for each

	mu       sync.Mutex
	acked    map[int64]time.Time
	arrived  map[arrival]time.Time
	expected int64
}

// arrival is a webhook of push n at a path of the receiver.
type arrival struct {
	n    int64
	path string
}

func newTiming(pushes, each int64, owed func(n int64) int) *timing {
	return &timing{acked: map[int64]time.Time{}, arrived: map[arrival]time.Time{}, expected: pushes * each, owed: owed}
}

func (t *timing) acknowledged(n int64, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acked[n] = at
}

func (t *timing) received(path string, body []byte, at time.Time) {
	_, tag, _ := bytes.Cut(body, []byte(`"tag":"t`))
	tag, _, _ = bytes.Cut(tag, []byte(`"`))
	n, err := strconv.ParseInt(string(tag), 10, 64)
	if err != nil {
		return // it is reported as missing at the end
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, again := t.arrived[arrival{n, path}]; !again {
		t.arrived[arrival{n, path}] = at
	}
}

func (t *timing) complete() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.owed == nil {
		return int64(len(t.arrived)) >= t.expected
	}
	owed := 0
	for n := range t.acked {
		owed += t.owed(n)
	}
	return len(t.arrived) >= owed
}

func (t *timing) latencies() []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []time.Duration
	for a, at := range t.arrived {
		all = append(all, max(0, at.Sub(t.acked[a.n])))
	}
	slices.Sort(all)
	return all
}

func (t *timing) last() (last time.Time, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range t.arrived {
		if at.After(last) {
			last = at
		}
	}
	return last, len(t.arrived)
}

// fans is the number of webhooks. Push n belongs to project n mod fans and matches two of them:
// that of its project and the one before.
const fans = 50

// owedBy returns how many webhooks of push n arrive while the receiver of the first one hangs.
func owedBy(n int64) int {
	if project := n % fans; project == 0 || project == 1 {
		return 1
	}
	return 2
}

func fanRepository(n int64) string { return fmt.Sprintf("p%d/app", n%fans) }

func fanConfig(upstream string, hooks *sink, hanging bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: error}\nupstreams: [{type: registry, url: \"http://%s\"}]\nwebhooks:\n", upstream)
	for i := range fans {
		path := fmt.Sprintf("/h%d", i)
		if i == 0 && hanging {
			path = "/hang"
		}
		fmt.Fprintf(&b, "  - {name: h%d, url: %q, match: {repositories: [\"p%d/**\", \"p%d/**\"]}}\n", i, hooks.url(path), i, (i+1)%fans)
	}
	return b.String()
}

// fanout measures many webhooks, one of whose receivers accepts connections and never answers.
func fanout(s *stage, opts options) []row {
	hooks, upstream := newSink(s), newMemory(s)
	calm := startBuoy(s, fanConfig(upstream.address, hooks, false))
	hung := startBuoy(s, fanConfig(upstream.address, hooks, true))
	var with, without []time.Duration
	for range opts.rounds {
		without = append(without, fanLatency(s, opts, calm, hooks))
		with = append(with, fanLatency(s, opts, hung, hooks))
	}
	same := func(d time.Duration) time.Duration { return d }
	a, b := median(without, same), median(with, same)
	limit := max(a*5/4, a+2*time.Millisecond) // on a machine with other load, two equal runs differ by so much
	var rates []fanRate
	for i := range opts.rounds {
		rates = append(rates, fanRateOf(s, opts, i, upstream, hung, hooks))
	}
	slices.SortFunc(rates, func(a, b fanRate) int { return cmp.Compare(a.ratio(), b.ratio()) })
	rate := rates[len(rates)/2]
	return []row{
		atLeast(fmt.Sprintf("events to 2 of %d webhooks, one hangs: deliveries/s to PUTs/s of the load alone", fans),
			fmt.Sprintf("%.0f / %.0f = %.3f ×", rate.deliveries, rate.alone, rate.ratio()), rate.ratio(), 0.08, "0.08 ×"),
		{work: "the same: CPU of bellbuoy by push and its deliveries", measured: fmt.Sprintf("%d µs", rate.cpu.Microseconds())},
		atMost(fmt.Sprintf("one of %d webhooks hangs: p99 of the others, to p99 where none hangs", fans),
			brief(b)+" / "+brief(a), float64(b), float64(limit), brief(limit)),
	}
}

// fanLatency is the p99 of webhooks 1 to fans-1 at a pace that does not saturate the machine.
func fanLatency(s *stage, opts options, b buoy, hooks *sink) time.Duration {
	pushes := int64(opts.scaled(1000))
	t := newTiming(pushes, 0, owedBy)
	hooks.tell(func(path string, body []byte, at time.Time) {
		if path != "/h0" {
			t.received(path, body, at)
		}
	})
	l := pushing(b.Host, pushes, fanRepository)
	l.rate, l.answered = 200, t.acknowledged
	_, err := l.run(s.Context())
	s.must(err)
	s.until(20*time.Second, "webhooks", t.complete)
	return percentile(t.latencies(), 0.99)
}

// fanRate is the result of a load at full speed.
type fanRate struct {
	alone      float64       // pushes per second without bellbuoy
	deliveries float64       // per second through it, from the first push to the last delivery
	cpu        time.Duration // of bellbuoy, by push
}

func (r fanRate) ratio() float64 { return r.deliveries / r.alone }

// fanRateOf measures one round, without bellbuoy and through it. Each round has tags of its own.
func fanRateOf(s *stage, opts options, round int, upstream *memory, b buoy, hooks *sink) fanRate {
	l := pushing(upstream.address, 0, fanRepository)
	l.first, l.time = int64(round)*1_000_000, opts.time
	alone, err := l.run(s.Context())
	s.must(err)
	t := newTiming(0, 0, owedBy)
	hooks.tell(t.received)
	through := pushing(b.Host, 0, fanRepository)
	through.first, through.time, through.workers, through.answered = l.first, opts.time, 4*requestWorkers, t.acknowledged
	began, before := time.Now(), measure(b.Pid()).cpu
	wait := b.profile(s, "fanout", seconds(opts.time))
	r, err := through.run(s.Context())
	s.must(err)
	wait()
	s.until(60*time.Second, "webhooks", t.complete)
	last, n := t.last()
	used := measure(b.Pid()).cpu - before
	return fanRate{alone: alone.rate(), deliveries: float64(n) / last.Sub(began).Seconds(), cpu: used / time.Duration(max(r.requests, 1))}
}

// growth measures the cost of a push that matches one of ten webhooks, and one of a thousand.
func growth(s *stage, opts options) []row {
	few, many := growing(s, opts, 10), growing(s, opts, 1000)
	ratio := float64(many) / float64(max(few, 1))
	return []row{atMost("one event against 1,000 webhooks with filters: CPU, to 10",
		fmt.Sprintf("%.0f µs / %.0f µs = %.2f ×", float64(many)/1e3, float64(few)/1e3, ratio), ratio, 3, "3 ×")}
}

func growing(s *stage, opts options, webhooks int) (cpu time.Duration) {
	hooks, upstream := newSink(s), newMemory(s)
	var arrived atomic.Int64
	hooks.tell(func(string, []byte, time.Time) { arrived.Add(1) })
	var c strings.Builder
	fmt.Fprintf(&c, "log: {level: error}\nupstreams: [{type: registry, url: \"http://%s\"}]\nwebhooks:\n", upstream.address)
	for i := range webhooks {
		fmt.Fprintf(&c, "  - {name: h%d, url: %q, match: {repositories: [\"team%d/**\"], tags: [\"t*\", \"v*\"]}, exclude: {tags: [\"*-dev\"]}}\n", i, hooks.url("/"), i)
	}
	b := startBuoy(s, c.String())
	pushes := int64(opts.scaled(10_000))
	before := measure(b.Pid()).cpu
	wait := b.profile(s, fmt.Sprintf("growth-%d", webhooks), seconds(opts.time))
	_, err := pushing(b.Host, pushes, func(n int64) string { return fmt.Sprintf("team%d/app", n%10) }).run(s.Context())
	s.must(err)
	s.until(60*time.Second, "webhooks", func() bool { return arrived.Load() >= pushes })
	wait()
	return (measure(b.Pid()).cpu - before) / time.Duration(pushes)
}
