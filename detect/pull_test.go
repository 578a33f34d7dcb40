package detect

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPullRows walks the rows of DESIGN §4.2's table of pulls.
func TestPullRows(t *testing.T) {
	runScenarios(t, []scenario{
		{"1 an up-to-date check", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			s.client("docker").head("app", "v1")
		}, nil},
		{"1 no success", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			for _, status := range []int{304, 307, 401, 404, 500, 503} {
				c.begin(ManifestGet, "app", "v1", nil).answered(status).end(true)
			}
		}, nil},
		{"1 a manifest that broke off", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			s.client("crane").getting("app", "v1").end(false)
		}, nil},
		{"1 fallback tags read", func(s *sim) {
			img, sig := s.image("one", "l1"), s.image("sig", "payload")
			fallback := strings.Replace(digestOfBytes(img), ":", "-", 1)
			s.has("app", img, "v1")
			s.has("app", sig, fallback+".sig", fallback+".att", fallback+".sbom")
			s.has("app", s.index("refs", sig), fallback)
			c := s.client("cosign")
			for _, suffix := range []string{"", ".sig", ".att", ".sbom"} {
				c.get("app", fallback+suffix)
			}
			c.blob("app", "sig.config", "payload")
			c.get("app", digestOfBytes(sig))
			c.blob("app", "payload")
		}, nil},
		{"1 the subject itself, after its accessories", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("cosign")
			c.begin(Referrers, "app", d, nil).answered(404).end(true)
			c.get("app", strings.Replace(d, ":", "-", 1))
			c.get("app", d)
			c.blob("app", "l1")
		}, []string{"pull app one"}},
		{"1 an accessory after its fallback tag", func(s *sim) {
			img := s.image("one", "l1")
			ref := s.manifest("ref", "application/x", digestOfBytes(img), []string{"r"})
			fallback := strings.Replace(digestOfBytes(img), ":", "-", 1)
			s.has("app", ref)
			s.has("app", s.index("refs", ref), fallback)
			c := s.client("cosign")
			c.get("app", fallback)
			c.get("app", digestOfBytes(ref))
			c.blob("app", "ref.config", "r")
		}, nil},
		{"1 an accessory after its referrers list", func(s *sim) {
			img := s.image("one", "l1")
			ref := s.manifest("ref", "application/x", digestOfBytes(img), []string{"r"})
			s.has("app", ref)
			c := s.client("oras")
			c.begin(Referrers, "app", digestOfBytes(img), nil).answered(200).end(true)
			c.get("app", digestOfBytes(ref))
			c.blob("app", "r")
		}, nil},
		{"1 an accessory asked for by its digest alone", func(s *sim) {
			ref := s.manifest("ref", "application/x", blobOf("some"), []string{"r"})
			s.has("app", ref)
			c := s.client("oras")
			c.get("app", digestOfBytes(ref))
			c.blob("app", "r")
		}, []string{"pull app ref kind=referrer of="}},

		{"2 helm --verify", func(s *sim) {
			s.has("demo", s.manifest("demo", helmConfig, "", []string{"chart", "prov"}), "0.1.0")
			c := s.client("helm")
			c.get("demo", "0.1.0")
			c.blob("demo", "demo.config", "chart")
			c.get("demo", "0.1.0")
			c.blob("demo", "prov", "demo.config")
		}, []string{"pull demo:0.1.0 demo kind=chart"}},
		{"2 helm pull twice in a row", func(s *sim) {
			s.has("demo", s.manifest("demo", helmConfig, "", []string{"chart"}), "0.1.0")
			c := s.client("helm")
			for range 2 {
				c.get("demo", "0.1.0")
				c.blob("demo", "demo.config", "chart")
			}
		}, []string{"pull demo:0.1.0 demo kind=chart", "pull demo:0.1.0 demo kind=chart"}},
		{"2 podman pull of what is present, twice in a row", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("podman")
			for range 2 {
				c.get("app", "v1")
				c.blob("app", "one.config")
			}
		}, []string{"pull app:v1 one"}},
		{"2 … and after a pause", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("podman")
			for range 2 {
				c.get("app", "v1")
				c.blob("app", "one.config")
				time.Sleep(6 * time.Second)
			}
		}, []string{"pull app:v1 one", "pull app:v1 one"}},
		{"2 a docker pull after a pause, its HEAD just before", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			for range 2 {
				c.get("app", c.head("app", "v1"))
				c.blob("app", "one.config", "l1")
				time.Sleep(6 * time.Second)
			}
		}, []string{"pull app:v1 one", "pull app:v1 one"}},
		{"2 a transfer in flight is not quiet", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2"), "v1")
			c := s.client("helm")
			c.get("app", "v1")
			r := c.blobbing("app", "l1", 200)
			time.Sleep(10 * time.Minute)
			c.get("app", "v1")
			r.end(true)
			c.blob("app", "l2")
		}, []string{"pull app:v1 one"}},
		{"2 a cut layer is asked for again", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("regctl")
			c.get("app", "v1")
			c.get("app", "v1")
			c.blobbing("app", "l1", 200).end(false)
			c.blob("app", "l1")
			c.blobbing("app", "l1", 206).end(true)
		}, []string{"pull app:v1 one"}},
		{"2 the index again, then another child", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config", "l1")
			c.get("app", "v1")
			c.get("app", digestOfBytes(b))
			c.blob("app", "arm64.config", "l2")
		}, []string{"pull app:v1 idx children=amd64", "pull app:v1 idx children=arm64"}},
		{"2 docker manifest inspect reads twice before any child", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("docker-cli")
			c.get("app", "v1")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config")
			c.get("app", digestOfBytes(b))
			c.blob("app", "arm64.config")
		}, []string{"pull app:v1 idx children=amd64"}},
		{"2 the tag has moved", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.blob("app", "l1")
			s.has("app", s.image("two", "l2"), "v1")
			c.get("app", "v1")
			c.blob("app", "l2")
		}, []string{"pull app:v1 one", "pull app:v1 two"}},

		{"3 children, minutes later", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("skopeo")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config", "l1")
			time.Sleep(5 * time.Minute)
			c.get("app", digestOfBytes(b))
			c.blob("app", "arm64.config", "l2")
		}, []string{"pull app:v1 idx children=amd64"}},
		{"3 every platform (ctr)", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("ctr")
			c.get("app", c.head("app", "v1"))
			c.get("app", digestOfBytes(a))
			c.get("app", digestOfBytes(b))
			c.blob("app", "amd64.config", "arm64.config", "l1", "l2")
		}, []string{"pull app:v1 idx children=amd64+arm64"}},
		{"3 unless a HEAD resolved a tag to the child", func(s *sim) {
			a := s.image("amd64", "l1")
			s.has("app", a, "v1-amd64")
			s.has("app", s.index("idx", a), "v1")
			c := s.client("docker")
			c.get("app", "v1")
			c.get("app", c.head("app", "v1-amd64"))
			c.blob("app", "amd64.config")
		}, []string{"pull app:v1-amd64 amd64", "pull app:v1 idx manifest-only"}},
		{"3 the tag resolved again, the index in the client's store", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("docker")
			c.get("app", c.head("app", "v1"))
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config", "l1")
			c.head("app", "v1")
			c.get("app", digestOfBytes(b))
			c.blob("app", "arm64.config", "l2")
		}, []string{"pull app:v1 idx children=amd64", "pull app:v1 idx children=arm64"}},

		{"4 a read-back", func(s *sim) {
			c := s.client("oras")
			a := s.image("amd64", "l1")
			idx := s.index("idx", a)
			c.put("app", digestOfBytes(a), a)
			c.get("app", digestOfBytes(a))
			c.put("app", "v1", idx)
			c.get("app", digestOfBytes(idx))
		}, []string{"push app:v1 idx children=amd64"}},
		{"4 … with blobs it is a pull", func(s *sim) {
			c := s.client("docker")
			c.put("app", "v1", s.image("one", "l1"))
			c.get("app", c.head("app", "v1"))
			c.blob("app", "one.config", "l1")
		}, []string{"push app:v1 one", "pull app:v1 one"}},

		{"5 crane tag", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.put("app", "v1.1", b)
		}, []string{"push app:v1.1 one"}},
		{"5 skopeo delete", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			c := s.client("skopeo")
			c.get("app", "v1")
			c.del("app", digestOfBytes(b))
		}, []string{"delete app:v1 one"}},
		{"5 oras manifest delete", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1", "v2")
			c := s.client("oras")
			c.head("app", "v1")
			c.get("app", digestOfBytes(b))
			c.del("app", digestOfBytes(b))
		}, []string{"delete app:v1 one"}},
		{"5 not when a blob was fetched", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			c := s.client("podman")
			c.get("app", "v1")
			c.blob("app", "l1")
			c.put("app", "v2", b)
		}, []string{"pull app:v1 one", "push app:v2 one"}},
		{"5 not another client's", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			s.client("crane").get("app", "v1")
			s.client("docker").put("app", "v2", b)
		}, []string{"push app:v2 one", "pull app:v1 one manifest-only"}},

		{"6 by tag", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("podman")
			c.get("app", "v1")
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},
		{"7 by digest after a HEAD", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.get("app", c.head("app", "v1"))
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},
		{"7 the newest HEAD that no GET has taken", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "a", "b", "c")
			c := s.client("docker")
			c.head("app", "a")
			c.head("app", "b")
			c.get("app", d)
			c.head("app", "c")
			c.get("app", d)
			c.blob("app", "one.config")
		}, []string{"pull app:c one", "pull app:b one"}},
		{"7 not after quiet", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.head("app", "v1")
			time.Sleep(time.Minute)
			c.get("app", d)
			c.blob("app", "one.config")
		}, []string{"pull app one"}},
		{"7 a GET that failed gives the HEAD back", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.head("app", "v1")
			c.begin(ManifestGet, "app", d, nil).answered(503).end(true)
			c.get("app", d)
			c.blob("app", "one.config")
		}, []string{"pull app:v1 one"}},
		{"7 not another client's HEAD", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			s.client("docker").head("app", "v1")
			c := s.client("containerd")
			c.get("app", d)
			c.blob("app", "one.config")
		}, []string{"pull app one"}},
		{"8 the manifest in the client's store", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2"), "v1")
			s.client("podman").get("app", "v1")
			c := s.client("containerd")
			c.head("app", "v1")
			c.blob("app", "l1", "l2")
		}, []string{"pull app:v1 one", "pull app:v1 one manifest-only"}},
		{"8 … after a restart, from what is stored", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2"), "v1")
			s.client("podman").get("app", "v1")
			time.Sleep(time.Minute)
			s.crash()
			c := s.client("containerd")
			c.head("app", "v1")
			c.blob("app", "l1", "l2")
		}, []string{"pull app:v1 one manifest-only", "pull app:v1 one"}},
		{"8 a child of an index in the client's store", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.client("crane").put("app", digestOfBytes(a), a)
			s.client("crane").put("app", digestOfBytes(b), b)
			s.client("crane").put("app", "v1", s.index("idx", a, b))
			c := s.client("containerd")
			c.head("app", "v1")
			c.get("app", digestOfBytes(b))
			c.blob("app", "arm64.config", "l2")
		}, []string{"push app:v1 idx children=amd64+arm64", "pull app:v1 idx children=arm64"}},
		{"8 the same image again, its layers lost", func(s *sim) {
			s.has("app", s.image("one", "l1", "l2"), "v1")
			c := s.client("containerd")
			c.get("app", c.head("app", "v1"))
			c.blob("app", "one.config", "l1", "l2")
			c.head("app", "v1")
			c.blob("app", "l1", "l2")
		}, []string{"pull app:v1 one", "pull app:v1 one"}},
		{"8 mounts do not count", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			s.client("podman").get("app", "v1")
			c := s.client("docker")
			c.head("app", "v1")
			c.mount("other", "app", "l1", 201)
		}, []string{"pull app:v1 one manifest-only"}},
		{"8 a manifest through blobs", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			s.client("podman").get("app", "v1")
			c := s.client("lab")
			c.begin(BlobGet, "app", digestOfBytes(b), nil).answered(200).end(true)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app one", "pull app:v1 one manifest-only"}},
		{"8 a manifest through blobs after its HEAD", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			s.client("podman").get("app", "v1")
			c := s.client("lab")
			c.head("app", "v1")
			c.begin(BlobGet, "app", digestOfBytes(b), nil).answered(200).end(true)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one", "pull app:v1 one manifest-only"}},
		{"9 by digest", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.head("app", d)
			c.get("app", d)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app one"}},
	})
}

// TestDownloads is about what makes a pull download, and when.
func TestDownloads(t *testing.T) {
	one := func(s *sim) *client {
		s.has("app", s.image("one", "l1"), "v1")
		c := s.client("crane")
		c.get("app", "v1")
		return c
	}
	var all []scenario
	for _, status := range []int{200, 206, 301, 302, 303, 307, 308} {
		all = append(all, scenario{fmt.Sprintf("a blob answered %d", status), func(s *sim) {
			one(s).blobbing("app", "l1", status).end(true)
		}, []string{"pull app:v1 one"}})
	}
	for _, status := range []int{304, 401, 404, 416, 500, 503} {
		all = append(all, scenario{fmt.Sprintf("a blob answered %d", status), func(s *sim) {
			one(s).blobbing("app", "l1", status).end(true)
		}, []string{"pull app:v1 one manifest-only"}})
	}
	runScenarios(t, append(all, []scenario{
		{"a blob of something else", func(s *sim) {
			one(s).blob("app", "l9")
		}, []string{"pull app:v1 one manifest-only"}},
		{"a mount", func(s *sim) { one(s).mount("copy", "app", "l1", 201) }, []string{"pull app:v1 one"}},
		{"a mount that was not made", func(s *sim) { one(s).mount("copy", "app", "l1", 202) }, []string{"pull app:v1 one manifest-only"}},
		{"quiet, then a blob after all (BuildKit)", func(s *sim) {
			c := one(s)
			time.Sleep(10 * time.Minute)
			c.blob("app", "one.config", "l1")
			c.blob("app", "l1")
		}, []string{"pull app:v1 one manifest-only", "pull app:v1 one"}},
		{"a blob before the manifest's end is noted", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("crane")
			r := c.getting("app", "v1")
			b := c.blobbing("app", "l1", 200)
			r.end(true)
			b.end(true)
		}, []string{"pull app:v1 one"}},
		{"a copy", func(s *sim) {
			b := s.image("one", "l1")
			s.has("src", b, "v1")
			c := s.client("crane")
			c.get("src", "v1")
			c.mount("dst", "src", "l1", 201)
			c.put("dst", "v1", b)
		}, []string{"pull src:v1 one", "push dst:v1 one"}},
		{"a copy that moves no blob", func(s *sim) {
			b := s.image("one", "l1")
			s.has("src", b, "v1")
			c := s.client("crane")
			c.get("src", "v1")
			c.put("dst", "v1", b)
		}, []string{"push dst:v1 one", "pull src:v1 one manifest-only"}},
		{"a redirect asked for again is the next pull", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("podman")
			for range 2 {
				c.get("app", "v1")
				c.blobbing("app", "l1", 307).end(true)
			}
		}, []string{"pull app:v1 one", "pull app:v1 one"}},
		{"a layer twice without reading again", func(s *sim) {
			c := one(s)
			c.blob("app", "l1", "l1")
		}, []string{"pull app:v1 one"}},
	}...))
}

// TestCrowds is about clients that look like one, and one that looks like many.
func TestCrowds(t *testing.T) {
	runScenarios(t, []scenario{
		{"two tags of one digest at once, by HEAD", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "a", "b")
			c := s.client("docker")
			c.head("app", "a")
			c.head("app", "b")
			p, q := c.getting("app", d), c.getting("app", d)
			p.end(true)
			q.end(true)
			c.blob("app", "one.config", "l1", "one.config", "l1")
		}, []string{"pull app:a one", "pull app:b one"}},
		{"two tags of one digest at once, by tag", func(s *sim) {
			s.has("app", s.image("one", "l1"), "a", "b")
			c := s.client("podman")
			p, q := c.getting("app", "a"), c.getting("app", "b")
			p.end(true)
			q.end(true)
			c.blob("app", "one.config", "l1", "one.config", "l1")
		}, []string{"pull app:b one", "pull app:a one"}},
		{"one client on two connections, HEAD and GET", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("containerd")
			c.get("app", c.head("app", "v1"))
			c.blob("app", "l1")
		}, []string{"pull app:v1 one"}},
		{"three clients at one address", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1", "v2")
			p, q, r := s.client("docker"), s.client("containerd"), s.client("podman")
			p.head("app", "v1")
			q.head("app", "v2")
			r.get("app", "v1")
			q.get("app", d)
			p.get("app", d)
			for _, c := range []*client{r, p, q} {
				c.blob("app", "one.config", "l1")
			}
		}, []string{"pull app:v1 one", "pull app:v1 one", "pull app:v2 one"}},
		{"docker pull -a", func(s *sim) {
			s.has("app", s.image("one", "l1"), "a", "b")
			s.has("app", s.image("two", "l2"), "c")
			c := s.client("docker")
			c.begin(TagsList, "app", "", nil).answered(200).end(true)
			c.get("app", c.head("app", "a"))
			c.blob("app", "one.config", "l1")
			c.head("app", "b")
			c.get("app", c.head("app", "c"))
			c.blob("app", "two.config", "l2")
		}, []string{"pull app:a one", "pull app:c two"}},
		{"images that share a layer", func(s *sim) {
			s.has("app", s.image("one", "base", "l1"), "a")
			s.has("app", s.image("two", "base", "l2"), "b")
			c := s.client("crane")
			c.get("app", "a")
			c.blob("app", "one.config", "base", "l1")
			c.get("app", "b")
			c.blob("app", "two.config", "base", "l2")
		}, []string{"pull app:a one", "pull app:b two"}},
	})
}

// TestHundredNodes: nodes behind one address, with one user agent, that each pull the same image within a second.
func TestHundredNodes(t *testing.T) {
	for name, pull := range map[string]func(c *client, d string){
		"one after the other, by HEAD": func(c *client, d string) {
			c.head("app", "v1")
			c.get("app", d)
			c.blob("app", "one.config", "l1", "l2")
		},
		"one after the other, by tag": func(c *client, _ string) {
			c.get("app", "v1")
			c.blob("app", "one.config", "l1", "l2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := simulate(t, func(s *sim) {
				d := s.has("app", s.image("one", "l1", "l2"), "v1")
				s.took = time.Millisecond
				for range 100 {
					pull(s.client("containerd"), d)
				}
			})
			checkHundred(t, got)
		})
	}
	t.Run("all at once, phase by phase", func(t *testing.T) {
		got := simulate(t, func(s *sim) {
			d := s.has("app", s.image("one", "l1", "l2"), "v1")
			s.took = 0
			c := s.client("containerd")
			var gets, blobs []*request
			for range 100 {
				c.head("app", "v1")
			}
			for range 100 {
				gets = append(gets, c.getting("app", d))
			}
			for _, r := range gets {
				r.end(true)
			}
			for _, name := range []string{"one.config", "l2", "l1"} {
				for range 100 {
					blobs = append(blobs, c.blobbing("app", name, 200))
				}
			}
			for _, r := range blobs {
				r.end(true)
			}
		})
		checkHundred(t, got)
	})
}

func checkHundred(t *testing.T, got []string) {
	t.Helper()
	if want := slices.Repeat([]string{"pull app:v1 one"}, 100); !slices.Equal(got, want) {
		t.Errorf("%d events: %q", len(got), slices.Compact(got))
	}
}
