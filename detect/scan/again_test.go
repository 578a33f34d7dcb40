package scan

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

var imageManifest = []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest(999) + `","size":2},"layers":[]}`)

// tagIndex is a tag index in memory, in pages of two tags.
type tagIndex struct {
	tags  []Tag
	kinds map[string]detect.ArtifactKind
}

func (i *tagIndex) Page(_ context.Context, after string, _ int) ([]Tag, string, error) {
	from := 0
	_, _ = fmt.Sscan(after, &from)
	to := min(from+2, len(i.tags))
	next := ""
	if to < len(i.tags) {
		next = fmt.Sprint(to)
	}
	return i.tags[from:to], next, nil
}

func (i *tagIndex) Kind(_ context.Context, _, _, digest string) detect.ArtifactKind {
	return i.kinds[digest]
}

// slow is a registry whose answers take longer than a scan.
type slow struct{ registry }

func (s slow) Manifest(ctx context.Context, upstream, hint, repository, reference string) (detect.Found, error) {
	time.Sleep(20 * time.Second)
	return s.registry.Manifest(ctx, upstream, hint, repository, reference)
}

// Each tagged digest is scanned once in each interval, even if it was never scanned, by two
// replicas together as often as by one, and not all at once.
func TestTaggedDigestsAreRescanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 4 * time.Hour
		g := newRig(t, clean)
		index := &tagIndex{kinds: map[string]detect.ArtifactKind{digest(99): detect.HelmChart, digest(1): detect.Image}}
		for n := range 20 {
			index.tags = append(index.tags, Tag{"registry", "team/app", fmt.Sprint("v", n), digest(n)})
			g.registry[fmt.Sprint("v", n)] = detect.Found{Digest: digest(n), MediaType: imageType, Manifest: imageManifest}
			g.registry[digest(n)] = g.registry[fmt.Sprint("v", n)]
		}
		g.registry["v7"] = detect.Found{Digest: digest(77), MediaType: imageType, Manifest: imageManifest} // moved by a push that did not go through bellbuoy
		g.registry["also"] = g.registry["v1"]
		g.registry["sha256-"+digest(1)[7:]] = g.registry["v1"]
		index.tags = append(index.tags,
			Tag{"registry", "team/app", "also", digest(1)},
			Tag{"registry", "team/app", "chart", digest(99)},
			Tag{"registry", "team/app", "sha256-" + digest(1)[7:], digest(100)}, // bookkeeping
			Tag{"registry", "other/app", "v1", digest(1)},                       // the scanner's match does not have it
			Tag{"gone", "team/app", "v1", digest(1)})                            // an upstream that does not exist
		g.config.Scanners[0].Every, g.config.Scanners[0].OnPush = every, false
		g.config.Scanners[0].Matches = func(repository string) bool { return repository == "team/app" }
		var replicas []*rig
		for name, asked := range map[string]Registry{"a": g.registry, "b": slow{g.registry}} {
			replica := *g
			replica.runner = New(Options{Ledger: g.ledger, Registry: asked, Tags: index, Replica: name})
			replica.runner.Configure(g.config)
			replica.start(t)
			replicas = append(replicas, &replica)
		}
		for round := range 3 {
			seen := map[string]int{}
			begun, before := time.Now(), len(g.ledger.told())
			time.Sleep(every)
			first := every
			for _, e := range g.ledger.told()[before:] {
				seen[e.Digest]++
				first = min(first, e.At.Sub(begun))
			}
			if round == 0 {
				continue // the first scans are spread over the first interval
			}
			for n := range 20 {
				if want := map[bool]int{true: 0, false: 1}[n == 7]; seen[digest(n)] != want {
					t.Errorf("round %d: image %d was scanned %d times, want %d", round, n, seen[digest(n)], want)
				}
			}
			if len(seen) != 19 {
				t.Errorf("round %d: %d digests were scanned", round, len(seen))
			}
		}
		for _, r := range replicas {
			r.stop()
		}
		events := g.ledger.told()
		quarters := map[time.Time]bool{}
		for _, e := range events[:19] {
			quarters[e.At.Truncate(15*time.Minute)] = true
			if e.Digest == digest(1) && !slices.Equal(e.Tags, []string{"v1", "also"}) {
				t.Errorf("tags %v, want v1 and also", e.Tags)
			}
		}
		if len(quarters) < 6 {
			t.Errorf("the first scans were in %d quarters of an hour: they are not spread", len(quarters))
		}
		if g.scanner.most > 2*AtOnce {
			t.Errorf("%d scans went on at once", g.scanner.most)
		}
	})
}

// If many jobs wait, rescans add none.
func TestRescansWaitForPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(int, string) (*Report, error) { return nil, &Pending{} })
		index := &tagIndex{}
		for n := range 400 {
			index.tags = append(index.tags, Tag{"registry", "team/app", fmt.Sprint("v", n), digest(n)})
			g.registry[fmt.Sprint("v", n)] = detect.Found{Digest: digest(n), MediaType: imageType, Manifest: imageManifest}
			g.registry[digest(n)] = g.registry[fmt.Sprint("v", n)]
		}
		g.config.Scanners[0].Every = time.Minute
		g.config.Scanners[0].Timeout = 10 * time.Hour
		g.runner = New(Options{Ledger: g.ledger, Registry: g.registry, Tags: index, Replica: "a"})
		g.runner.Configure(g.config)
		g.start(t)
		time.Sleep(time.Hour)
		g.stop()
		if n := g.ledger.jobs(); n < mostWaiting || n > mostWaiting+rescansAtOnce+AtOnce {
			t.Errorf("%d jobs wait, want about %d", n, mostWaiting)
		}
	})
}
