package events

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestOtherRegistries runs clients against registries that differ from distribution 3. distribution
// 2.8 answers 400 to the delete of a tag. The registry of go-containerregistry has no referrers API
// and does not verify uploads.
func TestOtherRegistries(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real registries and clients")
	}
	t.Run("distribution-2.8", func(t *testing.T) {
		t.Parallel()
		registry := harness.Registry(t, harness.RegistryOptions{Part: "docker-registry", Delete: true})
		raiseOn(t, "anonymous", registry, registry.URL).play(t, []part{
			{"skopeo", skopeo}, {"regctl", regctl}, {"oras", oras}, {"helm3", helm}, {"attested", attested}, {"inspected", inspected},
		})
	})
	t.Run("go-containerregistry", func(t *testing.T) {
		t.Parallel()
		registry := harness.CraneRegistry(t)
		s := raiseOn(t, "anonymous", registry, registry.URL)
		s.shared = true
		s.play(t, []part{
			{"crane", crane}, {"helm3", helm}, {"attested", attested}, {"inspected", inspected},
		})
	})
}

// Only writes require a login, so a part of each operation is anonymous.
func TestOpenReads(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real registries and clients")
	}
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	s := raiseOn(t, "basic", registry, openReads(t, registry.URL))
	s.direct = registry.Host
	s.play(t, []part{{"regctl-half", regctlHalf}, {"oras-half", orasHalf}})
}

// openReads is a proxy in front of a registry that requires a login for writes.
func openReads(t *testing.T, registry string) string {
	t.Helper()
	h := harness.NewFaultProxy(t, registry)
	h.TwistAll(func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		name, word, _ := r.BasicAuth()
		known := name == user && subtle.ConstantTimeCompare([]byte(word), []byte(password)) == 1
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !known {
			w.Header().Set("WWW-Authenticate", `Basic realm="writers"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		pass.ServeHTTP(w, r)
	})
	return h.URL
}

func regctlHalf(s *script) {
	one, many := image(), multi()
	s.seed("src:v1", one)
	s.seed("many:v1", many)
	reg := func(args ...string) {
		s.t.Helper()
		s.run("regctl", append([]string{"--host", "reg=" + s.buoy.Host + ",tls=disabled"}, args...)...)
	}
	reg("image", "copy", s.ref("src:v1"), s.ref("dst:v1"))
	s.expectsLine("pull", "src:v1", string(one.Digest))
	s.expectsLine("push", "dst:v1", string(one.Digest))
	reg("image", "copy", s.ref("many:v1"), s.ref("copy:v1"))
	s.expectsLine("pull", "many:v1", string(many.Digest))
	s.expectsLine("push", "copy:v1", string(many.Digest))
	reg("image", "copy", s.ref("dst:v1"), s.ref("dst:v2"))
	s.expectsLine("push", "dst:v2", string(one.Digest))
	reg("tag", "delete", s.ref("dst:v2"))
	s.expectsLine("untag", "dst:v2", string(one.Digest))
}

func orasHalf(s *script) {
	one := image()
	s.run("oras", "cp", "--to-plain-http", "--from-oci-layout", one.Layout(s.t, "x")+":x", s.ref("app:v1"))
	s.expectsLine("push", "app:v1", string(one.Digest))
	s.run("oras", "tag", "--plain-http", s.ref("app:v1"), "v2")
	s.expectsLine("push", "app:v2", string(one.Digest))
	s.run("oras", "manifest", "delete", "-f", "--plain-http", s.ref("app:v2"))
	s.expectsLine("delete", "app:v1,v2", string(one.Digest))
}

// attested copies and pushes what buildx builds: an index of an image and an attestation whose
// subject is the image.
func attested(s *script) {
	img := harness.NewImage(harness.ImageOptions{Layers: 2})
	index := func() harness.Artifact {
		return harness.NewIndex(img, harness.NewImage(harness.ImageOptions{
			ArtifactType: "application/vnd.docker.attestation.manifest.v1+json", Subject: &img.Descriptor, Platform: "unknown/unknown",
		}))
	}
	first, second := index(), index()
	s.seed("src:v1", first)
	s.run("crane", "copy", "--insecure", s.ref("src:v1"), s.ref("crane:v1"))
	s.expectsCopyLine("src:v1", string(first.Digest))
	s.expectsLine("push", "crane:v1", string(first.Digest))
	s.run("oras", "cp", "--from-plain-http", "--to-plain-http", s.ref("src:v1"), s.ref("oras:v1"))
	s.expectsCopyLine("src:v1", string(first.Digest))
	s.expectsLine("push", "oras:v1", string(first.Digest))
	s.run("regctl", "--host", "reg="+s.buoy.Host+",tls=disabled", "image", "copy", s.ref("src:v1"), s.ref("regctl:v1"))
	s.expectsCopyLine("src:v1", string(first.Digest))
	s.expectsLine("push", "regctl:v1", string(first.Digest))

	b := s.call("127.0.0.1", "buildkit/v0.34") // builds again: the same image, with a new attestation
	repo := s.name + "/src"
	b.head(repo, string(img.Digest))
	att := second.Children[1]
	b.upload(repo, att)
	b.put(repo, string(att.Digest), att)
	b.put(repo, "v1", second)
	s.expectsLine("push", "src:v1", string(second.Digest))
}

// inspected reads no layers. Only webhooks with manifest_reads get such events.
func inspected(s *script) {
	one, many := image(), multi()
	s.seed("app:v1", one)
	s.seed("many:v1", many)
	reg := []string{"--host", "reg=" + s.buoy.Host + ",tls=disabled"}
	s.run("crane", "config", "--insecure", s.ref("app:v1"))
	s.run("crane", "config", "--insecure", "--platform", "linux/arm64", s.ref("many:v1"))
	s.run("crane", "manifest", "--insecure", s.ref("many:v1"))
	s.run("regctl", append(slices.Clone(reg), "image", "inspect", s.ref("app:v1"))...)
	s.run("oras", "manifest", "fetch-config", "--plain-http", s.ref("app:v1"))
	s.run("regctl", append(slices.Clone(reg), "index", "create", "--ref", s.ref("app@"+string(one.Digest)), s.ref("app:list"))...)
	s.expectsLine("push", "app:list", s.digest("app:list"))
}
