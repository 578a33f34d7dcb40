package track

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// What makes a pull a download, and when.
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
		{"a blob of another image", func(s *sim) {
			one(s).blob("app", "l9")
		}, []string{"pull app:v1 one manifest-only"}},
		{"a mount", func(s *sim) { one(s).mount("copy", "app", "l1", 201) }, []string{"pull app:v1 one"}},
		{"a mount that was refused", func(s *sim) { one(s).mount("copy", "app", "l1", 202) }, []string{"pull app:v1 one manifest-only"}},
		{"quiet, then a blob after all (BuildKit)", func(s *sim) {
			c := one(s)
			time.Sleep(10 * time.Minute)
			c.blob("app", "one.config", "l1")
			c.blob("app", "l1")
		}, []string{"pull app:v1 one manifest-only", "pull app:v1 one"}},
		{"a blob before the end of the manifest's answer", func(s *sim) {
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

// Several clients that look like one, and one client that looks like several.
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
			c.begin(detect.TagsList, "app", "", nil).answered(200).end(true)
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

// A hundred nodes with one address and one user agent each pull the same image within a second.
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
		t.Errorf("got %d events: %q", len(got), slices.Compact(got))
	}
}
