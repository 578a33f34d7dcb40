package events

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

const replications = `replication:
  - {name: regsync, match: {user_agents: ["regclient/regsync*"]}, quiet: 5s}
  - {name: skopeo, match: {user_agents: ["skopeo/*"]}, quiet: 5s}
  - {name: crane, match: {user_agents: ["crane/*"]}, quiet: 5s}
  - {name: oras, match: {user_agents: ["oras/*"], source_cidrs: [127.0.0.0/8]}, quiet: 5s, also_push_events: false}
`

// TestReplication checks that what real replicators copy between two registries, in either
// direction, is one REPLICATION for each project.
func TestReplication(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real registries and clients")
	}
	registry, far := harness.Registry(t, harness.RegistryOptions{}), harness.Registry(t, harness.RegistryOptions{})
	s := &stage{login: "anonymous", hooks: harness.NewReceiver(t), registry: registry, direct: registry.Host}
	at := refusing(t, registry.URL, "/two/refused/manifests/", "the tag is immutable")
	s.front(t, fmt.Sprintf("upstreams: [{name: registry, type: registry, url: %s}]\n", at), replications)
	play := s.script(t, "seed")
	images := map[string]harness.Artifact{"a": image(), "b": image()}
	push := func(to string, a harness.Artifact) {
		t.Helper()
		play.run("crane", "push", "--insecure", a.Layout(t, "x"), to)
	}
	for name, a := range images {
		for _, project := range []string{"one", "two"} {
			push(far.Host+"/"+project+"/"+name+":v1", a)
		}
	}
	for _, by := range []string{"out-regsync", "out-skopeo"} {
		// layers that the other registry does not have: otherwise they would be mounted
		// there
		push(s.direct+"/"+by+"/a:v1", image())
	}
	t.Run("runs", func(t *testing.T) {
		for name, run := range map[string]func(s *script){
			"regsync": func(sc *script) { regsyncInto(sc, far) },
			"skopeo": func(sc *script) {
				src := sc.file("sync.yaml", fmt.Sprintf("%s: {tls-verify: false, images: {one/a: [v1], one/b: [v1]}}\n", far.Host))
				sc.run("skopeo", "sync", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false", src, s.buoy.Host+"/by-skopeo")
				sc.run("skopeo", "sync", "--src", "docker", "--dest", "docker", "--src-tls-verify=false", "--dest-tls-verify=false", s.buoy.Host+"/out-skopeo/a:v1", far.Host+"/from-skopeo")
			},
			"crane": func(sc *script) {
				sc.run("crane", "copy", "--insecure", far.Host+"/one/a:v1", s.buoy.Host+"/by-crane/a:v1")
			},
			"oras": func(sc *script) {
				sc.run("oras", "cp", "--from-plain-http", "--to-plain-http", far.Host+"/one/a:v1", s.buoy.Host+"/by-oras/a:v1")
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(s.script(t, name))
			})
		}
	})
	want := []string{
		"crane Success by-crane: a[v1]",
		"oras Success by-oras: a[v1]",
		"regsync Error two: a[v1] b[v1] failed refused[v1]",
		"regsync Success one: a[v1] b[v1]",
		"regsync Success out-regsync: a[v1]",
		"skopeo Success by-skopeo: a[v1] b[v1]",
		"skopeo Success out-skopeo: a[v1]",
	}
	var got []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && len(got) < len(want); time.Sleep(200 * time.Millisecond) {
		got = s.replicated(t)
	}
	time.Sleep(quiet)
	if got = s.replicated(t); !slices.Equal(got, want) {
		t.Errorf("got the replications\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	for _, e := range decode(t, s.hooks.Posts("/all")) {
		if e.Type == detect.PushArtifact && strings.HasPrefix(e.Repository, "by-oras/") {
			t.Error("a webhook got a push of a replication with also_push_events: false")
		}
	}
}

// regsyncInto copies into two projects of bellbuoy's registry at once, including images that it
// refuses, and out of one project.
func regsyncInto(sc *script, far *harness.RegistryServer) {
	here := sc.buoy.Host
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ncreds:\n  - {registry: %s, tls: disabled}\n  - {registry: %s, tls: disabled}\n", here, far.Host)
	fmt.Fprintf(&b, "defaults: {parallel: 4}\nsync:\n")
	for _, project := range []string{"one", "two"} {
		for _, name := range []string{"a", "b"} {
			fmt.Fprintf(&b, "  - {source: %s/%s/%s:v1, target: %s/%s/%s:v1, type: image}\n", far.Host, project, name, here, project, name)
		}
	}
	fmt.Fprintf(&b, "  - {source: %s/out-regsync/a:v1, target: %s/from-regsync/a:v1, type: image}\n", here, far.Host)
	fmt.Fprintf(&b, "  - {source: %s/one/a:v1, target: %s/two/refused:v1, type: image}\n", far.Host, here)
	if _, err := harness.Try(sc.t, sc.env, "regsync", "once", "-c", sc.file("regsync.yaml", b.String())); err == nil {
		sc.t.Error("nothing was refused")
	}
}

// replicated returns the REPLICATION events, as lines.
func (s *stage) replicated(t *testing.T) (lines []string) {
	t.Helper()
	for _, e := range decode(t, s.hooks.Posts("/all")) {
		r := e.Replication
		if r == nil {
			continue
		}
		line := fmt.Sprintf("%s %s %s:", r.Name, r.Status, r.Project)
		for _, a := range r.Succeeded {
			line += fmt.Sprintf(" %s%v", a.Repository, a.References)
		}
		for _, a := range r.Failed {
			line += fmt.Sprintf(" failed %s%v", a.Repository, a.References)
			if a.Reason == "" {
				t.Errorf("%s: no reason", a.Repository)
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}
