package events

import (
	"bytes"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// An s3Stage is bellbuoy in front of a registry that keeps its blobs in S3 and redirects clients
// there. A proxy in front of each records the requests.
type s3Stage struct {
	*harness.Stage
	storage *harness.FaultProxy // in front of the S3

	mu     sync.Mutex
	issued map[string]bool // the URLs to which the registry redirected reads of blobs
}

func newS3Stage(t *testing.T, upstream string) *s3Stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real registries and clients")
	}
	s := &s3Stage{issued: map[string]bool{}}
	s.storage = harness.NewFaultProxy(t, harness.S3(t).URL)
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true, S3: s.storage.URL})
	h := harness.NewFaultProxy(t, registry.URL)
	h.Twist(-1, http.MethodGet, "/blobs/sha256:", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		answer := harness.Forward(r, pass)
		if answer.Code == http.StatusTemporaryRedirect {
			s.mu.Lock()
			s.issued[answer.Header().Get("Location")] = true
			s.mu.Unlock()
		}
		harness.WriteAnswer(w, answer)
	})
	s.Stage = harness.NewStage(t, harness.RegistryUpstream(h.URL, upstream))
	return s
}

// TestRedirectedBlobs checks that a pull whose layers the registry redirects to S3 is one event,
// and that clients read each blob directly from the S3, at the URL that the registry has signed.
func TestRedirectedBlobs(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"client", "upstream"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			s := newS3Stage(t, ", host: "+host)
			t.Run("clients", func(t *testing.T) {
				for name, move := range movers {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						mine := harness.StageOn(t, s.Hooks, s.Buoy)
						moveOnS3(mine, name, move)
						s.Adopt(mine)
					})
				}
				t.Run("docker", func(t *testing.T) {
					t.Parallel()
					mine := harness.StageOn(t, s.Hooks, s.Buoy)
					dockerOnS3(t, mine)
					s.Adopt(mine)
				})
			})
			s.End()
			s.wantStraight()
		})
	}
}

// A mover has the arguments with which a client pushes an artifact from a layout (tagged x) and
// pulls it, for linux/arm64, into another one.
type mover struct {
	push, pull func(layout, host, ref string) []string
}

var movers = map[string]mover{
	"crane": {
		func(layout, _, ref string) []string { return []string{"push", layout, ref} },
		func(layout, _, ref string) []string {
			return []string{"pull", "--platform", "linux/arm64", "--format", "oci", ref, layout}
		},
	},
	"skopeo": {
		func(layout, _, ref string) []string {
			return []string{"--insecure-policy", "copy", "--all", "--dest-tls-verify=false", "oci:" + layout + ":x", "docker://" + ref}
		},
		func(layout, _, ref string) []string {
			return []string{"--insecure-policy", "--override-arch", "arm64", "copy", "--src-tls-verify=false", "docker://" + ref, "oci:" + layout + ":x"}
		},
	},
	"oras": {
		func(layout, _, ref string) []string {
			return []string{"cp", "--to-plain-http", "--from-oci-layout", layout + ":x", ref}
		},
		func(layout, _, ref string) []string {
			return []string{"cp", "--platform", "linux/arm64", "--from-plain-http", "--to-oci-layout", ref, layout + ":x"}
		},
	},
	"regctl": {
		func(layout, host, ref string) []string {
			return []string{"--host", "reg=" + host + ",tls=disabled", "image", "copy", "ocidir://" + layout + ":x", ref}
		},
		func(layout, host, ref string) []string {
			return []string{"--host", "reg=" + host + ",tls=disabled", "image", "copy", "--platform", "linux/arm64", ref, "ocidir://" + layout + ":x"}
		},
	},
}

// moveOnS3 pushes and pulls an image and an index. The image's second push finds its blobs in the
// S3.
func moveOnS3(s *harness.Stage, client string, m mover) {
	env := harness.Env(s)
	// A layer of 11 MiB is uploaded to S3 in several parts.
	image := harness.NewImage(harness.ImageOptions{Layers: 3, LayerSize: 11 << 20, Platform: "linux/arm64"})
	index := harness.NewMultiArch(harness.ImageOptions{Layers: 2}, "linux/amd64", "linux/arm64")
	one, many := client+"/one", client+"/many"
	push := func(a harness.Artifact, repository, tag string) {
		harness.Run(s, env, client, m.push(a.Layout(s, "x"), s.Buoy.Host, s.Ref(repository, tag))...)
		s.Expect(repository, harness.Pushed(repository, a, tag))
	}
	pull := func(repository, tag string, want harness.Artifact) {
		s.Pause()
		dir := s.TempDir()
		harness.Run(s, env, client, m.pull(dir, s.Buoy.Host, s.Ref(repository, tag))...)
		for _, d := range append([]v1.Descriptor{want.Config}, want.Layers...) {
			got := harness.ReadFile(s, filepath.Join(dir, "blobs/sha256", d.Digest.Encoded()))
			if !bytes.Equal(got, want.Blob(d.Digest)) {
				s.Errorf("%s is %d bytes of something else", d.Digest, len(got))
			}
		}
	}
	push(image, one, "v1")
	push(image, one, "v2")
	pull(one, "v1", image)
	s.Expect(one, harness.Pulled(one, image, "v1", "v2"))
	pull(one, "v1", image) // each pull is one event
	s.Expect(one, harness.Pulled(one, image, "v1", "v2"))
	push(index, many, "v1")
	pull(many, "v1", index.Children[1])
	s.Expect(many, harness.Pulled(many, index, "v1").Chosen("linux/arm64"))
}

// dockerOnS3 lets docker pull an image.
func dockerOnS3(t *testing.T, s *harness.Stage) {
	engine := harness.Dockerd(t)
	image := harness.NewImage(harness.ImageOptions{Layers: 4})
	harness.Push(t, s.Buoy.ProxyURL, "docker/one", "v1", image)
	s.Expect("docker/one", harness.Pushed("docker/one", image, "v1"))
	engine.Run(t, harness.Env(t), "pull", s.Ref("docker/one", "v1"))
	s.Expect("docker/one", harness.Pulled("docker/one", image, "v1"))
}

// wantStraight fails the test if a client read a blob from the S3 through bellbuoy, or at a URL
// that differs in a byte from those that the registry has signed.
func (s *s3Stage) wantStraight() {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	read := map[string]bool{}
	for _, r := range s.storage.Requests() {
		if r.Method != http.MethodGet || !strings.Contains(r.Target, "X-Amz-Signature=") {
			continue // the registry's own request, or a HEAD
		}
		read[s.storage.URL+r.Target] = true
		if r.ForwardedFor != "" {
			s.Errorf("%s went through bellbuoy", r.Target)
		}
	}
	for _, place := range slices.Sorted(maps.Keys(read)) {
		if !s.issued[place] {
			s.Errorf("no redirect of the registry leads to %s", place)
		}
	}
	for _, place := range slices.Sorted(maps.Keys(s.issued)) {
		if !read[place] {
			s.Errorf("nobody read %s", place)
		}
	}
	if len(read) < 30 {
		s.Errorf("only %d blobs were redirected", len(read))
	}
}
