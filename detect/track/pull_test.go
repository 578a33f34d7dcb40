package track

import (
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The rows of the table of pulls in docs/design.md.
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
				c.begin(detect.ManifestGet, "app", "v1", nil).answered(status).end(true)
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
			c.begin(detect.Referrers, "app", d, nil).answered(404).end(true)
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
			c.begin(detect.Referrers, "app", digestOfBytes(img), nil).answered(200).end(true)
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
		}, []string{"pull app:v1 one config-only"}},
		{"2 … and after a pause", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("podman")
			for range 2 {
				c.get("app", "v1")
				c.blob("app", "one.config")
				time.Sleep(6 * time.Second)
			}
		}, []string{"pull app:v1 one config-only", "pull app:v1 one config-only"}},
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
		}, []string{"pull app:v1 idx children=amd64+arm64 config-only"}},
		{"2 the tag has moved", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("crane")
			c.get("app", "v1")
			c.blob("app", "l1")
			s.has("app", s.image("two", "l2"), "v1")
			c.get("app", "v1")
			c.blob("app", "l2")
		}, []string{"pull app:v1 one", "pull app:v1 two"}},

		{"3 children, minutes later, while a blob is on its way", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("skopeo")
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config")
			r := c.blobbing("app", "l1", 200)
			time.Sleep(5 * time.Minute)
			r.end(true)
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
			c.blob("app", "amd64.config", "l1")
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
		{"4 a read-back, and then a pull of the same index at once", func(s *sim) {
			c := s.client("oras")
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			idx := s.index("idx", a, b)
			for _, child := range [][]byte{a, b} {
				c.put("app", digestOfBytes(child), child)
				c.get("app", digestOfBytes(child))
			}
			c.put("app", "v1", idx)
			c.get("app", digestOfBytes(idx))
			c.get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "amd64.config", "l1")
			c.get("app", digestOfBytes(b))
			c.blob("app", "arm64.config", "l2")
		}, []string{"push app:v1 idx children=amd64+arm64", "pull app:v1 idx children=amd64"}},
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
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:c one", "pull app:b one"}},
		{"7 not after quiet", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.head("app", "v1")
			time.Sleep(time.Minute)
			c.get("app", d)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app one"}},
		{"7 a GET that failed gives the HEAD back", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.head("app", "v1")
			c.begin(detect.ManifestGet, "app", d, nil).answered(503).end(true)
			c.get("app", d)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},
		{"7 not another client's HEAD", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			s.client("docker").head("app", "v1")
			c := s.client("containerd")
			c.get("app", d)
			c.blob("app", "one.config", "l1")
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
		{"2 copied twice by mounts", func(s *sim) {
			c := s.client("crane")
			s.has("app", s.image("one", "l1"), "v1")
			for _, to := range []string{"two", "three"} {
				c.get("app", "v1")
				c.mount(to, "app", "one.config", 201)
				c.mount(to, "app", "l1", 201)
			}
		}, []string{"pull app:v1 one", "pull app:v1 one"}},
		{"2 mounted, and then downloaded", func(s *sim) {
			c := s.client("crane")
			s.has("app", s.image("one", "l1"), "v1")
			c.get("app", "v1")
			c.mount("two", "app", "l1", 201)
			c.get("app", "v1")
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one", "pull app:v1 one"}},
		{"2 pulled, looked at again and pushed elsewhere by mount", func(s *sim) {
			c := s.client("docker")
			s.has("app", s.image("one", "l1"), "v1")
			c.get("app", c.head("app", "v1"))
			c.blob("app", "one.config", "l1")
			c.head("app", "v1")
			c.mount("two", "app", "l1", 201)
		}, []string{"pull app:v1 one"}},
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
			c.begin(detect.BlobGet, "app", digestOfBytes(b), nil).answered(200).end(true)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app one", "pull app:v1 one manifest-only"}},
		{"8 a manifest through blobs after its HEAD", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			s.client("podman").get("app", "v1")
			c := s.client("lab")
			c.head("app", "v1")
			c.begin(detect.BlobGet, "app", digestOfBytes(b), nil).answered(200).end(true)
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
