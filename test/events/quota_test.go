package events

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The tests push an image of half of the limit, and one that exceeds the level.
const quotas = "projects: [{match: 'quota-*', quota: {limit: 40KiB, warn_at: [80%]}}]\n"

// pusher is a client that can push a layout, tag what is there, and delete it.
type pusher struct {
	push   func(s *script, a harness.Artifact, to string)
	tag    func(s *script, what, tag string)
	delete func(s *script, what string)
}

var pushers = map[string]pusher{
	"quota-crane": {
		func(s *script, a harness.Artifact, to string) {
			s.run("crane", "push", "--insecure", a.Layout(s.t, "x"), s.ref(to))
		},
		func(s *script, what, tag string) { s.run("crane", "tag", "--insecure", s.ref(what), tag) },
		func(s *script, what string) { s.run("crane", "delete", "--insecure", s.ref(what)) },
	},
	"quota-skopeo": {
		func(s *script, a harness.Artifact, to string) {
			s.run("skopeo", "copy", "-q", "--all", "--dest-tls-verify=false", "oci:"+a.Layout(s.t, "x")+":x", "docker://"+s.ref(to))
		},
		// skopeo can only copy
		func(s *script, what, tag string) { s.run("crane", "tag", "--insecure", s.ref(what), tag) },
		func(s *script, what string) { s.run("skopeo", "delete", "--tls-verify=false", "docker://"+s.ref(what)) },
	},
	"quota-oras": {
		func(s *script, a harness.Artifact, to string) {
			s.run("oras", "cp", "--to-plain-http", "--from-oci-layout", a.Layout(s.t, "x")+":x", s.ref(to))
		},
		func(s *script, what, tag string) { s.run("oras", "tag", "--plain-http", s.ref(what), tag) },
		func(s *script, what string) { s.run("oras", "manifest", "delete", "-f", "--plain-http", s.ref(what)) },
	},
}

// sized returns an image with one layer of n bytes, and less than 2 KiB besides.
func sized(n int) harness.Artifact { return harness.NewImage(harness.ImageOptions{LayerSize: n}) }

// useUp fills a project over its level and its limit, with operations in between that add nothing,
// and then deletes everything.
func (p pusher) useUp(s *script) {
	half, more, over := sized(20_000), sized(15_000), harness.NewIndex(sized(3_000), sized(3_000))
	p.push(s, half, "app:v1")
	s.expectsLine("push", "app:v1", string(half.Digest))
	p.tag(s, "app:v1", "v1.0")
	s.expectsLine("push", "app:v1.0", string(half.Digest))
	p.push(s, half, "other:v1") // mounted, or sent again: the project has these blobs already
	s.expectsLine("push", "other:v1", string(half.Digest))
	p.push(s, more, "app:v2")
	s.expectsLine("push", "app:v2", string(more.Digest))
	s.expectsLine("quota_warning", "app:v2", string(more.Digest))
	p.tag(s, "app:v2", "v2.0")
	s.expectsLine("push", "app:v2.0", string(more.Digest))
	p.push(s, over, "list:v1")
	s.expectsLine("push", "list:v1", string(over.Digest))
	s.expectsLine("quota_exceed", "list:v1", string(over.Digest))
	p.delete(s, "app@"+string(more.Digest))
	s.expectsLine("delete", "app:v2,v2.0", string(more.Digest))
	p.push(s, more, "app:v3")
	s.expectsLine("push", "app:v3", string(more.Digest))
	s.expectsLine("quota_warning", "app:v3", string(more.Digest))
	s.expectsLine("quota_exceed", "app:v3", string(more.Digest))
}

// TestQuota checks the usage of projects against the storage of the registry while real clients
// push, tag, mount and delete. Each crossing of a level is one event.
func TestQuota(t *testing.T) {
	s := raise(t, "anonymous", quotas)
	var parts []part
	for name, p := range pushers {
		parts = append(parts, part{name, p.useUp})
	}
	s.play(t, parts)
	s.recount(t, len(parts))
	if out, err := s.buoy.Command("status"); err == nil || !strings.Contains(out, "project quota-crane: uses ") {
		t.Errorf("%v: a project over its quota needs attention:\n%s", err, out)
	}
	// Deletes and pushes directly at the registry: an index walk finds both.
	digests := s.revisions(t, "quota-crane/app")
	c := call(t, s.registry.URL, "127.0.0.1", "nobody")
	c.want(http.StatusAccepted, http.MethodDelete, "/v2/quota-crane/app/manifests/"+digests[0])
	c.push("quota-new/app", "v1", multi())
	if out, err := s.buoy.Command("index"); err != nil {
		t.Fatalf("bellbuoy index: %v\n%s", err, out)
	}
	s.recount(t, len(parts)+1)
	out, err := s.buoy.Command("quota", "quota-crane")
	if err != nil || !strings.Contains(out, "quota-crane") || !strings.Contains(out, "[####") || strings.Contains(out, "quota-oras") {
		t.Errorf("bellbuoy quota: %v\n%s", err, out)
	}
	if m := s.buoy.Metrics(); !strings.Contains(m, `bellbuoy_quota_used_bytes{project="quota-crane",upstream="registry"}`) {
		t.Error("no metric of the usage")
	}
}

// recount compares the usage of all projects with the content of the registry.
func (s *stage) recount(t *testing.T, projects int) {
	t.Helper()
	out, err := s.buoy.Command("quota", "--json")
	if err != nil {
		t.Fatalf("bellbuoy quota: %v\n%s", err, out)
	}
	var lines []struct {
		Project       string
		Used, Inexact int64
	}
	if err := json.Unmarshal([]byte(out), &lines); err != nil || len(lines) != projects {
		t.Fatalf("%d projects, want %d: %v\n%s", len(lines), projects, err, out)
	}
	for _, l := range lines {
		if want := s.storedBytes(t, l.Project); l.Used != want || l.Inexact != 0 {
			t.Errorf("%s: %d used, %d inexact; the registry holds %d", l.Project, l.Used, l.Inexact, want)
		}
	}
}

// revisions returns the digests of the manifests in a repository's storage.
func (s *stage) revisions(t *testing.T, repository string) (digests []string) {
	t.Helper()
	links, err := filepath.Glob(filepath.Join(s.registry.Dir, "docker/registry/v2/repositories", repository, "_manifests/revisions/sha256/*/link"))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		content, err := os.ReadFile(link)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, string(content))
	}
	return digests
}

// storedBytes returns the bytes of a project's manifests, and of the blobs that they name, in the
// registry's storage.
func (s *stage) storedBytes(t *testing.T, project string) (sum int64) {
	t.Helper()
	repositories, err := filepath.Glob(filepath.Join(s.registry.Dir, "docker/registry/v2/repositories", project, "*"))
	if err != nil || len(repositories) == 0 {
		t.Fatalf("no repositories of %s: %v", project, err)
	}
	blobs := map[digest.Digest]int64{}
	read := func(d digest.Digest) []byte {
		content, err := os.ReadFile(filepath.Join(s.registry.Dir, "docker/registry/v2/blobs/sha256", d.Encoded()[:2], d.Encoded(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		blobs[d] = int64(len(content))
		return content
	}
	for _, dir := range repositories {
		for _, d := range s.revisions(t, project+"/"+filepath.Base(dir)) {
			var m v1.Manifest
			if err := json.Unmarshal(read(digest.Digest(d)), &m); err != nil {
				t.Fatal(err)
			}
			for _, b := range m.Layers {
				read(b.Digest)
			}
			if m.Config.Digest != "" {
				read(m.Config.Digest)
			}
		}
	}
	for _, n := range blobs {
		sum += n
	}
	return sum
}

// TestRefusedForAQuota checks that a push that the upstream refuses for its quota, as Harbor does,
// is one event, even if the client repeats it.
func TestRefusedForAQuota(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real registries and clients")
	}
	const words = "adding 2.9 MiB of storage resource, which when updated to current usage of 4.3 MiB will exceed the configured upper limit of 5.0 MiB."
	registry := harness.Registry(t, harness.RegistryOptions{})
	s := raiseOn(t, "anonymous", registry, refusing(t, registry.URL, "/blobs/uploads/", words))
	clients := map[string]func(s *script, a harness.Artifact) error{
		"full-crane": func(s *script, a harness.Artifact) error {
			_, err := harness.Try(s.t, s.env, "crane", "push", "--insecure", a.Layout(s.t, "x"), s.ref("app:v1"))
			return err
		},
		"full-skopeo": func(s *script, a harness.Artifact) error {
			_, err := harness.Try(s.t, s.env, "skopeo", "copy", "-q", "--retry-times", "1", "--dest-tls-verify=false", "oci:"+a.Layout(s.t, "x")+":x", "docker://"+s.ref("app:v1"))
			return err
		},
		"full-oras": func(s *script, a harness.Artifact) error {
			_, err := harness.Try(s.t, s.env, "oras", "cp", "--to-plain-http", "--from-oci-layout", a.Layout(s.t, "x")+":x", s.ref("app:v1"))
			return err
		},
	}
	var parts []part
	for name, push := range clients {
		parts = append(parts, part{name, func(s *script) {
			if err := push(s, harness.NewImage(harness.ImageOptions{Layers: 4})); err == nil {
				s.t.Error("the push was not refused")
			}
			s.expectsLine("quota_exceed", "app:", "")
		}})
	}
	s.play(t, parts)
	for _, e := range decode(t, s.hooks.Posts("/all")) {
		if e.Quota == nil || e.Quota.Details != words || !strings.HasPrefix(e.Quota.Project, "full-") {
			t.Errorf("got the event %s with %+v", e.Type, e.Quota)
		}
	}
}

// refusing starts a proxy to a registry that refuses every PUT whose path contains part.
func refusing(t *testing.T, to, part, words string) string {
	t.Helper()
	h := harness.NewFaultProxy(t, to)
	h.Twist(-1, http.MethodPut, part, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		harness.ReadBody(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":%q}]}`, words)
	})
	return h.URL
}
