package events

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// repositories are those to which tokens of stage.bearer give access.
var repositories = func() (names []string) {
	for i := range 6 {
		names = append(names, fmt.Sprintf("index/r%02d", i))
	}
	return append(names, "seen/app")
}()

// TestIndex checks what events have after `bellbuoy index` about artifacts that were pushed
// directly to the registry: all tags of a deleted digest, the earlier digest of a moved tag, and
// that a push changed nothing. Indexing causes no event.
func TestIndex(t *testing.T) {
	for _, login := range logins {
		for _, heads := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/heads=%t", login, heads), func(t *testing.T) {
				t.Parallel()
				s := raiseWith(t, login, true, "")
				old := s.fill(t, 6, 130)
				args := []string{"index", "registry"}
				if heads {
					args = append(args, "--heads")
				}
				if login == "token" { // the token has no access to the catalog: the command names the repositories
					args = append(args, repositories[:6]...)
				}
				if out, err := s.buoy.Command(args...); err != nil {
					t.Fatalf("bellbuoy index: %v\n%s", err, out)
				}
				s.hooks.Quiet(time.Second)
				s.afterwards(t, old)
				s.keepsSecrets(t)
			})
		}
	}
}

// fill pushes directly to the registry: in each repository two images, of which one has many tags.
func (s *stage) fill(t *testing.T, n, tags int) (old []harness.Artifact) {
	t.Helper()
	c := call(t, s.registry.URL, "127.0.0.1", "filler")
	if a := s.authorization(); a != "" {
		c = c.with("Authorization", a)
	}
	for i := range n {
		one, two := image(), multi()
		c.push(repositories[i], "latest", two)
		c.push(repositories[i], "t000", one)
		if i > 0 {
			c.put(repositories[i], "t001", one)
		} else {
			for j := 1; j < tags; j++ {
				c.put(repositories[i], fmt.Sprintf("t%03d", j), one)
			}
		}
		old = append(old, one, two)
	}
	return old
}

// afterwards deletes and pushes through bellbuoy. The events need data that only the index has.
func (s *stage) afterwards(t *testing.T, old []harness.Artifact) {
	t.Helper()
	c := call(t, s.buoy.ProxyURL, "127.0.0.1", "crane/1")
	if a := s.authorization(); a != "" {
		c = c.with("Authorization", a)
	}
	c.want(http.StatusAccepted, http.MethodDelete, "/v2/index/r00/manifests/"+string(old[0].Digest))
	c.want(http.StatusAccepted, http.MethodDelete, "/v2/index/r01/manifests/t001")
	moved := image()
	c.push("index/r02", "latest", moved)
	c.put("index/r03", "latest", old[7])
	events := decode(t, s.hooks.WaitAt("/all", 4, time.Minute))
	for _, e := range events {
		if e.Operator != s.operator {
			t.Errorf("%s by %q, want %q", e.Type, e.Operator, s.operator)
		}
		switch e.Repository {
		case "index/r00":
			if e.Type != detect.DeleteArtifact || len(e.Tags) != 130 || !slices.Contains(e.Tags, "t129") || e.TagsComplete == nil || !*e.TagsComplete {
				t.Errorf("the delete's event has %d tags, complete %v: %s", len(e.Tags), e.TagsComplete, strings.Join(e.Tags, " "))
			}
			if e.Size != old[0].TotalSize() {
				t.Errorf("size %d, want %d", e.Size, old[0].TotalSize())
			}
		case "index/r01":
			if e.Type != detect.DeleteTag || e.Digest != string(old[2].Digest) {
				t.Errorf("%s of %s, want a tag's delete of %s", e.Type, e.Digest, old[2].Digest)
			}
		case "index/r02":
			if e.PreviousDigest != string(old[5].Digest) || e.Changed == nil || !*e.Changed {
				t.Errorf("latest stood on %q before (changed %v), want %s", e.PreviousDigest, e.Changed, old[5].Digest)
			}
		case "index/r03":
			if e.Changed == nil || *e.Changed {
				t.Error("the event of a push of the same manifest says that it changed the tag")
			}
		}
	}
	s.hooks.QuietAt("/all", time.Second)
}

// TestIndexContinues checks that a second index run continues an interrupted one.
func TestIndexContinues(t *testing.T) {
	t.Parallel()
	s := raise(t, "anonymous", "")
	old := s.fill(t, 6, 130)
	started := make(chan struct{})
	go func() {
		close(started)
		s.buoy.Command("index", "registry") // interrupted: it may fail
	}()
	<-started
	time.Sleep(300 * time.Millisecond)
	s.buoy.Kill9()
	s.buoy.Start()
	if out, err := s.buoy.Command("index", "registry"); err != nil {
		t.Fatalf("bellbuoy index, again: %v\n%s", err, out)
	}
	s.afterwards(t, old)
}
