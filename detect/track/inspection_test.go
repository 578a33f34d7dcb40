package track

import (
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A read without a layer is an inspection. A layer makes it a pull.
func TestInspections(t *testing.T) {
	runScenarios(t, []scenario{
		{"skopeo inspect, crane config, a UI's history page: manifest and config", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("skopeo")
			c.get("app", "v1")
			c.blob("app", "one.config")
		}, []string{"pull app:v1 one config-only"}},

		{"crane manifest", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			s.client("crane").get("app", "v1")
		}, []string{"pull app:v1 one manifest-only"}},

		{"crane config --platform: index, child, config", func(s *sim) {
			a := s.image("amd64", "l1")
			s.has("app", a)
			s.has("app", s.index("idx", a), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config")
		}, []string{"pull app:v1 idx children=amd64 config-only"}},

		{"crane rebase, crane append: the base's manifest and config, then a push elsewhere", func(s *sim) {
			s.has("base", s.image("one", "l1"), "v1")
			c := s.client("crane")
			c.get("base", "v1")
			c.blob("base", "one.config")
			c.put("app", "v1", s.image("built", "l1", "l2"))
		}, []string{"push app:v1 built", "pull base:v1 one config-only"}},

		{"skopeo copy within a repository that has all blobs: only the config is read", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			c := s.client("skopeo")
			c.get("app", "v1")
			c.blob("app", "one.config")
			c.put("app", "v2", b)
		}, []string{"push app:v2 one", "pull app:v1 one config-only"}},

		{"an artifact without layers: its blob makes it a download", func(s *sim) {
			s.has("art", s.manifest("art", "application/vnd.example", "", nil), "v1")
			c := s.client("oras")
			c.get("art", "v1")
			c.blob("art", "art.config")
		}, []string{"pull art:v1 art kind=other"}},

		{"BuildKit's older cache: an index that lists layers", func(s *sim) {
			s.has("cache", s.blobIndex("cache", "l1", "l2"), "main")
			c := s.client("buildkit")
			c.get("cache", c.head("cache", "main"))
			c.blob("cache", "cache.config")
			c.blob("cache", "l1")
		}, []string{"pull cache:main cache"}},

		{"BuildKit's cache of today: its config alone", func(s *sim) {
			s.has("cache", s.manifest("cache", "application/vnd.buildkit.cacheconfig.v0", "", []string{"l1"}), "main")
			c := s.client("buildkit")
			c.get("cache", c.head("cache", "main"))
			c.blob("cache", "cache.config")
		}, []string{"pull cache:main cache kind=other config-only"}},

		{"a layer that is redirected", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.get("app", c.head("app", "v1"))
			c.blobbing("app", "one.config", 307).end(true)
			c.blobbing("app", "l1", 307).end(true)
		}, []string{"pull app:v1 one"}},

		{"a missing layer", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.get("app", c.head("app", "v1"))
			c.blobbing("app", "l1", 404).end(true)
		}, []string{"pull app:v1 one manifest-only"}},

		{"layers long after: once, however often it was inspected", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2", "l3"), "v1")
			c := s.client("buildkit")
			for range 3 {
				c.get("app", "v1")
				c.blob("app", "one.config")
				time.Sleep(time.Minute)
			}
			for _, layer := range []string{"l1", "l2", "l3"} {
				c.blob("app", layer)
				time.Sleep(time.Minute)
			}
		}, []string{
			"pull app:v1 one config-only", "pull app:v1 one config-only", "pull app:v1 one config-only", "pull app:v1 one",
		}},

		{"late layers belong to the pull, not to an earlier inspection", func(s *sim) {
			s.has("app", s.image("old", "base"), "v0")
			s.has("app", s.image("new", "l1", "base"), "v1")
			c := s.client("buildkit")
			c.get("app", c.head("app", "v0"))
			c.get("app", c.head("app", "v1"))
			c.blob("app", "l1")
			time.Sleep(time.Minute)
			c.blob("app", "base")
		}, []string{"pull app:v1 new", "pull app:v0 old manifest-only"}},

		{"a mount long after is no download", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			time.Sleep(time.Minute)
			c.mount("other", "app", "l1", 201)
		}, []string{"pull app:v1 one manifest-only"}},

		{"a manifest answered 206 with all of its bytes", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("oras")
			r := c.ranged("app", "v1", true)
			r.end(true)
			c.blob("app", "l1")
		}, []string{"pull app:v1 one"}},

		{"a part of a manifest", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("curl")
			c.ranged("app", "v1", false).end(true)
			c.blob("app", "l1")
		}, nil},
	})
}

// blobIndex returns an index that lists blobs itself: layers, and a config last.
func (s *sim) blobIndex(name string, layers ...string) []byte {
	list := []desc{}
	for _, l := range layers {
		list = append(list, desc{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: blobOf(l), Size: 100})
	}
	list = append(list, desc{MediaType: "application/vnd.buildkit.cacheconfig.v0", Digest: blobOf(name + ".config"), Size: 10})
	return s.named(name, map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list})
}

// ranged is a GET of a manifest that is answered 206.
func (c *client) ranged(repository, reference string, whole bool) *request {
	d, b := c.resolve(repository, reference)
	r := c.begin(detect.ManifestGet, repository, reference, func(op *detect.Operation) { op.Range = true })
	r.op.ContentDigest, r.op.MediaType, r.op.Whole = d, mediaTypeOf(b), whole
	r.op.Got = detect.Body{Bytes: b, Digest: d, MediaType: r.op.MediaType, Size: int64(len(b))}
	return r.answered(206)
}

// Sequences of requests that are one pull, or several.
func TestSequencesOfOnePull(t *testing.T) {
	runScenarios(t, []scenario{
		{"ko: base read twice, its layer mounted into two repositories", func(s *sim) {
			s.has("base", s.image("one", "l1"), "v1")
			c := s.client("ko")
			for range 2 {
				c.get("base", "v1")
				c.blob("base", "one.config")
			}
			c.mount("app-1", "base", "l1", 201)
			c.mount("app-2", "base", "l1", 201)
		}, []string{"pull base:v1 one"}},

		{"BuildKit: two solves read a base, its layer is downloaded, then mounted", func(s *sim) {
			s.has("base", s.image("one", "l1"), "v1")
			c := s.client("buildkit")
			c.get("base", c.head("base", "v1"))
			c.get("base", c.head("base", "v1"))
			c.blob("base", "one.config", "l1")
			c.mount("app", "base", "l1", 201)
		}, []string{"pull base:v1 one"}},

		{"imagetools inspect: HEAD, GET, HEAD, GET, children, configs", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("containerd/2")
			c.get("app", c.head("app", "v1"))
			c.get("app", c.head("app", "v1"))
			for _, child := range [][]byte{a, b} {
				c.get("app", digestOfBytes(child))
				c.blob("app", s.names[digestOfBytes(child)]+".config")
			}
		}, []string{"pull app:v1 idx children=amd64+arm64 config-only"}},

		{"imagetools inspect --format Provenance: one attestation's blob moves", func(s *sim) {
			a := s.image("amd64", "l1")
			att := s.attestation("att", a)
			s.has("app", a)
			s.has("app", att)
			s.has("app", s.index("idx", a, att), "v1")
			c := s.client("containerd/2")
			for range 2 {
				c.get("app", c.head("app", "v1"))
			}
			c.get("app", digestOfBytes(a))
			c.get("app", digestOfBytes(att))
			c.blob("app", "amd64.config", "att.provenance")
		}, []string{"pull app:v1 idx children=amd64+att"}},

		{"imagetools create after a rebuild: referrers 404, the attestation's layer is new", func(s *sim) {
			a := s.image("amd64", "l1")
			att := s.attestation("att", a)
			idx := s.index("idx", a, att)
			s.has("src", a)
			s.has("src", att)
			s.has("src", idx, "v1")
			c := s.client("containerd/2")
			c.get("src", c.head("src", "v1"))
			for _, m := range [][]byte{idx, a, att} {
				d := digestOfBytes(m)
				c.begin(detect.Referrers, "src", d, nil).answered(404).end(true)
				c.head("src", strings.Replace(d, ":", "-", 1))
			}
			c.get("src", digestOfBytes(a))
			c.get("src", digestOfBytes(att))
			c.blob("src", "att.provenance")
		}, []string{"pull src:v1 idx children=amd64+att"}},

		{"containerd 2: another platform at once", func(s *sim) {
			c := s.twoPlatforms()
			c.head("app", "v1")
			for _, layer := range []string{"l2", "l3"} {
				c.blobbing("app", layer, 206).end(true)
			}
		}, []string{"pull app:v1 idx children=amd64+arm64", "pull app:v1 idx children=arm64"}},

		{"containerd 2: another platform minutes later", func(s *sim) {
			c := s.twoPlatforms()
			time.Sleep(5 * time.Minute)
			c.head("app", "v1")
			c.blob("app", "l2", "l3")
		}, []string{"pull app:v1 idx children=amd64+arm64", "pull app:v1 idx children=arm64"}},

		{"BuildKit: the second HEAD after the index was read, both platforms' layers", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("buildkit")
			c.get("app", c.head("app", "v1"))
			c.head("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "l1")
			c.get("app", digestOfBytes(b))
			c.blob("app", "l2")
		}, []string{"pull app:v1 idx children=amd64"}},

		{"two docker daemons behind one address, the second GET ends first", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker/29")
			c.head("app", "v1")
			c.head("app", "v1")
			first, second := c.getting("app", d), c.getting("app", d)
			second.end(true)
			first.end(true)
			c.blob("app", "one.config", "l1")
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one", "pull app:v1 one"}},

		{"two podmans behind one address, seconds after each other, then both fetch", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2"), "v1")
			c := s.client("podman")
			c.get("app", "v1")
			time.Sleep(8 * time.Second)
			c.get("app", "v1")
			c.blob("app", "l1", "l2", "l1", "l2")
		}, []string{"pull app:v1 one", "pull app:v1 one"}},

		{"by tag, and seconds later by digest, both in full", func(s *sim) {
			d := s.has("app", s.image("one", "l1", "l2"), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.blob("app", "l1", "l2")
			time.Sleep(8 * time.Second)
			c.get("app", d)
			c.blob("app", "l1", "l2")
		}, []string{"pull app:v1 one", "pull app one"}},

		{"by tag and by digest, its layers once", func(s *sim) {
			d := s.has("app", s.image("one", "l1", "l2"), "v1")
			c := s.client("imgpkg")
			c.get("app", "v1")
			time.Sleep(8 * time.Second)
			c.get("app", d)
			c.blob("app", "l1", "l2")
		}, []string{"pull app:v1 one", "pull app one manifest-only"}},

		{"two containerds behind one address, the manifest in their stores", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			s.client("podman").get("app", "v1")
			c := s.client("containerd")
			c.head("app", "v1")
			c.head("app", "v1")
			c.blob("app", "l1")
			c.blob("app", "l1")
		}, []string{"pull app:v1 one", "pull app:v1 one", "pull app:v1 one manifest-only"}},

		{"a HEAD of a child's tag before its index was read does not count", func(s *sim) {
			a := s.image("amd64", "l1")
			s.has("app", a, "v1-amd64")
			s.has("app", s.index("idx", a), "v1")
			c := s.client("docker")
			c.head("app", "v1-amd64")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "l1")
		}, []string{"pull app:v1 idx children=amd64"}},

		{"a child, read after the index's client was quiet", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "l1")
			time.Sleep(time.Minute)
			c.get("app", digestOfBytes(b))
			c.blob("app", "l2")
		}, []string{"pull app:v1 idx children=amd64", "pull app arm64"}},

		{"a child and then its index, both by digest without a tag", func(s *sim) {
			a := s.image("amd64", "l1")
			s.has("app", a)
			idx := s.has("app", s.index("idx", a))
			c := s.client("crane")
			c.get("app", digestOfBytes(a))
			c.get("app", idx)
			c.get("app", digestOfBytes(a))
			c.blob("app", "l1")
		}, []string{"pull app idx children=amd64", "pull app amd64 manifest-only"}},

		{"docker: the fallback tag resolved by HEAD and read by digest", func(s *sim) {
			img := s.image("one", "l1")
			ref := s.manifest("ref", "application/x", "", []string{"r"})
			fallback := strings.Replace(digestOfBytes(img), ":", "-", 1)
			s.has("app", ref)
			s.has("app", s.index("refs", ref), fallback)
			c := s.client("docker/29")
			c.get("app", c.head("app", fallback))
			c.get("app", digestOfBytes(ref))
			c.blob("app", "r")
		}, nil},

		{"a refused list of referrers changes nothing", func(s *sim) {
			img := s.image("one", "l1")
			ref := s.manifest("ref", "application/x", digestOfBytes(img), []string{"r"})
			s.has("app", ref)
			c := s.client("oras")
			c.begin(detect.Referrers, "app", digestOfBytes(img), nil).answered(404).end(true)
			c.get("app", digestOfBytes(ref))
			c.blob("app", "r")
		}, []string{"pull app ref kind=referrer of=one"}},
	})
}

// attestation returns the manifest that BuildKit makes as the attestation of an image.
func (s *sim) attestation(name string, of []byte) []byte {
	return s.named(name, map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": detect.BuildKitAttestation,
		"config":  desc{MediaType: "application/vnd.oci.empty.v1+json", Digest: blobOf("{}"), Size: 2},
		"layers":  []desc{{MediaType: "application/vnd.in-toto+json", Digest: blobOf(name + ".provenance"), Size: 100}},
		"subject": desc{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digestOfBytes(of), Size: int64(len(of))},
	})
}

// twoPlatforms is the first pull of containerd 2: all manifests and configs, and one platform's
// layers.
func (s *sim) twoPlatforms() *client {
	a, b := s.image("amd64", "l1"), s.image("arm64", "l2", "l3")
	s.has("app", a)
	s.has("app", b)
	s.has("app", s.index("idx", a, b), "v1")
	c := s.client("containerd/2")
	c.get("app", c.head("app", "v1"))
	c.get("app", digestOfBytes(a))
	c.get("app", digestOfBytes(b))
	c.blob("app", "amd64.config", "arm64.config", "l1")
	return c
}
