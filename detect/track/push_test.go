package track

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The rows of the table of pushes in docs/design.md.
func TestPushes(t *testing.T) {
	runScenarios(t, []scenario{
		{"a tag", func(s *sim) {
			s.client("crane").put("app", "v1", s.image("one", "l1"))
		}, []string{"push app:v1 one"}},

		{"a tag moves, and stays", func(s *sim) {
			c := s.client("docker")
			c.put("app", "v1", s.image("one", "l1"))
			c.put("app", "v1", s.image("two", "l2"))
			c.put("app", "v1", s.image("two", "l2"))
		}, []string{"push app:v1 one", "push app:v1 two was=one", "push app:v1 two unchanged"}},

		{"previous is known from a read", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("crane")
			c.head("app", "v1")
			c.put("app", "v1", s.image("two", "l2"))
		}, []string{"push app:v1 two was=one"}},

		{"a subject", func(s *sim) {
			img := s.image("one", "l1")
			s.has("app", img, "v1")
			c := s.client("oras")
			c.head("app", "v1")
			ref := s.manifest("ref", "application/vnd.oci.empty.v1+json", digestOfBytes(img), []string{"r"})
			c.put("app", digestOfBytes(ref), ref)
			c.get("app", strings.Replace(digestOfBytes(img), ":", "-", 1))
			c.put("app", strings.Replace(digestOfBytes(img), ":", "-", 1), s.index("fallback", ref))
		}, []string{"push app ref kind=referrer of=one"}},

		{"a subject that bellbuoy has never seen, proven a referrer by the fallback tag", func(s *sim) {
			img := s.image("one", "l1")
			c := s.client("oras")
			ref := s.manifest("ref", "application/vnd.oci.empty.v1+json", digestOfBytes(img), []string{"r"})
			c.put("app", digestOfBytes(ref), ref)
			c.put("app", strings.Replace(digestOfBytes(img), ":", "-", 1), s.index("fallback", ref))
		}, []string{"push app ref kind=referrer of=one"}},

		{"a subject that bellbuoy has never seen, on a registry with the referrers API", func(s *sim) {
			ref := s.manifest("ref", "application/vnd.oci.empty.v1+json", blobOf("x"), []string{"r"})
			s.client("oras").put("app", digestOfBytes(ref), ref)
		}, []string{"push app ref kind=referrer of="}},

		{"a signature under its tag", func(s *sim) {
			img := s.image("one", "l1")
			s.has("app", img, "v1")
			sig := s.manifest("sig", "application/vnd.oci.image.config.v1+json", "", []string{"payload"})
			s.client("cosign").put("app", strings.Replace(digestOfBytes(img), ":", "-", 1)+".sig", sig)
		}, []string{"push app:" + strings.Replace(digestOfBytes(simImage("one", "l1")), ":", "-", 1) + ".sig sig kind=signature of=one"}},

		{"an image under a fallback tag is a push", func(s *sim) {
			s.client("curl").put("app", "sha256-"+strings.Repeat("a", 64), s.image("one", "l1"))
		}, []string{"push app:sha256-" + strings.Repeat("a", 64) + " one"}},

		{"?tag= as far as OCI-Tag confirms", func(s *sim) {
			b := s.image("one", "l1")
			r := s.client("next").putting("app", digestOfBytes(b), b, "a", "b", "c")
			r.op.ContentDigest, r.op.OCITags = digestOfBytes(b), []string{"a", "c", "z"}
			r.answered(201).end(true)
		}, []string{"push app:a+c one"}},

		{"?tag= that the registry does not know", func(s *sim) {
			b := s.image("one", "l1")
			r := s.client("next").putting("app", digestOfBytes(b), b, "a")
			r.op.ContentDigest = digestOfBytes(b)
			r.answered(201).end(true)
		}, []string{"push app one"}},

		{"children and their index, put by another client", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.client("builder-1").put("app", digestOfBytes(a), a)
			s.client("builder-2").put("app", digestOfBytes(b), b)
			s.client("crane").put("app", "v1", s.index("both", a, b))
		}, []string{"push app:v1 both children=amd64+arm64"}},

		{"child by child, with long uploads between (skopeo)", func(s *sim) {
			c := s.client("skopeo")
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			c.put("app", digestOfBytes(a), a)
			c.upload("app", 10*time.Minute)
			c.put("app", digestOfBytes(b), b)
			c.put("app", "v1", s.index("both", a, b))
		}, []string{"push app:v1 both children=amd64+arm64"}},

		{"an index of indexes", func(s *sim) {
			c := s.client("regctl")
			a := s.image("amd64", "l1")
			c.put("app", digestOfBytes(a), a)
			inner := s.index("inner", a)
			c.put("app", digestOfBytes(inner), inner)
			c.put("app", "v1", s.index("outer", inner))
		}, []string{"push app:v1 outer children=inner"}},

		{"an attestation whose subject still waits (BuildKit)", func(s *sim) {
			c := s.client("buildkit")
			a := s.image("amd64", "l1")
			c.put("app", digestOfBytes(a), a)
			att := s.manifest("att", "application/vnd.oci.image.config.v1+json", digestOfBytes(a), []string{"p"})
			c.put("app", digestOfBytes(att), att)
			c.put("app", "v1", s.index("both", a, att))
		}, []string{"push app:v1 both children=amd64+att"}},

		{"BuildKit rebuilds an unchanged image: a new attestation, the image known", func(s *sim) {
			a := s.image("amd64", "l1")
			s.has("app", a)
			c := s.client("buildkit")
			first, second := s.attestation("first", a), s.attestation("second", a)
			for _, att := range [][]byte{first, second} {
				c.head("app", digestOfBytes(a))
				c.put("app", digestOfBytes(att), att)
				c.put("app", "v1", s.index(s.names[digestOfBytes(att)]+"-idx", a, att))
				time.Sleep(5 * time.Minute)
			}
		}, []string{"push app:v1 first-idx children=amd64+first", "push app:v1 second-idx children=amd64+second was=first-idx"}},

		{"an attestation of BuildKit's that no index lists", func(s *sim) {
			a := s.image("amd64", "l1")
			s.has("app", a)
			c := s.client("curl")
			c.head("app", digestOfBytes(a))
			att := s.attestation("att", a)
			c.put("app", digestOfBytes(att), att)
		}, []string{"push app att kind=attestation of=amd64"}},

		{"crane copy, oras cp, regctl image copy of what buildx built: the fallback tag before the index", func(s *sim) {
			c := s.client("regctl")
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			all := [][]byte{a, b}
			for _, m := range [][]byte{a, b} {
				att := s.attestation("att-"+s.names[digestOfBytes(m)], m)
				all = append(all, att)
				c.put("app", digestOfBytes(m), m)
				c.put("app", digestOfBytes(att), att)
				c.put("app", strings.Replace(digestOfBytes(m), ":", "-", 1), s.index("refs-"+s.names[digestOfBytes(m)], att))
			}
			c.put("app", "v1", s.index("idx", all...))
		}, []string{"push app:v1 idx children=amd64+arm64+att-amd64+att-arm64"}},

		{"digest, read back, then tag (helm)", func(s *sim) {
			c := s.client("helm")
			b := s.manifest("demo", helmConfig, "", []string{"chart"})
			c.put("charts/demo", digestOfBytes(b), b)
			c.get("charts/demo", digestOfBytes(b))
			c.put("charts/demo", "0.1.0", b)
		}, []string{"push charts/demo:0.1.0 demo kind=chart"}},

		{"helm push of an unchanged chart", func(s *sim) {
			b := s.manifest("demo", helmConfig, "", []string{"chart"})
			s.has("charts/demo", b, "0.1.0")
			c := s.client("helm")
			c.head("charts/demo", digestOfBytes(b))
			c.get("charts/demo", digestOfBytes(b))
			c.put("charts/demo", "0.1.0", b)
		}, []string{"push charts/demo:0.1.0 demo kind=chart"}},

		{"by digest, and no index or tag follows", func(s *sim) {
			b := s.image("one", "l1")
			s.client("buildkit").put("app", digestOfBytes(b), b)
		}, []string{"push app one"}},

		{"one digest, two tags", func(s *sim) {
			c := s.client("oras")
			b := s.image("one", "l1")
			c.put("app", "a", b)
			c.put("app", "b", b)
		}, []string{"push app:a one", "push app:b one"}},

		{"refused", func(s *sim) {
			b := s.image("one", "l1")
			for _, status := range []int{400, 401, 403, 404, 409, 412, 413, 429} {
				s.client("crane").putting("app", "v1", b).answered(status).end(true)
			}
		}, nil},

		{"an unreadable manifest has the header's digest", func(s *sim) {
			r := s.client("old").putting("app", "v1", []byte(`{"schemaVersion":1}`))
			r.op.ContentDigest = blobOf("schema1")
			r.answered(201).end(true)
		}, []string{"push app:v1 " + blobOf("schema1") + " mismatch"}},

		{"the header differs from the bytes: the header counts", func(s *sim) {
			b := s.image("one", "l1")
			r := s.client("crane").putting("app", "v1", b)
			r.op.ContentDigest = blobOf("another")
			r.answered(201).end(true)
		}, []string{"push app:v1 " + blobOf("another") + " mismatch"}},

		{"no header: the bytes' own digest", func(s *sim) {
			s.client("crane").putting("app", "v1", s.image("one", "l1")).answered(201).end(true)
		}, []string{"push app:v1 one"}},

		{"a push and a pull interleaved", func(s *sim) {
			old, img := s.image("old", "l0"), s.image("new", "l1")
			s.has("app", old, "v1")
			p, q := s.client("docker"), s.client("podman")
			r := q.getting("app", "v1")
			put := p.putting("app", "v1", img)
			r.end(true)
			put.done(img)
			q.blob("app", "old.config", "l0")
		}, []string{"push app:v1 new was=old", "pull app:v1 old"}},
	})
}

// simImage returns an image's bytes without a simulation.
func simImage(name string, layers ...string) []byte {
	s := &sim{names: map[string]string{}}
	return s.image(name, layers...)
}

func TestPushWaits(t *testing.T) {
	runScenarios(t, []scenario{
		{"a crash while children wait", func(s *sim) {
			c := s.client("crane")
			a := s.image("amd64", "l1")
			c.put("app", digestOfBytes(a), a)
			s.crash()
			time.Sleep(20 * time.Second)
			c.put("app", "v1", s.index("idx", a))
		}, []string{"push app:v1 idx children=amd64"}},

		{"a crash while an untagged push waits", func(s *sim) {
			b := s.image("one", "l1")
			s.client("buildkit").put("app", digestOfBytes(b), b)
			s.crash()
			s.crash()
		}, []string{"push app one"}},

		{"after an hour's stop, an untagged push waits again", func(s *sim) {
			c := s.client("crane")
			a := s.image("amd64", "l1")
			c.put("app", digestOfBytes(a), a)
			s.stop()
			time.Sleep(time.Hour)
			s.ledger.close()
			s.begin()
			time.Sleep(5 * time.Second)
			c.put("app", "v1", s.index("idx", a))
		}, []string{"push app:v1 idx children=amd64"}},

		{"another replica sees the uploads", func(s *sim) {
			c := s.client("skopeo")
			a := s.image("amd64", "l1")
			c.put("app", digestOfBytes(a), a)
			other := s.second()
			defer other.stop()
			oc := &client{other, c.Client}
			oc.upload("app", 10*time.Minute)
			oc.put("app", "v1", s.index("idx", a))
		}, []string{"push app:v1 idx children=amd64"}},

		{"at most untagged_push_max", func(s *sim) {
			c := s.client("skopeo")
			a := s.image("amd64", "l1")
			c.put("app", digestOfBytes(a), a)
			for range 25 {
				c.upload("app", time.Hour)
			}
			if n := len(s.events()); n != 1 {
				s.t.Errorf("%d events after 25 hours", n)
			}
		}, []string{"push app amd64"}},

		{"put again while it waits is one push", func(s *sim) {
			c := s.client("buildkit")
			b := s.image("one", "l1")
			c.put("app", digestOfBytes(b), b)
			time.Sleep(20 * time.Second)
			c.put("app", digestOfBytes(b), b)
		}, []string{"push app one"}},

		{"deleted while it waits", func(s *sim) {
			c := s.client("buildkit")
			b := s.image("one", "l1")
			c.put("app", digestOfBytes(b), b)
			c.del("app", digestOfBytes(b))
		}, []string{"push app one", "delete app one"}},
	})
}

// second returns another replica with the same rows.
func (s *sim) second() *sim {
	w := &world{t: s.t, db: s.db, upstream: s.upstream, cfg: s.cfg}
	w.begin()
	o := *s
	o.world = w
	return &o
}

func TestIndexSize(t *testing.T) {
	s := struct{ size, own, a, b int64 }{}
	simulate(t, func(sim *sim) {
		c := sim.client("crane")
		a, b := sim.image("amd64", "l1"), sim.image("arm64", "l2", "l3")
		idx := sim.index("idx", a, b)
		c.put("app", digestOfBytes(a), a)
		c.put("app", digestOfBytes(b), b)
		c.put("app", "v1", idx)
		s.own, s.a, s.b = int64(len(idx)), int64(len(a))+110, int64(len(b))+210
		s.size = sim.events()[0].Artifact.Size
	})
	if s.size != s.own+s.a+s.b {
		t.Errorf("size %d, want %d+%d+%d", s.size, s.own, s.a, s.b)
	}
}

func TestFirstSeen(t *testing.T) {
	simulate(t, func(s *sim) {
		c := s.client("crane")
		c.put("app", "v1", s.image("one", "l1"))
		time.Sleep(time.Hour)
		c.put("app", "v2", s.image("two", "l2"))
		c.del("app", "v1")
		first := s.events()[0].At
		for _, e := range s.events() {
			if !e.FirstSeen.Equal(first) {
				b, _ := json.Marshal(e)
				t.Errorf("first seen is not %v: %s", first, b)
			}
		}
	})
}
