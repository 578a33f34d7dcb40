package track

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Every transition of the state machine in the comment of intent.go, also with other requests of
// clients meanwhile.
func TestIntents(t *testing.T) {
	runScenarios(t, []scenario{
		{"dropped: it never reached the upstream", func(s *sim) {
			c := s.client("crane")
			r := c.putting("app", "v1", s.image("one", "l1"))
			if err := s.Drop(t.Context(), r.in); err != nil {
				s.t.Error(err)
			}
			r.in = nil
			r.answered(503).end(true)
			if n := s.db.count(rowIntent); n != 0 {
				s.t.Errorf("%d intents left", n)
			}
		}, nil},

		{"lost, and done", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
		}, []string{"push app:v1 one inferred"}},

		{"lost, and not done", func(s *sim) {
			s.client("crane").putting("app", "v1", s.image("one", "l1")).lose()
		}, nil},

		{"lost, and done a second later", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			r.lose()
			time.Sleep(time.Second)
			c.commit(r.op, b)
		}, []string{"push app:v1 one inferred"}},

		{"lost; the tag had the digest before", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			c.put("app", "v1", b)
			c.putting("app", "v1", b).lose()
		}, []string{"push app:v1 one"}},

		{"lost by digest, and done: it waits for its index or tag", func(s *sim) {
			c, a := s.client("crane"), s.image("amd64", "l1")
			r := c.putting("app", digestOfBytes(a), a)
			c.commit(r.op, a)
			r.lose()
			time.Sleep(10 * time.Second)
			c.put("app", "v1", s.index("idx", a))
		}, []string{"push app:v1 idx children=amd64"}},

		{"lost by digest, and no index or tag follows", func(s *sim) {
			c, a := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", digestOfBytes(a), a)
			c.commit(r.op, a)
			r.lose()
		}, []string{"push app one inferred"}},

		{"lost with tags, and done for some", func(s *sim) {
			c, b := s.client("next"), s.image("one", "l1")
			r := c.putting("app", digestOfBytes(b), b, "a", "b")
			s.has("app", b, "b")
			r.lose()
		}, []string{"push app:b one inferred"}},

		{"the upstream is down for an hour", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			s.upstream.setDown(errDown)
			r.lose()
			time.Sleep(time.Hour)
			if n := s.Stats().OpenIntents; n != 1 {
				s.t.Errorf("%d open intents", n)
			}
			if s.upstream.asked > 100 {
				s.t.Errorf("got %d look-ups within an hour", s.upstream.asked)
			}
			s.upstream.setDown(nil)
		}, []string{"push app:v1 one inferred"}},

		{"a crash in flight, and done", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			s.crash()
		}, []string{"push app:v1 one inferred"}},

		{"a crash in flight, and not done", func(s *sim) {
			s.client("crane").putting("app", "v1", s.image("one", "l1"))
			s.crash()
		}, nil},

		{"a crash while open", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			s.upstream.setDown(errDown)
			r.lose()
			time.Sleep(time.Minute)
			s.crash()
			s.upstream.setDown(nil)
		}, []string{"push app:v1 one inferred"}},

		{"a crash after the settling, before the answer: the client pushes again", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.op.ContentDigest = digestOfBytes(b)
			r.answered(201)
			s.crash()
			c.put("app", "v1", b)
		}, []string{"push app:v1 one"}},

		{"a crash after the answer: the client pushes again, on purpose", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			c.put("app", "v1", b)
			time.Sleep(2 * flushEvery)
			if n := s.db.count(rowAnswer); n != 0 {
				s.t.Errorf("%d rows wait for an answer that was given", n)
			}
			s.crash()
			c.put("app", "v1", b)
		}, []string{"push app:v1 one", "push app:v1 one unchanged"}},

		{"no answer; another manifest, then the same again", func(s *sim) {
			c, a, b := s.client("skopeo"), s.image("one", "l1"), s.image("two", "l2")
			r := c.putting("app", "v1", a)
			c.commit(r.op, a)
			r.op.ContentDigest = digestOfBytes(a)
			r.answered(201).end(false)
			c.put("app", "v1", b)
			c.put("app", "v1", a)
		}, []string{"push app:v1 one", "push app:v1 two was=one", "push app:v1 one was=two"}},

		{"a delete is lost; its tag is put again and deleted again before the look-up", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			c.put("app", "v1", b)
			time.Sleep(time.Second)
			r := c.deleting("app", "v1")
			s.gone("app", "v1")
			s.upstream.setDown(errDown)
			r.lose()
			time.Sleep(time.Second)
			c.put("app", "v1", b)
			again := time.Now()
			time.Sleep(time.Second)
			c.del("app", "v1")
			s.upstream.setDown(nil)
			time.Sleep(time.Minute)
			s.db.mu.Lock()
			defer s.db.mu.Unlock()
			if last := s.db.events[len(s.db.events)-1]; last.Type != detect.DeleteTag || last.At.Before(again) {
				s.t.Errorf("the last event is %s of %v, before the push at %v", last.Type, last.At, again)
			}
		}, []string{"push app:v1 one", "push app:v1 one unchanged", "untag app:v1 one"}},

		{"no answer twice, then an answer; a later push is another push", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			for range 2 {
				r := c.putting("app", "v1", b)
				c.commit(r.op, b)
				r.op.ContentDigest = digestOfBytes(b)
				r.answered(201).end(false)
			}
			c.put("app", "v1", b)
			c.put("app", "v1", b)
		}, []string{"push app:v1 one", "push app:v1 one unchanged"}},

		{"no answer, and the same again much later", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.op.ContentDigest = digestOfBytes(b)
			r.answered(201).end(false)
			time.Sleep(joinWindow + time.Minute)
			c.put("app", "v1", b)
		}, []string{"push app:v1 one", "push app:v1 one unchanged"}},

		{"a retry answered while open joins", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			s.upstream.setDown(errDown)
			first := time.Now()
			r := c.putting("app", "v1", b)
			r.lose()
			time.Sleep(time.Second)
			s.upstream.setDown(nil)
			c.put("app", "v1", b)
			if e := s.events(); len(e) != 1 || e[0].At.After(first.Add(time.Millisecond)) {
				s.t.Errorf("not the first request's time: %v", e)
			}
		}, []string{"push app:v1 one"}},

		{"a retry answered after the settling joins", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(5 * time.Minute)
			c.put("app", "v1", b)
		}, []string{"push app:v1 one inferred"}},

		{"… but once, and a later push is a push", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(time.Minute)
			c.put("app", "v1", b)
			c.put("app", "v1", b)
		}, []string{"push app:v1 one inferred", "push app:v1 one unchanged"}},

		{"… and not after 10 min", func(s *sim) {
			c, b := s.client("skopeo"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(11 * time.Minute)
			c.put("app", "v1", b)
		}, []string{"push app:v1 one inferred", "push app:v1 one unchanged"}},

		{"… and across a crash", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(time.Minute)
			s.crash()
			c.put("app", "v1", b)
		}, []string{"push app:v1 one inferred"}},

		{"… and not another client", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(time.Minute)
			s.client("skopeo").put("app", "v1", b)
		}, []string{"push app:v1 one inferred", "push app:v1 one unchanged"}},

		{"another replica gives the intent up, then the answer comes", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			defer s.second().stop()
			time.Sleep(time.Minute)
			r.done(b)
		}, []string{"push app:v1 one"}},

		{"the same manifest again after another one is no retry", func(s *sim) {
			c, one, two := s.client("crane"), s.image("one", "l1"), s.image("two", "l2")
			r := c.putting("app", "v1", one)
			c.commit(r.op, one)
			r.lose()
			time.Sleep(time.Minute)
			c.put("app", "v1", two)
			c.put("app", "v1", one)
		}, []string{"push app:v1 one inferred", "push app:v1 two was=one", "push app:v1 one was=two"}},

		{"… nor after its digest was deleted", func(s *sim) {
			c, one := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", one)
			c.commit(r.op, one)
			r.lose()
			time.Sleep(time.Minute)
			c.del("app", digestOfBytes(one))
			c.put("app", "v1", one)
		}, []string{"push app:v1 one inferred", "delete app:v1 one", "push app:v1 one"}},

		{"… nor is a second delete of a tag that was put anew", func(s *sim) {
			c := s.client("crane")
			c.put("app", "v1", s.image("one", "l1"))
			r := c.deleting("app", "v1")
			s.gone("app", "v1")
			r.lose()
			time.Sleep(time.Minute)
			c.put("app", "v1", s.image("two", "l2"))
			c.del("app", "v1")
		}, []string{"push app:v1 one", "untag app:v1 one inferred", "push app:v1 two", "untag app:v1 two"}},

		{"… nor one of a tag that somebody has put there unseen", func(s *sim) {
			c := s.client("crane")
			c.put("app", "v1", s.image("one", "l1"))
			r := c.deleting("app", "v1")
			s.gone("app", "v1")
			r.lose()
			time.Sleep(time.Minute)
			s.has("app", s.image("two", "l2"), "v1")
			c.del("app", "v1")
		}, []string{"push app:v1 one", "untag app:v1 one inferred", "untag app:v1 two"}},

		{"… nor is one while the first is open", func(s *sim) {
			c := s.client("crane")
			c.put("app", "v1", s.image("one", "l1"))
			s.upstream.setDown(errDown)
			c.deleting("app", "v1").lose()
			time.Sleep(time.Second)
			c.put("app", "v1", s.image("two", "l2"))
			c.del("app", "v1")
			s.upstream.setDown(nil)
		}, []string{"push app:v1 one", "push app:v1 two was=one", "untag app:v1 two"}},

		{"a retry while the first try is in flight", func(s *sim) {
			c, b := s.client("docker"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.put("app", "v1", b)
			r.done(b)
		}, []string{"push app:v1 one"}},

		{"a retry that is in flight when the first try settles", func(s *sim) {
			c, b := s.client("docker"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			q := c.putting("app", "v1", b)
			r.done(b)
			q.done(b)
		}, []string{"push app:v1 one"}},

		{"two tries lost, both done", func(s *sim) {
			c, b := s.client("docker"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			s.upstream.setDown(errDown)
			r.lose()
			c.putting("app", "v1", b).lose()
			time.Sleep(time.Minute)
			s.upstream.setDown(nil)
		}, []string{"push app:v1 one inferred"}},

		{"the client finds the tag and stops; look-ups fail", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			s.upstream.setDown(errDown)
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(time.Second)
			c.head("app", "v1")
		}, []string{"push app:v1 one kind= inferred"}}, // no bytes of it were read: its kind is unknown

		{"written again before the look-up: the digest decides", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			s.upstream.setDown(errDown)
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			r.lose()
			time.Sleep(time.Second)
			c.put("app", "v1", s.image("two", "l2"))
			s.upstream.setDown(nil)
			time.Sleep(2 * time.Minute)
			if d, _, _ := s.Standing("up", "", "app", "v1"); s.names[d] != "two" {
				s.t.Errorf("the tag index has the tag on %q", s.names[d])
			}
		}, []string{"push app:v1 two", "push app:v1 one inferred"}},

		{"not done, and written by another", func(s *sim) {
			c := s.client("crane")
			s.upstream.setDown(errDown)
			c.putting("app", "v1", s.image("one", "l1")).lose()
			c.put("app", "v1", s.image("two", "l2"))
			s.upstream.setDown(nil)
		}, []string{"push app:v1 two"}},

		{"delete lost, and done", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			c.put("app", "v1", b)
			r := c.deleting("app", digestOfBytes(b))
			s.gone("app", digestOfBytes(b))
			r.lose()
		}, []string{"push app:v1 one", "delete app:v1 one inferred"}},

		{"delete lost, and not done", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			c.put("app", "v1", b)
			c.deleting("app", digestOfBytes(b)).lose()
			c.deleting("app", "v1").lose()
		}, []string{"push app:v1 one"}},

		{"delete lost of what was not there", func(s *sim) {
			s.client("crane").deleting("app", "v1").lose()
		}, nil},

		{"untag lost, and done; after the retry's 404 the next push is no dummy", func(s *sim) {
			c, two := s.client("crane"), s.image("two", "l2")
			c.put("app", "v1", s.image("one", "l1"))
			s.upstream.setDown(errDown)
			r := c.deleting("app", "v1")
			s.gone("app", "v1")
			r.lose()
			c.deleting("app", "v1").answered(404).end(true)
			s.upstream.setDown(nil)
			c.put("app", "v1", two)
			c.del("app", digestOfBytes(two))
		}, []string{"push app:v1 one", "untag app:v1 one inferred", "push app:v1 two", "delete app:v1 two"}},

		{"untag lost, and done; a crash", func(s *sim) {
			c := s.client("crane")
			c.put("app", "v1", s.image("one", "l1"))
			c.deleting("app", "v1")
			s.gone("app", "v1")
			s.crash()
		}, []string{"push app:v1 one", "untag app:v1 one inferred"}},

		{"a second DELETE answered 404 proves the first", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			c.put("app", "v1", b)
			s.upstream.setDown(errDown)
			r := c.deleting("app", digestOfBytes(b))
			s.gone("app", digestOfBytes(b))
			r.lose()
			c.del("app", digestOfBytes(b))
			s.upstream.setDown(nil)
		}, []string{"push app:v1 one", "delete app:v1 one inferred"}},

		{"a tag that cannot be changed, answered 412, proves the first", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			s.upstream.setDown(errDown)
			r := c.begin(detect.ManifestPut, "app", "v1", func(op *detect.Operation) {
				op.Sent, op.Before = detect.Body{Bytes: b, Digest: digestOfBytes(b), MediaType: mediaTypeOf(b)}, &detect.Found{Absent: true}
			})
			r.in = c.intend(r.op)
			c.commit(r.op, b)
			r.lose()
			c.putting("app", "v1", b).answered(412).end(true)
			s.upstream.setDown(nil)
		}, []string{"push app:v1 one inferred"}},

		{"… but not when it stood elsewhere before", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			c.put("app", "v1", s.image("old", "l0"))
			s.upstream.setDown(errDown)
			c.putting("app", "v1", b).lose()
			c.putting("app", "v1", b).answered(412).end(true)
			s.upstream.setDown(nil)
		}, []string{"push app:v1 old"}},

		{"412 and 404 without an open intent", func(s *sim) {
			c := s.client("crane")
			c.putting("app", "v1", s.image("one", "l1")).answered(412).end(true)
			c.deleting("app", "v1").answered(404).end(true)
		}, nil},
	})
}

// An intent that is only in memory is settled as others are, and a deferred commit makes its event
// once.
func TestIntentWithoutStore(t *testing.T) {
	runScenarios(t, []scenario{
		{"the store fails at the intent", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			s.ledger.fails(errors.New("disk full"))
			r := c.begin(detect.ManifestPut, "app", "v1", func(op *detect.Operation) { op.Sent = detect.Body{Bytes: b, Digest: digestOfBytes(b)} })
			in, err := s.Intend(t.Context(), r.op)
			if in == nil || !errors.Is(err, detect.ErrStore) {
				s.t.Fatalf("intend: got %v, %v", in, err)
			}
			r.op.Status = http.StatusCreated
			if err := s.Settle(t.Context(), in, r.op); !errors.Is(err, detect.ErrStore) {
				s.t.Errorf("settle: %v", err)
			}
			s.ledger.recover()
		}, []string{"push app:v1 one"}},

		{"the store fails at the settling, and another replica's write comes first", func(s *sim) {
			c, one, two := s.client("crane"), s.image("one", "l1"), s.image("two", "l2")
			r := c.putting("app", "v1", one)
			c.commit(r.op, one)
			s.ledger.fails(errors.New("disk full"))
			r.op.Status, r.op.ContentDigest = http.StatusCreated, digestOfBytes(one)
			if err := s.Settle(t.Context(), r.in, r.op); !errors.Is(err, detect.ErrStore) {
				s.t.Errorf("settle: %v", err)
			}
			time.Sleep(time.Second)
			s.upstream.setDown(errDown) // the other replica must not ask
			other := s.second()
			defer other.stop()
			oc := &client{other, c.Client}
			oc.Address = "elsewhere"
			oc.put("app", "v1", two)
			s.ledger.recover()
			time.Sleep(time.Second)
			if d, _, _ := other.Standing("up", "", "app", "v1"); s.names[d] != "two" {
				s.t.Errorf("the tag index has the tag on %q", s.names[d])
			}
			rows := s.db.scan("tag")
			if len(rows) != 1 || !strings.Contains(string(rows[0].Value), digestOfBytes(two)) {
				s.t.Errorf("got the row %s", rows[0].Value)
			}
		}, []string{"push app:v1 two", "push app:v1 one"}},

		{"the store fails at the settling", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			s.ledger.fails(errors.New("disk full"))
			r.op.Status = http.StatusCreated
			if err := s.Settle(t.Context(), r.in, r.op); !errors.Is(err, detect.ErrStore) {
				s.t.Errorf("settle: %v", err)
			}
			s.ledger.recover()
		}, []string{"push app:v1 one"}},

		{"… and the process dies before the store is back", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			c.commit(r.op, b)
			s.ledger.fails(errors.New("disk full"))
			r.op.Status = http.StatusCreated
			_ = s.Settle(t.Context(), r.in, r.op)
			s.crash()
		}, []string{"push app:v1 one inferred"}},

		{"lost, and the store has failed at the intent", func(s *sim) {
			c, b := s.client("crane"), s.image("one", "l1")
			s.ledger.fails(errors.New("disk full"))
			r := c.begin(detect.ManifestPut, "app", "v1", func(op *detect.Operation) { op.Sent = detect.Body{Bytes: b, Digest: digestOfBytes(b)} })
			r.in, _ = s.Intend(t.Context(), r.op)
			c.commit(r.op, b)
			s.ledger.fails(nil)
			r.lose()
		}, []string{"push app:v1 one inferred"}},
	})
}
