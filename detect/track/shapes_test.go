package track

import (
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Sequences of requests that clients send and the recordings lack.
func TestSequencesOfRequests(t *testing.T) {
	runScenarios(t, []scenario{
		{"docker 20 pulls an index", func(s *sim) {
			a, b := s.image("amd64", "l1", "l2", "l3"), s.image("arm64", "l4")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("docker/20.10")
			c.get("app", c.head("app", "v1"))
			c.get("app", digestOfBytes(a))
			rs := []*request{c.blobbing("app", "amd64.config", 200), c.blobbing("app", "l1", 200), c.blobbing("app", "l2", 200)}
			for _, r := range rs {
				r.end(true)
			}
			c.blob("app", "l3")
		}, []string{"pull app:v1 idx children=amd64"}},

		{"docker 29: 401 first, on HEAD and on GET", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c, anon := s.client("docker/29"), s.client("docker/29")
			anon.Operator = ""
			anon.begin(detect.ManifestHead, "app", "v1", nil).answered(401).end(true)
			c.head("app", "v1")
			anon.begin(detect.ManifestGet, "app", d, nil).answered(401).end(true)
			c.get("app", d)
			anon.blobbing("app", "one.config", 401).end(true)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},

		{"docker 29 with attestations: referrers and the fallback tag are requested", func(s *sim) {
			a := s.image("amd64", "l1")
			att := s.manifest("att", "application/vnd.oci.image.config.v1+json", "", []string{"p"})
			s.has("app", a)
			s.has("app", att)
			s.has("app", s.index("idx", a, att), "v1")
			c := s.client("docker/29")
			c.get("app", c.head("app", "v1"))
			c.get("app", digestOfBytes(a))
			c.begin(detect.Referrers, "app", digestOfBytes(a), nil).answered(404).end(true)
			c.get("app", strings.Replace(digestOfBytes(a), ":", "-", 1))
			c.blob("app", "amd64.config", "l1")
		}, []string{"pull app:v1 idx children=amd64"}},

		{"503, then a retry: HEAD, GET, blob", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker/29")
			c.begin(detect.ManifestHead, "app", "v1", nil).answered(503).end(true)
			c.head("app", "v1")
			c.begin(detect.ManifestGet, "app", d, nil).answered(503).end(true)
			c.get("app", d)
			c.blobbing("app", "one.config", 503).end(true)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},

		{"503, then a retry: a manifest's PUT", func(s *sim) {
			c, b := s.client("docker/29"), s.image("one", "l1")
			r := c.putting("app", "v1", b)
			r.lose()
			c.put("app", "v1", b)
		}, []string{"push app:v1 one"}},

		{"cut layers, resumed by range", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("containerd/1.6")
			c.get("app", c.head("app", "v1"))
			c.blob("app", "one.config")
			c.blobbing("app", "l1", 200).end(false)
			time.Sleep(5 * time.Second)
			c.blobbing("app", "l1", 206).end(true)
		}, []string{"pull app:v1 one"}},

		{"BuildKit: a HEAD for each platform, one GET, layers minutes later", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("base", a)
			s.has("base", b)
			s.has("base", s.index("idx", a, b), "v1")
			c := s.client("buildkit")
			c.head("base", "v1")
			c.head("base", "v1")
			c.get("base", s.tags["base:v1"])
			c.get("base", digestOfBytes(a))
			c.get("base", digestOfBytes(b))
			time.Sleep(3 * time.Minute)
			c.blob("base", "l1")
			time.Sleep(3 * time.Minute)
			c.blob("base", "l2")
		}, []string{"pull base:v1 idx children=amd64+arm64 manifest-only", "pull base:v1 idx children=amd64+arm64"}},

		{"BuildKit: a base image whose layers are mounted", func(s *sim) {
			s.has("base", s.image("one", "l1"), "v1")
			c := s.client("buildkit")
			c.get("base", c.head("base", "v1"))
			c.mount("app", "base", "l1", 201)
			c.put("app", "v1", s.image("built", "l1", "l2"))
		}, []string{"pull base:v1 one", "push app:v1 built"}},

		{"BuildKit: provenance, its subject pushed before by digest", func(s *sim) {
			c := s.client("buildkit")
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			pa := s.manifest("pa", "application/vnd.oci.image.config.v1+json", digestOfBytes(a), []string{"x"})
			pb := s.manifest("pb", "application/vnd.oci.image.config.v1+json", digestOfBytes(b), []string{"y"})
			for _, m := range [][]byte{a, pa, b, pb} {
				c.head("app", digestOfBytes(m))
				c.put("app", digestOfBytes(m), m)
			}
			c.head("app", "v1")
			c.put("app", "v1", s.index("idx", a, b, pa, pb))
		}, []string{"push app:v1 idx children=amd64+arm64+pa+pb"}},

		{"BuildKit: push by digest", func(s *sim) {
			c := s.client("buildkit")
			b := s.image("one", "l1")
			c.head("app", digestOfBytes(b))
			c.put("app", digestOfBytes(b), b)
		}, []string{"push app one"}},

		{"two builders push by digest, a third makes the index much later (buildx bake)", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.client("buildkit-1").put("app", digestOfBytes(a), a)
			time.Sleep(time.Second)
			s.client("buildkit-2").put("app", digestOfBytes(b), b)
			time.Sleep(5 * time.Minute)
			c := s.client("buildx")
			c.get("app", digestOfBytes(a))
			c.get("app", digestOfBytes(b))
			c.put("app", "v1", s.index("idx", a, b))
		}, []string{
			"push app amd64", "push app arm64", "push app:v1 idx children=amd64+arm64",
			"pull app amd64 manifest-only", "pull app arm64 manifest-only",
		}},

		{"imagetools create: HEAD, GET by digest, PUT under another tag", func(s *sim) {
			a := s.image("amd64", "l1")
			idx := s.index("idx", a)
			s.has("app", a)
			s.has("app", idx, "v1")
			c := s.client("buildx")
			c.get("app", c.head("app", "v1"))
			c.put("app", "v2", idx)
		}, []string{"push app:v2 idx children=amd64"}},

		{"skopeo copies within a registry, blob by blob", func(s *sim) {
			b := s.image("one", "l1")
			s.has("src", b, "v1")
			c := s.client("skopeo")
			c.get("src", "v1")
			c.begin(detect.BlobHead, "dst", blobOf("l1"), nil).answered(404).end(true)
			c.mount("dst", "src", "l1", 202)
			c.blob("src", "l1", "one.config")
			c.upload("dst", time.Second)
			c.put("dst", "v1", b)
		}, []string{"pull src:v1 one", "push dst:v1 one"}},

		{"skopeo copies all platforms, one after the other", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("src", a)
			s.has("src", b)
			idx := s.index("idx", a, b)
			s.has("src", idx, "v1")
			c := s.client("skopeo")
			c.get("src", "v1")
			for _, m := range [][]byte{a, b} {
				name, layer := s.names[digestOfBytes(m)], map[string]string{"amd64": "l1", "arm64": "l2"}
				c.get("src", digestOfBytes(m))
				r := c.blobbing("src", layer[name], 200) // streamed, as it arrives
				c.upload("dst", 2*time.Minute)
				r.end(true)
				c.blob("src", name+".config")
				c.put("dst", digestOfBytes(m), m)
			}
			c.put("dst", "v1", idx)
		}, []string{"pull src:v1 idx children=amd64", "push dst:v1 idx children=amd64+arm64"}},

		{"oras pushes with two tags, then pulls", func(s *sim) {
			c := s.client("oras")
			b := s.manifest("art", "application/vnd.oci.empty.v1+json", "", []string{"file"})
			c.head("art", digestOfBytes(b))
			c.put("art", "v1", b)
			c.put("art", "latest", b)
			c.get("art", digestOfBytes(b))
			c.get("art", "v1")
			c.blob("art", "file")
		}, []string{"push art:v1 art kind=other", "push art:latest art kind=other", "pull art:v1 art kind=other"}},

		{"helm pushes and pulls at once", func(s *sim) {
			c := s.client("helm")
			b := s.manifest("demo", helmConfig, "", []string{"chart"})
			c.head("demo", digestOfBytes(b))
			c.put("demo", digestOfBytes(b), b)
			c.get("demo", digestOfBytes(b))
			c.put("demo", "0.1.0", b)
			c.begin(detect.TagsList, "demo", "", nil).answered(200).end(true)
			c.get("demo", "0.1.0")
			c.blob("demo", "chart", "demo.config")
		}, []string{"push demo:0.1.0 demo kind=chart", "pull demo:0.1.0 demo kind=chart"}},

		{"flux list reads every tag", func(s *sim) {
			s.has("fx", s.image("one", "l1"), "v1", "v2")
			c := s.client("flux")
			c.get("fx", "v1")
			c.get("fx", "v2")
		}, []string{"pull fx:v1 one manifest-only", "pull fx:v2 one manifest-only"}},

		{"cosign signs by digest, legacy", func(s *sim) {
			img := s.image("one", "l1")
			d := s.has("app", img, "v1")
			sig := s.image("sig", "payload")
			fallback := strings.Replace(d, ":", "-", 1)
			c := s.client("cosign")
			c.get("app", d)
			c.get("app", fallback+".sig")
			c.head("app", fallback+".sig")
			c.put("app", fallback+".sig", sig)
			c.get("app", fallback+".sig")
		}, []string{
			"push app:" + strings.Replace(digestOfBytes(simImage("one", "l1")), ":", "-", 1) + ".sig sig kind=signature of=one",
			"pull app one manifest-only",
		}},

		{"cosign clean", func(s *sim) {
			img := s.image("one", "l1")
			d := s.has("app", img, "v1")
			fallback := strings.Replace(d, ":", "-", 1)
			sig := s.image("sig", "payload")
			s.has("app", sig, fallback+".sig")
			c := s.client("cosign")
			c.get("app", "v1")
			c.get("app", "v1")
			c.del("app", fallback+".sig")
			c.del("app", fallback+".att")
			c.del("app", digestOfBytes(sig))
		}, []string{
			"untag app:" + strings.Replace(digestOfBytes(simImage("one", "l1")), ":", "-", 1) + ".sig sig kind=signature of=one",
			"delete app sig",
			"pull app:v1 one manifest-only",
		}},

		{"cosign copies an image and its signature", func(s *sim) {
			img, sig := s.image("one", "l1"), s.image("sig", "payload")
			fallback := strings.Replace(s.has("src", img, "v1"), ":", "-", 1)
			s.has("src", sig, fallback+".sig")
			c := s.client("cosign")
			c.get("src", "v1")
			c.get("src", fallback+".sig")
			c.mount("dst", "src", "payload", 201)
			c.put("dst", fallback+".sig", sig)
			c.mount("dst", "src", "l1", 201)
			c.put("dst", "v1", img)
		}, []string{
			"push dst:" + strings.Replace(digestOfBytes(simImage("one", "l1")), ":", "-", 1) + ".sig sig kind=signature of=one",
			"pull src:v1 one", "push dst:v1 one",
		}},

		{"a mirror's ?ns= is a place of its own", func(s *sim) {
			s.has("library/app", s.image("one", "l1"), "v1")
			c := s.client("containerd")
			ns := func(op *detect.Operation) { op.Hint = "docker.io" }
			d, b := s.resolve("library/app", "v1")
			r := c.begin(detect.ManifestHead, "library/app", "v1", ns)
			r.op.ContentDigest = d
			r.answered(200).end(true)
			r = c.begin(detect.ManifestGet, "library/app", d, ns)
			r.op.ContentDigest, r.op.Got = d, detect.Body{Bytes: b, Digest: d, MediaType: mediaTypeOf(b)}
			r.answered(200).end(true)
			c.begin(detect.BlobGet, "library/app", blobOf("l1"), ns).answered(200).end(true)
			if e := s.events(); len(e) != 1 || e[0].Hint != "docker.io" {
				s.t.Errorf("got the event %+v", e)
			}
		}, []string{"pull library/app:v1 one"}},

		{"an unreadable manifest: any blob that follows is its own", func(s *sim) {
			s.has("app", []byte(`{"schemaVersion":1}`), "v1")
			c := s.client("old")
			c.get("app", "v1")
			c.blob("app", "l1", "l2")
		}, []string{"pull app:v1 " + digestOfBytes([]byte(`{"schemaVersion":1}`))}},

		{"an index of many children", func(s *sim) {
			c := s.client("crane")
			var all [][]byte
			for _, name := range strings.Split("abcdefgh", "") {
				b := s.image(name, "l"+name)
				all = append(all, b)
				c.put("app", digestOfBytes(b), b)
			}
			other := s.image("other", "lo")
			c.put("app", digestOfBytes(other), other)
			c.put("app", "v1", s.index("idx", all...))
		}, []string{"push app:v1 idx children=a+b+c+d+e+f+g+h", "push app other"}},

		{"an index whose children the registry already had", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.client("docker-cli").put("app", "v1", s.index("idx", a, b))
		}, []string{"push app:v1 idx children=amd64+arm64"}},

		{"a poll every few seconds, then a pull", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2", "l3"), "v1")
			c := s.client("source-controller")
			for range 10 {
				c.get("app", "v1")
				time.Sleep(10 * time.Second)
			}
			c.get("app", "v1")
			c.blob("app", "l1", "l2")
			c.blobbing("app", "l3", 206).end(true)
		}, append([]string{"pull app:v1 one"}, repeated("pull app:v1 one manifest-only", 10)...)},

		{"a registry that answers an image for an index, by Accept", func(s *sim) {
			a := s.image("amd64", "l1")
			idx := s.index("idx", a)
			s.client("crane").put("app", "v1", idx)
			s.has("app", a)
			old := s.client("old")
			r := old.begin(detect.ManifestGet, "app", "v1", nil)
			r.op.ContentDigest, r.op.MediaType = digestOfBytes(a), mediaTypeOf(a)
			r.op.Got = detect.Body{Bytes: a, Digest: digestOfBytes(a), MediaType: mediaTypeOf(a)}
			r.answered(200).end(true)
			old.blob("app", "l1")
			time.Sleep(10 * time.Second)
			if d, _, _ := s.Standing("up", "", "app", "v1"); d != digestOfBytes(idx) {
				s.t.Errorf("the tag index has the tag on %s", s.names[d])
			}
		}, []string{"push app:v1 idx children=amd64", "pull app:v1 amd64"}},
	})
}

func repeated(line string, n int) (lines []string) {
	for range n {
		lines = append(lines, line)
	}
	return lines
}

// If the upstream vouches for a name only after a blob has decided the pull, the name is still the
// operator.
func TestOperatorVouchedLater(t *testing.T) {
	got := simulate(t, func(s *sim) {
		d := s.has("app", s.image("one", "l1"), "v1")
		c := s.client("docker")
		c.Client = detect.Client{Claimed: "alice", Address: "192.0.2.1"}
		r := c.begin(detect.ManifestHead, "app", "v1", nil)
		r.op.ContentDigest = d
		r.answered(200)
		r.op.Client = detect.Client{Operator: "alice", Address: "192.0.2.1"}
		r.end(true)
		c.get("app", d)
		c.blob("app", "l1")
	})
	if len(got) != 1 || got[0] != "pull app:v1 one" {
		t.Errorf("got the events %q", got)
	}
}
