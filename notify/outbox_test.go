package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

var ids atomic.Int64

func nextID() string { return fmt.Sprintf("event-%04d", ids.Add(1)) }

// receiver is a Poster that returns answer's result, or success if answer is nil.
type receiver struct {
	answer func(context.Context, webhook.Message) webhook.Result
}

func (r *receiver) Post(ctx context.Context, m webhook.Message) webhook.Result {
	if r.answer == nil {
		return webhook.Result{Status: 200, Outcome: webhook.Delivered, Latency: time.Millisecond}
	}
	return r.answer(ctx, m)
}

func commits(events ...detect.Event) func(detect.View) (detect.Changes, error) {
	return func(detect.View) (detect.Changes, error) { return detect.Changes{Events: events}, nil }
}

// running starts an outbox and returns it with the function that stops it.
func running(t *testing.T, s Rows, o OutboxOptions) (*Outbox, func()) {
	t.Helper()
	out := NewOutbox(s, o)
	out.Configure(compiled(t, hookNamed("w")))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- out.Run(ctx) }()
	return out, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCommit(t *testing.T) {
	s := newStore(t)
	out := NewOutbox(s, OutboxOptions{})
	out.Configure(compiled(t, hookNamed("w")))
	e := push("team/app", "v1", "v2")
	row := detect.Row{Key: detect.Key{Kind: "tag", ID: "a"}, Value: []byte("1"), Due: time.Unix(9, 0)}
	err := out.Commit(t.Context(), "registry team/app", func(v detect.View) (detect.Changes, error) {
		if _, ok, err := v.Get(row.Key); ok || err != nil {
			t.Errorf("the row exists already: %v %v", ok, err)
		}
		return detect.Changes{Events: []detect.Event{e}, Put: []detect.Row{row}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.deliveries) != 2 || s.deliveries[1].Number != 2 || s.deliveries[1].EventID != e.ID {
		t.Errorf("deliveries %+v", s.deliveries)
	}
	back, err := fromEvent(s.events[0])
	if err != nil || back.Seq != 1 || back.Digest != e.Digest || !slices.Equal(back.Tags, e.Tags) {
		t.Errorf("got back %+v, %v", back, err)
	}
	due, err := out.Due(t.Context(), "tag", time.Unix(10, 0), 10)
	if err != nil || len(due) != 1 || string(due[0].Value) != "1" {
		t.Errorf("due rows %v, %v", due, err)
	}
	var n int
	if err := out.View(t.Context(), func(v detect.View) error {
		rows, err := v.Scan("tag", "", 0)
		n = len(rows)
		return err
	}); err != nil || n != 1 {
		t.Errorf("scanned %d rows, %v", n, err)
	}
	if got := counted(out.metrics.events.WithLabelValues("PUSH_ARTIFACT")); got != 1 {
		t.Errorf("counted %v events", got)
	}
}

// TestCachedEventRendersAsStored: an event from the cache and the decoded stored event render the
// same body, so that a crash between two attempts does not change it.
func TestCachedEventRendersAsStored(t *testing.T) {
	full := detect.Event{
		ID: nextID(), Type: detect.PushArtifact, At: time.Now(), Upstream: "registry", External: detect.External{Scheme: "https", Host: "r.example:5000"},
		Repository: "team/app", FirstSeen: time.Now().Add(-time.Hour), Tags: []string{"v1", "<b>&"}, Digest: "sha256:1", Previous: "sha256:0",
		Artifact: &detect.Artifact{Kind: detect.Index, Size: 7, Platforms: []string{"linux/amd64"}, Children: []detect.Child{}, Annotations: map[string]string{"a": "ü\n\u2028"}},
		Client:   detect.Client{Operator: "joe", Address: "10.0.0.1", UserAgent: "crane"}, RequestID: "r",
	}
	foreign := full
	foreign.Repository, foreign.Client.UserAgent = "team/a\xff", "no \xc3 UTF-8"
	for _, e := range []detect.Event{full, {ID: nextID(), Type: detect.PushArtifact}, foreign} {
		stored, err := toEvent(&e)
		if err != nil {
			t.Fatal(err)
		}
		stored.Seq = 9
		known := newEventCache()
		known.add(&e, stored.Data)
		for _, name := range format.Names() {
			for _, mode := range []string{"structured", "binary"} {
				f, err := format.New(name, "w", format.Options{Mode: mode})
				if err != nil {
					t.Fatal(err)
				}
				if made, decoded := rendered(t, f, known, stored), rendered(t, f, newEventCache(), stored); made != decoded {
					t.Errorf("%s: the cached event renders\n%s\nthe stored one\n%s", name, made, decoded)
				}
			}
		}
	}
}

func rendered(t *testing.T, f format.Format, d eventCache, stored store.Event) string {
	t.Helper()
	e, err := d.event(stored)
	if err != nil || e.Seq != 9 {
		t.Fatal(e.Seq, err)
	}
	kind, header, body, err := f.Render(e, 0)
	return fmt.Sprint(kind, header, string(body), err)
}

func TestCommitErrors(t *testing.T) {
	refused := errors.New("no such thing")
	tests := []struct {
		name     string
		prepare  func(*replica)
		decide   func(detect.View) (detect.Changes, error)
		storeErr bool
		healthy  bool
	}{
		{name: "decide refuses", decide: func(detect.View) (detect.Changes, error) { return detect.Changes{}, refused }, healthy: true},
		{name: "data cannot be stored", prepare: func(s *replica) { s.setRefuse(fmt.Errorf("%w: %w", store.ErrInvalid, refused)) }, decide: commits(push("a/b", "c")), healthy: true},
		{name: "store fails", prepare: func(s *replica) { s.setRefuse(errors.New("disk full")) }, decide: commits(push("a/b", "c")), storeErr: true},
		{name: "store hangs", prepare: func(s *replica) { s.setSlow(time.Hour) }, decide: commits(push("a/b", "c")), storeErr: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t)
				if test.prepare != nil {
					test.prepare(s)
				}
				out := NewOutbox(s, OutboxOptions{})
				begun := time.Now()
				err := out.Commit(t.Context(), "x", test.decide)
				if err == nil || errors.Is(err, detect.ErrStore) != test.storeErr || !test.storeErr && !errors.Is(err, refused) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
				if (out.Healthy() == nil) != test.healthy {
					t.Errorf("healthy: %v", out.Healthy())
				}
			})
		})
	}
}

func TestPanicIsRefused(t *testing.T) {
	s := newStore(t)
	out := NewOutbox(s, OutboxOptions{})
	err := out.CommitLater(t.Context(), "x", false, func(detect.View) (detect.Changes, error) { panic("nil map") })
	if err == nil || errors.Is(err, detect.ErrStore) || out.Deferred() != 0 || out.Healthy() != nil {
		t.Errorf("%v, %d deferred, healthy: %v", err, out.Deferred(), out.Healthy())
	}
}

// TestHealthRecovers: the outbox notices that the store works again, even without a commit.
func TestHealthRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		out, stop := running(t, s, OutboxOptions{})
		defer stop()
		s.setRefuse(errors.New("disk full"))
		_ = out.Commit(t.Context(), "x", commits(push("a/b", "c")))
		time.Sleep(10 * time.Second)
		if out.Healthy() == nil {
			t.Fatal("healthy while the store fails")
		}
		s.setRefuse(nil)
		time.Sleep(2 * time.Second)
		if err := out.Healthy(); err != nil {
			t.Errorf("still %v", err)
		}
	})
}

func TestCommitLaterDefers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		out, stop := running(t, s, OutboxOptions{})
		defer stop()
		s.setRefuse(errors.New("disk full"))
		var mu sync.Mutex
		var order []string
		for i, scope := range []string{"a", "b", "a", "c", "a"} {
			err := out.CommitLater(t.Context(), scope, false, func(detect.View) (detect.Changes, error) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(scope, i))
				return detect.Changes{Events: []detect.Event{with(push("x/"+scope, "t"), func(e *detect.Event) { e.ID = fmt.Sprint("kept-", i) })}}, nil
			})
			if !errors.Is(err, detect.ErrStore) {
				t.Fatalf("got %v", err)
			}
		}
		if out.Deferred() != 5 {
			t.Fatalf("%d deferred", out.Deferred())
		}
		time.Sleep(time.Minute)
		s.setRefuse(nil)
		mu.Lock()
		order = nil
		mu.Unlock()
		time.Sleep(retryMost + time.Second)
		if out.Deferred() != 0 || s.count() != 5 {
			t.Errorf("%d still deferred, %d events stored", out.Deferred(), s.count())
		}
		mu.Lock()
		defer mu.Unlock()
		got := strings.Join(slices.DeleteFunc(order, func(s string) bool { return s[0] != 'a' }), " ")
		if got != "a0 a2 a4" {
			t.Errorf("order within the scope: %s", got)
		}
		if lost := counted(out.metrics.eventsLost); lost != 0 {
			t.Errorf("%v lost", lost)
		}
	})
}

// TestCommitLaterOutlivesCaller: an event is committed even if its client has hung up.
func TestCommitLaterOutlivesCaller(t *testing.T) {
	s := newStore(t)
	out := NewOutbox(s, OutboxOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := out.CommitLater(ctx, "x", false, commits(push("a/b", "c"))); err != nil || s.count() != 1 {
		t.Errorf("%v, %d events", err, s.count())
	}
}

func TestCommitLaterBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.setRefuse(errors.New("disk full"))
		out := NewOutbox(s, OutboxOptions{DeferredEntries: 3})
		later := func(scope string, fallback bool) error {
			return out.CommitLater(t.Context(), scope, fallback, commits(push("a/b", "c")))
		}
		lost := func() float64 { return counted(out.metrics.eventsLost) }
		for i, fallback := range []bool{true, false, true} {
			_ = later(fmt.Sprint(i), fallback)
		}
		_ = later("covered", true) // no room, but its intent will be settled later
		if out.Deferred() != 3 || lost() != 0 {
			t.Fatalf("%d deferred, %v lost", out.Deferred(), lost())
		}
		_ = later("x", false) // replaces a commit that has an intent
		_ = later("y", false)
		if out.Deferred() != 3 || lost() != 0 {
			t.Fatalf("%d deferred, %v lost", out.Deferred(), lost())
		}
		if err := later("z", false); err == nil || !strings.Contains(err.Error(), "no room") || lost() != 1 {
			t.Errorf("%v, %v lost", err, lost())
		}
		small := NewOutbox(s, OutboxOptions{DeferredBytes: 2 * deferredOverhead})
		for i := range 5 {
			_ = small.CommitLater(t.Context(), fmt.Sprint(i), false, commits(push("a/b", "c")))
		}
		if small.Deferred() != 1 {
			t.Errorf("%d deferred, although one fits into memory", small.Deferred())
		}
	})
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		out, stop := running(t, s, OutboxOptions{})
		for range 1200 {
			out.Record(with(push("a/b", "c"), func(e *detect.Event) { e.Type = detect.PullArtifact }))
		}
		time.Sleep(time.Second)
		if s.count() != 1200 || !s.event(0).Transient {
			t.Errorf("%d events stored", s.count())
		}
		out.Record(push("a/b", "last"))
		stop()
		if s.count() != 1201 {
			t.Errorf("%d events after the end", s.count())
		}
	})
}

// TestRecordLosesOnlyInvalidEvents: an event that cannot be stored does not prevent others from
// being stored.
func TestRecordLosesOnlyInvalidEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.invalid = func(e store.Event) bool { return e.Repository == "a/bad" }
		out, stop := running(t, s, OutboxOptions{})
		for i := range 300 {
			name := "a/good"
			if i == 123 {
				name = "a/bad"
			}
			out.Record(push(name, "c"))
		}
		time.Sleep(time.Second)
		if lost := counted(out.metrics.eventsLost); s.count() != 299 || lost != 1 || out.Healthy() != nil {
			t.Errorf("%d stored, %v lost, %v", s.count(), lost, out.Healthy())
		}
		stop()
	})
}

func TestRecordOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		out, stop := running(t, s, OutboxOptions{QueuedPulls: 100})
		s.setRefuse(errors.New("disk full"))
		for range 150 {
			out.Record(push("a/b", "c"))
		}
		time.Sleep(time.Minute)
		out.Record(push("a/b", "c")) // the events that are being stored count too
		if lost := counted(out.metrics.eventsLost); lost != 51 {
			t.Errorf("%v lost, want 51", lost)
		}
		s.setRefuse(nil)
		time.Sleep(retryMost + time.Second)
		out.Record(push("a/b", "c"))
		stop()
		if s.count() != 101 {
			t.Errorf("%d stored", s.count())
		}
	})
}

func TestShutdownCountsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		out, stop := running(t, s, OutboxOptions{})
		s.setRefuse(errors.New("disk full"))
		_ = out.CommitLater(t.Context(), "a", false, commits(push("a/b", "c")))
		_ = out.CommitLater(t.Context(), "b", true, commits(push("a/b", "c")))
		out.Record(push("a/b", "c"))
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("shutdown took %v", took)
		}
		if lost := counted(out.metrics.eventsLost); lost != 2 {
			t.Errorf("%v lost, want 2", lost)
		}
	})
}

func TestLastFiredSurvives(t *testing.T) {
	s := newStore(t)
	out, stop := running(t, s, OutboxOptions{})
	e := push("a/b", "c")
	if err := out.Commit(t.Context(), "x", commits(e)); err != nil {
		t.Fatal(err)
	}
	stop()
	again, stop := running(t, s, OutboxOptions{})
	stop()
	if got := again.lastFired.of("w")[detect.PushArtifact]; !got.Equal(e.At) {
		t.Errorf("last fired %v, want %v", got, e.At)
	}
}

func BenchmarkRecord(b *testing.B) {
	out := NewOutbox(newStore(b), OutboxOptions{QueuedPulls: 1 << 30})
	e := push("a/b", "c")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		out.Record(e)
		if i%pullBatch == 0 {
			events, _ := out.pulls.take()
			out.pulls.done(events)
		}
	}
}

// counted returns a counter's value.
func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}
