package quota_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	storetest.StopPostgres()
	os.Exit(code)
}

// manifest is a manifest that clients push, with its bytes and the sizes of its blobs.
type manifest struct {
	body  []byte
	sizes map[digest.Digest]int64
}

func newManifest(r *rand.Rand, blobs int) manifest {
	m := manifest{sizes: map[digest.Digest]int64{}}
	entry := func() string {
		n := r.IntN(blobs)
		d := digest.FromString(fmt.Sprint("blob ", n))
		m.sizes[d] = int64(n * 1000)
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, d, n*1000)
	}
	layers := entry()
	for range r.IntN(5) {
		layers += "," + entry()
	}
	m.body = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}`, entry(), layers)
	m.sizes[digest.FromBytes(m.body)] = int64(len(m.body))
	return m
}

// registry has the manifests in each repository of an upstream.
type registry struct {
	mu sync.Mutex
	in map[string]map[digest.Digest]manifest
}

// uses counts the usage of a project from the manifests.
func (g *registry) uses(project string) (sum int64) {
	sizes := map[digest.Digest]int64{}
	for repository, all := range g.in {
		for _, m := range all {
			if detect.Project(repository) == project {
				maps.Copy(sizes, m.sizes)
			}
		}
	}
	for _, n := range sizes {
		sum += n
	}
	return sum
}

// Manifest, Read, Chart and ChartIndex implement track.Asker. No test here calls them.
func (g *registry) Manifest(context.Context, string, string, string, string) (detect.Found, error) {
	return detect.Found{}, io.EOF
}
func (g *registry) Read(context.Context, string, string, string, string) (detect.Found, error) {
	return detect.Found{}, io.EOF
}
func (g *registry) Chart(context.Context, string, string, string, string) (detect.Found, error) {
	return detect.Found{}, io.EOF
}
func (g *registry) ChartIndex(context.Context, string, string) (io.ReadCloser, error) {
	return nil, io.EOF
}

// replica is one bellbuoy.
type replica struct {
	outbox  *notify.Outbox
	tracker *track.Tracker
}

func newReplica(t *testing.T, s notify.Rows, g *registry) replica {
	t.Helper()
	out := notify.NewOutbox(s, notify.OutboxOptions{Timeout: time.Minute})
	out.Derive(quota.New(func(project string) quota.Rule {
		return quota.Rule{Limit: map[string]int64{"team": 1 << 40, "other": 1 << 40}[project]}
	}))
	return replica{out, track.New(track.Config{Accessories: true}, out, g)}
}

// write calls the tracker for a write as the proxy does, and applies it to the registry.
func (r replica) write(t *testing.T, op *detect.Operation, done func()) {
	t.Helper()
	in, err := r.tracker.Intend(t.Context(), op)
	if err != nil {
		t.Error(err)
		return
	}
	done()
	if err := r.tracker.Settle(t.Context(), in, op); err != nil {
		t.Error(err)
	}
}

func operation(action detect.Action, repository, reference string, status int) *detect.Operation {
	return &detect.Operation{Request: detect.Request{Action: action, Repository: repository, Reference: reference}, Upstream: "up", Kind: detect.Registry,
		At: time.Now(), Status: status, Client: detect.Client{Address: "10.0.0.1"}}
}

// step is one operation of a client in a repository.
func (r replica) step(t *testing.T, g *registry, dice *rand.Rand, repository string) {
	t.Helper()
	m := newManifest(dice, 12)
	d := digest.FromBytes(m.body)
	g.mu.Lock()
	there := slices.Sorted(maps.Keys(g.in[repository]))
	g.mu.Unlock()
	if len(there) > 0 && dice.IntN(5) < 2 {
		d = there[dice.IntN(len(there))]
		if dice.IntN(2) == 0 {
			r.write(t, operation(detect.ManifestDelete, repository, d.String(), 202), func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				delete(g.in[repository], d)
			})
			return
		}
		g.mu.Lock()
		m = g.in[repository][d]
		g.mu.Unlock()
	}
	reference := []string{"a", "b", "c", d.String()}[dice.IntN(4)]
	op := operation(detect.ManifestPut, repository, reference, 201)
	op.Sent = detect.Body{Bytes: m.body, Digest: d.String(), MediaType: "application/vnd.oci.image.manifest.v1+json", Size: int64(len(m.body))}
	op.ContentDigest = d.String()
	r.write(t, op, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.in[repository] == nil {
			g.in[repository] = map[digest.Digest]manifest{}
		}
		g.in[repository][d] = m
	})
}

// play pushes, tags, copies and deletes in repositories of one project, through all replicas
// concurrently, and compares the recorded usage with a recount after each round.
func play(t *testing.T, rounds int, replicas ...notify.Rows) {
	g := &registry{in: map[string]map[digest.Digest]manifest{}}
	var all []replica
	for _, s := range replicas {
		all = append(all, newReplica(t, s, g))
	}
	repositories := []string{"team/a", "team/b", "team/c/d", "other/a", "none/a"}
	for round := range rounds {
		var group sync.WaitGroup
		for i, repository := range repositories {
			group.Go(func() {
				dice := rand.New(rand.NewPCG(uint64(round), uint64(i)))
				for range 8 {
					all[dice.IntN(len(all))].step(t, g, dice, repository)
				}
			})
		}
		group.Wait()
		compare(t, all[0].outbox, g)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func compare(t *testing.T, out *notify.Outbox, g *registry) {
	t.Helper()
	err := out.View(t.Context(), func(v detect.View) error {
		usages, err := quota.Usages(v, 10)
		for _, u := range usages {
			if want := g.uses(u.Project); u.Used != want || u.Inexact != 0 {
				t.Errorf("%s: %d used and %d inexact, a recount has %d", u.Project, u.Used, u.Inexact, want)
			}
		}
		if len(usages) != 2 {
			t.Errorf("%d projects are counted, want 2", len(usages))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUsageIsARecountOnSQLite(t *testing.T) {
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	play(t, 15, s)
}

func TestUsageIsARecountOfTwoReplicas(t *testing.T) {
	url := storetest.Database(t)
	var replicas []notify.Rows
	for _, name := range []string{"one", "two"} {
		s, err := postgres.Open(t.Context(), postgres.Options{URL: url, Replica: name})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		replicas = append(replicas, s)
	}
	play(t, 15, replicas...)
}

// BenchmarkPush measures a push of ten layers into the store: without quotas, with one for the
// project, and as a further tag of an existing manifest.
func BenchmarkPush(b *testing.B) {
	for _, with := range []string{"none", "quota", "quota and a further tag"} {
		b.Run(with, func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			out := notify.NewOutbox(s, notify.OutboxOptions{})
			if with != "none" {
				out.Derive(quota.New(func(string) quota.Rule { return quota.Rule{Limit: 1 << 50, WarnAt: []float64{85}} }))
			}
			layer := func(i, of int) string { return digest.FromString(fmt.Sprint(of, i)).String() }
			for i := 0; b.Loop(); i++ {
				if with == "quota and a further tag" {
					i = 0
				}
				m := detect.ManifestChange{Upstream: "up", Repository: "team/app", Digest: layer(i, 0), At: time.Now(), Read: true, Own: 1000}
				for n := range 10 {
					m.Blobs, m.Sizes = append(m.Blobs, layer(i/(n+1), n+1)), append(m.Sizes, 1000)
				}
				e := detect.Event{ID: fmt.Sprint(b.N, i, time.Now().UnixNano()), Type: detect.PushArtifact, At: time.Now(), Upstream: "up", Repository: "team/app", Digest: m.Digest}
				err := out.Commit(b.Context(), "up/team/app", func(detect.View) (detect.Changes, error) {
					return detect.Changes{Events: []detect.Event{e}, Manifests: []detect.ManifestChange{m}}, nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
