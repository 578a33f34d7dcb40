package track

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

var errRefused = errors.New("answered 403")

// hopeless leaves n pushes open in a repository whose look-ups fail from then on.
func (s *sim) hopeless(n int) {
	s.upstream.mu.Lock()
	s.upstream.fails = func(_ context.Context, key string) error {
		if strings.HasPrefix(key, "hopeless") {
			return errRefused
		}
		return nil
	}
	s.upstream.mu.Unlock()
	s.took = 0
	c, b := s.client("crane"), s.image("nobody's", "l1")
	for i := range n {
		c.putting(fmt.Sprint("hopeless", i%7), fmt.Sprint("v", i), b).lose()
	}
}

// A push that a crash cut has its event within seconds, behind more hopeless intents than a page of
// the ledger has.
func TestHopelessIntentsDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		s.hopeless(adoptPage + 100)
		time.Sleep(10 * time.Second)
		c, b := s.client("docker"), s.image("one", "l1")
		r := c.putting("zoo", "v1", b) // its row is after all others
		c.commit(r.op, b)
		s.crash()
		time.Sleep(5 * time.Second)
		if got := s.lines(s.events()); len(got) != 1 || got[0] != "push zoo:v1 one inferred" {
			t.Errorf("got the events %q", got)
		}
		s.stop()
		s.ledger.close()
	})
}

// If memory is full, the intent with the most look-ups is removed, and never one without a row.
func TestOpenIntentsAreBounded(t *testing.T) {
	var o openIntents
	now := time.Now()
	add := func(name string, durable bool) bool {
		in := &Intent{ID: name, w: write{ID: name, At: now}, durable: durable}
		in.key = in.w.intentKey()
		return o.add(in, now)
	}
	for i := range maxUnstored {
		if !add(fmt.Sprint("unstored", i), false) {
			t.Fatal("no room")
		}
	}
	if add("one unstored too many", false) {
		t.Error("intents without a row have no bound")
	}
	for i := range maxOpen - maxUnstored {
		add(fmt.Sprint("stored", i), true)
	}
	o.byID["stored77"].tries = 9
	if !add("new", true) || o.len() != maxOpen || o.has("stored77") || !o.has("new") {
		t.Errorf("%d intents are open", o.len())
	}
	for id := range o.byID {
		o.byID[id].busy = true
	}
	if add("newer", true) {
		t.Error("an intent was removed during its look-up")
	}
	for id := range o.byID {
		o.remove(id)
	}
	if o.len() != 0 || o.unstored != 0 || len(o.at) != 0 {
		t.Errorf("%d open, %d without a row, %d spots at the end", o.len(), o.unstored, len(o.at))
	}
}

// Hopeless intents cause ten look-ups a second in all, and fewer and fewer for each.
func TestHopelessIntentsAreLookedUpRarely(t *testing.T) {
	for _, p := range []struct {
		tries int
		asked time.Duration
		crowd int
		want  time.Duration
	}{
		{1, 0, 1, time.Second},
		{1, 0, maxOpen, time.Second},
		{4, time.Minute, 1, 8 * time.Second},
		// the intents of an outage are settled within a sixtieth of its duration
		{4, 24 * time.Hour, 1, 24 * time.Minute},
		{10, 5 * time.Minute, 1, time.Minute},
		{10, 5 * time.Minute, 1100, 110 * time.Second},
		{100, 7 * 24 * time.Hour, 1, time.Hour},
		{100, time.Hour, maxOpen, 1638400 * time.Millisecond},
	} {
		if got := pause(p.tries, p.asked, p.crowd); got != p.want {
			t.Errorf("after %d questions in %v, among %d: %v, want %v", p.tries, p.asked, p.crowd, got, p.want)
		}
	}
}

// The intents of other upstreams do not wait for an upstream that hangs, nor do its own new ones.
func TestHangingUpstreamDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		s.hopeless(60)
		s.upstream.mu.Lock()
		s.upstream.fails = func(ctx context.Context, key string) error {
			if strings.HasPrefix(key, "hopeless") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		s.upstream.mu.Unlock()
		time.Sleep(30 * time.Minute) // by now they are looked up rarely
		c := s.client("docker")
		for i := range 20 {
			b := s.image(fmt.Sprint("own", i), "l1")
			r := c.putting("app", fmt.Sprint("v", i), b)
			c.commit(r.op, b)
			r.lose()
		}
		time.Sleep(2 * time.Second)
		if got := s.events(); len(got) != 20 {
			t.Errorf("got events of %d pushes, want 20", len(got))
		}
		s.hopeless(50) // new ones hang too, and take all slots of their upstream
		s.upstream.mu.Lock()
		s.upstream.fails = func(ctx context.Context, key string) error {
			if strings.HasPrefix(key, "hopeless") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		s.upstream.mu.Unlock()
		b := s.image("other", "l1")
		r := c.begin(detect.ManifestPut, "app", "other", func(op *detect.Operation) {
			op.Upstream, op.Sent = "second", detect.Body{Bytes: b, Digest: digestOfBytes(b)}
		})
		r.in = s.intend(r.op)
		c.commit(r.op, b)
		r.lose()
		time.Sleep(2 * time.Second)
		if got := s.events(); len(got) != 21 {
			t.Errorf("got events of %d pushes, and none of the other upstream's", len(got))
		}
		s.finish()
	})
}

// An intent ends after a week and not before, and is counted. A bellbuoy that was down for longer
// asks first.
func TestIntentsEndAfterAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		var told []string
		s.cfg.GivenUp = func(upstream, repository, reference string) {
			told = append(told, upstream+" "+repository+" "+reference)
		}
		s.crash()
		s.hopeless(2)
		s.cfg.Pull, s.cfg.UntaggedPush = time.Hour, time.Hour // slower timers
		s.Configure(s.cfg)
		time.Sleep(7*24*time.Hour - time.Minute)
		if n := s.db.count(rowIntent); n != 2 {
			t.Fatalf("%d intents are left too early", n)
		}
		time.Sleep(2 * time.Hour)
		if n, stats := s.db.count(rowIntent), s.Stats(); n != 0 || stats.OpenIntents != 0 || stats.GivenUp != 2 || len(told) != 2 {
			t.Errorf("%d intents are left after a week; stats %+v; events %q", n, stats, told)
		}
		if len(told) > 0 && !strings.Contains(strings.Join(told, ","), "up hopeless0 v0") {
			t.Errorf("got the events %q", told)
		}

		c, b := s.client("docker"), s.image("one", "l1")
		r := c.putting("app", "v1", b)
		c.commit(r.op, b)
		c.putting("hopeless", "v1", b)
		s.stop()
		s.ledger.close()
		time.Sleep(30 * 24 * time.Hour)
		s.begin()
		time.Sleep(time.Minute)
		if got := s.lines(s.events()); len(got) != 1 || s.db.count(rowIntent) != 1 {
			t.Errorf("got the events %q; %d intents are left", got, s.db.count(rowIntent))
		}
		time.Sleep(20 * time.Minute)
		if n := s.db.count(rowIntent); n != 0 {
			t.Errorf("%d intents left", n)
		}
		s.finish()
	})
}

// A client's retry joins its intent, however many intents of the same reference other clients have
// left open.
func TestRetryJoinsItsOwnOpenIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		s.upstream.setDown(errDown)
		s.took = 0
		b := s.image("one", "l1")
		for i := range 100 {
			s.client(fmt.Sprint("agent", i)).putting("app", "v1", b).lose()
		}
		c := s.client("docker")
		r := c.putting("app", "v1", b)
		first := r.op.At
		r.lose()
		time.Sleep(time.Second)
		c.putting("app", "v1", b).done(b)
		if got := s.events(); len(got) != 1 || !got[0].At.Equal(first) {
			t.Errorf("got the events %+v", got)
		}
		s.finish()
	})
}
