package track

import (
	"slices"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// nobody returns the same client without its login.
func (c *client) nobody() *client {
	n := *c
	n.Operator = ""
	return &n
}

// Reads need no login, writes do, and clients send their login only when they get a 401.
func TestReadsWithoutAndWritesWithALogin(t *testing.T) {
	runScenarios(t, []scenario{
		{"regctl image copy within a registry: reads without a login, mounts as alice", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("src", a)
			s.has("src", b)
			idx := s.index("idx", a, b)
			s.has("src", idx, "v1")
			c := s.client("regctl")
			anon := c.nobody()
			anon.get("src", "v1")
			anon.head("dst", "v1")
			for _, m := range [][]byte{a, b} {
				anon.get("src", digestOfBytes(m))
				c.mount("dst", "src", s.names[digestOfBytes(m)]+".config", 201)
				c.mount("dst", "src", map[string]string{"amd64": "l1", "arm64": "l2"}[s.names[digestOfBytes(m)]], 201)
				c.put("dst", digestOfBytes(m), m)
			}
			c.put("dst", "v1", idx)
		}, []string{"pull src:v1 idx children=amd64", "push dst:v1 idx children=amd64+arm64"}},

		{"crane tag: GET without a login, PUT as alice", func(s *sim) {
			b := s.image("one", "l1")
			s.has("app", b, "v1")
			c := s.client("crane")
			c.nobody().get("app", "v1")
			c.put("app", "v2", b)
		}, []string{"push app:v2 one"}},

		{"oras manifest delete: HEAD and GET without a login, DELETE as alice", func(s *sim) {
			b := s.image("one", "l1")
			d := s.has("app", b, "v1")
			c := s.client("oras")
			c.nobody().head("app", "v1")
			c.nobody().get("app", d)
			c.del("app", d)
		}, []string{"delete app:v1 one"}},

		{"helm push: PUT as alice, read back without a login", func(s *sim) {
			b := s.manifest("demo", helmConfig, "", []string{"chart"})
			c := s.client("helm")
			c.nobody().head("demo", digestOfBytes(b))
			c.put("demo", digestOfBytes(b), b)
			c.nobody().get("demo", digestOfBytes(b))
			c.put("demo", "0.1.0", b)
		}, []string{"push demo:0.1.0 demo kind=chart"}},

		{"manifest without a login, layers as alice", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("oras")
			c.nobody().get("app", "v1")
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},

		{"HEAD as nobody, the rest as alice", func(s *sim) {
			d := s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.nobody().head("app", "v1")
			c.get("app", d)
			c.blob("app", "one.config", "l1")
		}, []string{"pull app:v1 one"}},

		{"index without a login, a child as alice, another without a login", func(s *sim) {
			a, b := s.image("amd64", "l1"), s.image("arm64", "l2")
			s.has("app", a)
			s.has("app", b)
			s.has("app", s.index("idx", a, b), "v1")
			c := s.client("regctl")
			c.nobody().get("app", "v1")
			c.get("app", digestOfBytes(a))
			c.blob("app", "l1")
			time.Sleep(20 * time.Second)
			c.blob("app", "amd64.config")
			time.Sleep(20 * time.Second)
			c.nobody().get("app", digestOfBytes(b))
			c.nobody().blob("app", "l2")
		}, []string{"pull app:v1 idx children=amd64"}},

		{"another client's pull without a login, beside alice's push", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			c.nobody().get("app", "v1")
			c.put("app", "v2", s.image("two", "l2"))
			c.nobody().blob("app", "one.config", "l1")
		}, []string{"push app:v2 two", `pull app:v1 one by=""`}},

		{"two named clients: anonymous reads belong to neither", func(s *sim) {
			s.has("src", s.image("one", "l1", "l2"), "v1")
			c := s.client("regctl")
			bob := s.client("regctl")
			bob.Operator = "bob"
			c.nobody().get("src", "v1")
			c.mount("a", "src", "l1", 201)
			bob.mount("b", "src", "l2", 201)
			c.nobody().get("src", "v1")
			c.nobody().blob("src", "l1")
		}, []string{"pull src:v1 one", `pull src:v1 one by=""`}},

		{"a refused login takes over no anonymous reads", func(s *sim) {
			s.has("app", s.image("one", "l1"), "v1")
			c := s.client("docker")
			mallory := s.client("docker")
			mallory.Client = detect.Client{Claimed: "mallory", Address: c.Address, UserAgent: c.UserAgent}
			c.nobody().get("app", "v1")
			mallory.blobbing("app", "l1", 401).end(true)
			c.nobody().blob("app", "l1")
		}, []string{`pull app:v1 one by=""`}},

		{"another user agent", func(s *sim) {
			s.has("src", s.image("one", "l1"), "v1")
			s.client("curl").nobody().get("src", "v1")
			s.client("regctl").mount("dst", "src", "l1", 201)
		}, []string{`pull src:v1 one manifest-only by=""`}},
	})
}

// If nothing vouches for a name, the event has it as claimed, also for what the client read without
// it.
func TestClaimedHalf(t *testing.T) {
	var events []detect.Event
	simulate(t, func(s *sim) {
		s.has("src", s.image("one", "l1"), "v1")
		c := s.client("regctl")
		c.Client = detect.Client{Claimed: "alice", Address: "192.0.2.1", UserAgent: "regctl"}
		anon := *c
		anon.Claimed = ""
		anon.get("src", "v1")
		c.mount("dst", "src", "l1", 201)
		events = s.events()
	})
	if !slices.ContainsFunc(events, func(e detect.Event) bool { return e.Client.Operator == "" && e.Client.Claimed == "alice" }) {
		t.Errorf("got the events %+v", events)
	}
}
