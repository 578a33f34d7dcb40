package events

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestCrowds runs clients whose requests interleave as closely as possible.
func TestCrowds(t *testing.T) {
	t.Parallel()
	s := raise(t, "anonymous", "")
	s.play(t, []part{
		{"two-clients-one-address", twoClientsOneAddress},
		{"one-client-two-connections", oneClientTwoConnections},
		{"two-tags-of-one-digest", twoTagsOfOneDigest},
		{"push-and-pull-interleaved", pushAndPullInterleaved},
		{"two-pushes-interleaved", twoPushesInterleaved},
		{"nodes-behind-nat", nodesBehindNAT},
		{"nodes-with-addresses", nodesWithAddresses},
		{"pull-moves-on", pullAfterTheTagMoved},
	})
}

func (sc *script) call(address, agent string) *caller {
	return call(sc.t, sc.buoy.ProxyURL, address, agent)
}

// twoClientsOneAddress lets two clients HEAD different tags and then read by digest. Each pull is
// one of the tag that its client has resolved.
func twoClientsOneAddress(s *script) {
	one, two := image(), image()
	s.seed("app:v1", one)
	s.seed("app:v2", two)
	s.seed("app:v3", one)
	a, b := s.call("127.0.0.1", "docker/29"), s.call("127.0.0.1", "containerd/2")
	repo := s.name + "/app"
	a.head(repo, "v1")
	b.head(repo, "v3") // the same digest
	a.head(repo, "v2")
	b.get(repo, string(one.Digest))
	a.get(repo, string(two.Digest))
	a.get(repo, string(one.Digest))
	a.blobs(repo, two)
	b.blobs(repo, one)
	a.blobs(repo, one)
	s.expectsLine("pull", "app:v1", string(one.Digest))
	s.expectsLine("pull", "app:v2", string(two.Digest))
	s.expectsLine("pull", "app:v3", string(one.Digest))
}

func oneClientTwoConnections(s *script) {
	many := multi()
	s.seed("many:v1", many)
	a := s.call("127.0.0.1", "containerd/1.6")
	b := a.again("127.0.0.1")
	repo := s.name + "/many"
	a.head(repo, "v1")
	b.get(repo, string(many.Digest))
	a.get(repo, string(many.Children[0].Digest))
	b.blobs(repo, many.Children[0])
	b.get(repo, string(many.Children[1].Digest))
	a.blobs(repo, many.Children[1])
	s.expectsLine("pull", "many:v1", string(many.Digest))
}

func twoTagsOfOneDigest(s *script) {
	one := image()
	s.seed("app:v1", one)
	s.seed("app:v2", one)
	repo := s.name + "/app"
	a, b := s.call("127.0.0.1", "docker/29"), s.call("127.0.0.1", "docker/29")
	a.head(repo, "v1")
	b.head(repo, "v2")
	var both sync.WaitGroup
	for _, c := range []*caller{a, b} {
		both.Go(func() {
			c.get(repo, string(one.Digest))
			c.blobs(repo, one)
		})
	}
	both.Wait()
	s.expectsLine("pull", "app:v1", string(one.Digest))
	s.expectsLine("pull", "app:v2", string(one.Digest))
}

// pushAndPullInterleaved lets one client push an index while another one pulls a child of it and
// the image that the tag named before.
func pushAndPullInterleaved(s *script) {
	old, many := image(), multi()
	s.seed("app:v1", old)
	repo := s.name + "/app"
	pusher, puller := s.call("127.0.0.1", "buildkit/1"), s.call("127.0.0.1", "docker/29")
	pusher.head(repo, "v1")
	puller.head(repo, "v1")
	first, second := many.Children[0], many.Children[1]
	pusher.upload(repo, first)
	puller.get(repo, string(old.Digest))
	pusher.put(repo, string(first.Digest), first)
	puller.blobs(repo, old)
	puller.get(repo, string(first.Digest)) // another client's read of a child is a pull of the child
	puller.blobs(repo, first)
	pusher.upload(repo, second)
	pusher.put(repo, string(second.Digest), second)
	pusher.put(repo, "v1", many)
	puller.pull(repo, "v1", many)
	s.expectsLine("pull", "app:v1", string(old.Digest))
	s.expectsLine("pull", "app:", string(first.Digest))
	s.expectsLine("push", "app:v1", string(many.Digest))
	s.expectsLine("pull", "app:v1", string(many.Digest))
}

// twoPushesInterleaved lets two clients push an index each, to one repository.
func twoPushesInterleaved(s *script) {
	one, two := multi(), multi()
	repo := s.name + "/app"
	a, b := s.call("127.0.0.1", "crane/1"), s.call("127.0.0.1", "skopeo/1")
	for i := range one.Children {
		a.upload(repo, one.Children[i])
		b.upload(repo, two.Children[i])
		a.put(repo, string(one.Children[i].Digest), one.Children[i])
		b.put(repo, string(two.Children[i].Digest), two.Children[i])
	}
	b.put(repo, "v2", two)
	a.put(repo, "v1", one)
	s.expectsLine("push", "app:v1", string(one.Digest))
	s.expectsLine("push", "app:v2", string(two.Digest))
}

// nodesBehindNAT lets a hundred nodes with one address and user agent pull the same image within a
// second. Each fetches the layers.
func nodesBehindNAT(s *script) {
	many := multi()
	s.seed("many:v1", many)
	s.crowd(100, many, func(int) string { return "127.0.0.77" })
}

func nodesWithAddresses(s *script) {
	one := image()
	s.seed("many:v1", one)
	s.crowd(100, one, func(i int) string { return fmt.Sprintf("127.0.1.%d", i+1) })
}

func (sc *script) crowd(n int, a harness.Artifact, address func(int) string) {
	var all sync.WaitGroup
	pulling := make(chan struct{}, 3) // few at a time: on a busy machine all would overlap, and look like one pull
	for i := range n {
		c := sc.call(address(i), "containerd/2.4.2")
		all.Go(func() {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			pulling <- struct{}{}
			defer func() { <-pulling }()
			repo := sc.name + "/many"
			c.head(repo, "v1")
			c.get(repo, string(a.Digest))
			if len(a.Children) > 0 {
				c.get(repo, string(a.Children[0].Digest))
				c.blobs(repo, a.Children[0])
			} else {
				c.blobs(repo, a)
			}
		})
		sc.expectsLine("pull", "many:v1", string(a.Digest))
	}
	all.Wait()
}

// pullAfterTheTagMoved reads a digest that a HEAD of a tag returned before the tag was moved. That
// is a pull of the tag.
func pullAfterTheTagMoved(s *script) {
	one, two := image(), image()
	s.seed("app:v1", one)
	repo := s.name + "/app"
	puller, pusher := s.call("127.0.0.1", "docker/29"), s.call("127.0.0.1", "crane/1")
	puller.head(repo, "v1")
	pusher.push(repo, "v1", two)
	puller.get(repo, string(one.Digest))
	puller.blobs(repo, one)
	puller.pull(repo, "v1", two)
	s.expectsLine("pull", "app:v1", string(one.Digest))
	s.expectsLine("push", "app:v1", string(two.Digest))
	s.expectsLine("pull", "app:v1", string(two.Digest))
}
