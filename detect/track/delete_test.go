package track

import (
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

func TestDeletes(t *testing.T) {
	runScenarios(t, []scenario{
		{"by digest, with every tag known", func(s *sim) {
			c := s.client("crane")
			b := s.image("one", "l1")
			c.put("app", "v1", b)
			c.put("app", "v2", b)
			c.put("app", "v3", b)
			c.put("app", "v3", s.image("two", "l2"))
			c.del("app", digestOfBytes(b))
		}, []string{"push app:v1 one", "push app:v2 one", "push app:v3 one", "push app:v3 two was=one", "delete app:v1+v2 one"}},

		{"by digest, tags checked again", func(s *sim) {
			c := s.client("crane")
			b := s.image("one", "l1")
			c.put("app", "v1", b)
			r := c.begin(detect.ManifestDelete, "app", digestOfBytes(b), func(op *detect.Operation) {
				op.Before = &detect.Found{Digest: digestOfBytes(b), Tags: []string{"v2"}, TagsComplete: true}
			})
			r.in = c.intend(r.op)
			r.gone()
		}, []string{"push app:v1 one", "delete app:v2 one"}},

		{"by tag, with its digest", func(s *sim) {
			c := s.client("crane")
			c.put("app", "v1", s.image("one", "l1"))
			c.del("app", "v1")
		}, []string{"push app:v1 one", "untag app:v1 one"}},

		{"by a tag that bellbuoy never saw", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			s.client("crane").del("app", "v1")
		}, []string{"untag app:v1 one"}},

		{"of a missing manifest", func(s *sim) {
			c := s.client("crane")
			c.del("app", "v1")
			c.del("app", blobOf("nothing"))
		}, nil},

		{"by tag, then by digest", func(s *sim) {
			c := s.client("crane")
			b := s.image("one", "l1")
			c.put("app", "v1", b)
			c.del("app", "v1")
			c.del("app", digestOfBytes(b))
		}, []string{"push app:v1 one", "untag app:v1 one", "delete app one"}},

		{"pushed again after a delete", func(s *sim) {
			c := s.client("crane")
			b := s.image("one", "l1")
			c.put("app", "v1", b)
			c.del("app", digestOfBytes(b))
			c.put("app", "v1", b)
		}, []string{"push app:v1 one", "delete app:v1 one", "push app:v1 one"}},

		{"of bookkeeping, by tag and by digest", func(s *sim) {
			c := s.client("oras")
			img := s.image("one", "l1")
			c.put("app", "v1", img)
			ref := s.manifest("ref", "application/x", digestOfBytes(img), []string{"r"})
			c.put("app", digestOfBytes(ref), ref)
			fallback := strings.Replace(digestOfBytes(img), ":", "-", 1)
			first, second := s.index("refs", ref), s.index("none")
			c.put("app", fallback, first)
			c.put("app", fallback, second)
			c.del("app", digestOfBytes(first))
			c.del("app", fallback)
			c.del("app", digestOfBytes(second))
		}, []string{"push app:v1 one", "push app ref kind=referrer of=one"}},

		{"of a signature's tag", func(s *sim) {
			img := s.image("one", "l1")
			s.client("cosign").put("app", strings.Replace(digestOfBytes(img), ":", "-", 1)+".sig", s.image("sig", "p"))
			s.client("cosign").del("app", strings.Replace(digestOfBytes(img), ":", "-", 1)+".sig")
		}, []string{
			"push app:" + strings.Replace(digestOfBytes(simImage("one", "l1")), ":", "-", 1) + ".sig sig kind=signature of=one",
			"untag app:" + strings.Replace(digestOfBytes(simImage("one", "l1")), ":", "-", 1) + ".sig sig kind=signature of=one",
		}},

		{"regctl's dummy", func(s *sim) {
			c := s.client("regctl")
			b := s.image("one", "l1")
			c.put("app", "v1", b)
			c.put("app", "v2", b)
			c.deleting("app", "v1").answered(405).end(true)
			c.head("app", "v1")
			dummy := s.image("dummy")
			c.put("app", "v1", dummy)
			c.del("app", digestOfBytes(dummy))
		}, []string{"push app:v1 one", "push app:v2 one", "untag app:v1 one"}},

		{"regctl's dummy at distribution 2.8, which answers 400", func(s *sim) {
			c := s.client("regctl")
			s.has("app", s.image("one", "l1"), "v1", "v2")
			c.nobody().deleting("app", "v1").answered(401).end(true)
			c.deleting("app", "v1").answered(400).end(true)
			c.head("app", "v1")
			dummy := s.image("dummy")
			c.put("app", "v1", dummy)
			c.del("app", digestOfBytes(dummy))
		}, []string{"untag app:v1 one"}},

		{"a push after a DELETE that was answered 401 has its event at once", func(s *sim) {
			c := s.client("crane")
			c.deleting("app", "v1").answered(401).end(true)
			c.put("app", "v1", s.image("one", "l1"))
			if n := len(s.events()); n != 1 {
				s.t.Errorf("%d events at once", n)
			}
		}, []string{"push app:v1 one"}},

		{"no dummy: the event of a push waits for 10 s at most", func(s *sim) {
			c := s.client("regctl")
			c.put("app", "v1", s.image("one", "l1"))
			c.deleting("app", "v1").answered(405).end(true)
			c.put("app", "v1", s.image("two", "l2"))
			time.Sleep(10 * time.Second)
			if n := len(s.events()); n != 2 {
				s.t.Errorf("%d events after 10 s", n)
			}
		}, []string{"push app:v1 one", "push app:v1 two was=one"}},

		{"no dummy: another client's push", func(s *sim) {
			c := s.client("regctl")
			c.put("app", "v1", s.image("one", "l1"))
			c.deleting("app", "v1").answered(405).end(true)
			s.client("docker").put("app", "v1", s.image("two", "l2"))
			if n := len(s.events()); n != 2 {
				s.t.Errorf("%d events at once", n)
			}
		}, []string{"push app:v1 one", "push app:v1 two was=one"}},

		{"no dummy: a minute later", func(s *sim) {
			c := s.client("regctl")
			c.put("app", "v1", s.image("one", "l1"))
			c.deleting("app", "v1").answered(405).end(true)
			time.Sleep(61 * time.Second)
			c.put("app", "v1", s.image("two", "l2"))
			if n := len(s.events()); n != 2 {
				s.t.Errorf("%d events at once", n)
			}
		}, []string{"push app:v1 one", "push app:v1 two was=one"}},

		{"a crash while a dummy waits", func(s *sim) {
			c := s.client("regctl")
			c.put("app", "v1", s.image("one", "l1"))
			c.deleting("app", "v1").answered(405).end(true)
			dummy := s.image("dummy")
			c.put("app", "v1", dummy)
			s.crash()
			c.del("app", digestOfBytes(dummy))
		}, []string{"push app:v1 one", "untag app:v1 one"}},
	})
}

// The event of a delete has the artifact that was deleted.
func TestDeleteHasTheDeletedArtifact(t *testing.T) {
	simulate(t, func(s *sim) {
		c := s.client("crane")
		b := s.image("one", "l1", "l2")
		c.put("app", "v1", b)
		c.del("app", digestOfBytes(b))
		c.put("app", "v2", b)
		c.del("app", "v2")
		for _, e := range s.events()[1:] {
			if e.Artifact == nil || e.Artifact.Size != int64(len(b))+210 || e.Artifact.Kind != detect.Image || e.Artifact.MediaType != mediaTypeOf(b) {
				s.t.Errorf("got a %s with %+v", e.Type, e.Artifact)
			}
		}
	})
}

// A delete right after a read of a tag has that tag (skopeo delete, oras manifest delete).
func TestDeleteAfterAReadHasTheTag(t *testing.T) {
	simulate(t, func(s *sim) {
		c := s.client("skopeo")
		b := s.image("one", "l1")
		s.has("app", b, "v1")
		c.get("app", "v1")
		if got := s.TagsOf(s.t.Context(), "up", "", "app", digestOfBytes(b)); strings.Join(got, " ") != "v1" {
			s.t.Errorf("tags %q, want v1", got)
		}
	})
}

func TestMutedAccessories(t *testing.T) {
	got := simulate(t, func(s *sim) {
		s.stop()
		s.ledger.close()
		s.cfg.Accessories = false
		s.begin()
		c := s.client("cosign")
		img := s.image("one", "l1")
		d := digestOfBytes(img)
		c.put("app", "v1", img)
		sig := s.manifest("sig", "application/vnd.oci.image.config.v1+json", d, []string{"p"})
		c.put("app", digestOfBytes(sig), sig)
		c.put("app", strings.Replace(d, ":", "-", 1)+".sig", s.image("old", "p"))
		o := s.client("oras")
		o.get("app", digestOfBytes(sig))
		o.blob("app", "p")
		c.del("app", strings.Replace(d, ":", "-", 1)+".sig")
		c.del("app", digestOfBytes(sig))
		orphan := s.manifest("orphan", "application/x", blobOf("nobody"), []string{"p"})
		c.put("app", digestOfBytes(orphan), orphan)
		c.del("app", d)
	})
	if want := "push app:v1 one|delete app:v1 one"; strings.Join(got, "|") != want {
		t.Errorf("got the events %q", got)
	}
}
