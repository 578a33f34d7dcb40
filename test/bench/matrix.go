package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A workload is a row of the table: operations of clients through each of the peers.
type workload struct {
	name, title string
	protocol    protocol
	unit        unit
	small       bool // uses the upstream in memory, because a real one would be slower than the proxies
	// run does the work through a proxy, and returns how many units it was.
	run func(g *grid, w workload, c contender) (r result, work float64, err error)
}

// unit is the unit of work by which CPU time is divided.
type unit uint8

const (
	perGiB unit = iota
	perRequest
)

var workloads = []workload{
	{name: "blob-down", title: "blob download, plaintext", run: (*grid).down},
	{name: "blob-down-tls", title: "blob download, TLS, HTTP/1.1", protocol: tls1, run: (*grid).down},
	{name: "blob-down-h2", title: "blob download, TLS, HTTP/2", protocol: tls2, run: (*grid).down},
	{name: "blob-up", title: "blob upload, plaintext", run: uploading(blob.upload)},
	{name: "blob-up-chunked", title: "blob upload in chunks, plaintext", run: uploading(blob.uploadChunked)},
	{name: "manifest-get", title: "manifest GET, each by another client", unit: perRequest, run: (*grid).manifestGet},
	{name: "manifest-put", title: "manifest PUT, each of another tag", unit: perRequest, small: true, run: (*grid).manifestPut},
}

// figure is one measurement of one workload through one peer.
type figure struct {
	cpu      time.Duration // of the proxy, per GiB or per request
	rate     float64       // MiB or requests per second
	p50, p99 time.Duration
	rss      int64
}

// A grid has everything that runs while the table is measured, and the results.
type grid struct {
	s        *stage
	opts     options
	registry *harness.RegistryServer
	memory   *memory
	blob     blob
	manifest string // a path at the registry
	cert     authority.Pair
	seats    map[seat]contender
	figures  map[string]map[string][]figure // by workload and peer
	began    int                            // the number of loads; no two send the same requests
}

// seat names a running contender.
type seat struct {
	peer          string
	secure, small bool
}

// repository has the blob and the manifest of the table.
const repository = "bench/app"

func newGrid(s *stage, opts options) *grid {
	g := &grid{s: s, opts: opts, cert: authority.New(s).Issue("bench"), seats: map[seat]contender{}, figures: map[string]map[string][]figure{}}
	g.registry = harness.Registry(s, harness.RegistryOptions{})
	g.memory = newMemory(s)
	g.blob = newBlob(s, opts.blobSize)
	client := newClient(plain)
	s.must(g.blob.upload(s.Context(), client, g.registry.URL, repository))
	image := harness.NewImage(harness.ImageOptions{Layers: 4, LayerSize: 1024, Seed: 1})
	harness.Run(s, nil, "crane", "push", "--insecure", image.Layout(s, "v1"), g.registry.Host+"/"+repository+":v1")
	g.manifest = "/v2/" + repository + "/manifests/v1"
	return g
}

// measure fills the table round by round, so that other load of the machine affects all peers
// alike.
func (g *grid) measure(selected []workload) {
	for round := range g.opts.rounds {
		for _, w := range selected {
			order := slices.Concat(peers[round%len(peers):], peers[:round%len(peers)])
			for _, p := range order {
				if !p.takesPart(w) || g.opts.among != nil && !slices.Contains(g.opts.among, p.name) {
					continue
				}
				g.s.Logf("round %d/%d  %-14s %s", round+1, g.opts.rounds, w.name, p.name)
				f, err := g.one(w, g.seat(p, w))
				if err != nil {
					g.s.Fatalf("%s through %s: %w", w.name, p.name, err)
				}
				if g.figures[w.name] == nil {
					g.figures[w.name] = map[string][]figure{}
				}
				g.figures[w.name][p.name] = append(g.figures[w.name][p.name], f)
			}
		}
	}
}

// seat returns the peer that a workload needs, and starts it if it does not run.
func (g *grid) seat(p peer, w workload) contender {
	at := seat{p.name, w.protocol != plain, w.small}
	c, ok := g.seats[at]
	if !ok {
		upstream, cert := g.registry.Host, (*authority.Pair)(nil)
		if w.small {
			upstream = g.memory.address
		}
		if at.secure {
			cert = &g.cert
		}
		c = p.start(g.s, upstream, cert)
		g.seats[at] = c
	}
	return c
}

func (g *grid) one(w workload, c contender) (figure, error) {
	recorded := c.recorded()
	watch := watch(c.pid)
	wait := func() {}
	if c.buoy != nil {
		wait = c.buoy.profile(g.s, w.name, seconds(g.opts.time))
	}
	r, work, err := w.run(g, w, c)
	wait()
	if err != nil {
		return figure{}, err
	}
	if w.unit == perRequest {
		if err := c.settle(g.s.Context(), recorded+r.requests); err != nil {
			return figure{}, err
		}
	}
	used := watch.stop()
	f := figure{cpu: time.Duration(float64(used.cpu) / work), rss: used.rss, p50: percentile(r.latency, 0.5), p99: percentile(r.latency, 0.99)}
	f.rate = r.rate()
	if w.unit == perGiB {
		f.rate = work * 1024 / r.took.Seconds()
	}
	return f, nil
}

// blobWorkers is how many blobs are transferred at once.
const blobWorkers = 4

func (g *grid) down(w workload, c contender) (result, float64, error) {
	r, err := transfers(g.s.Context(), blobWorkers, g.opts.blobs, w.protocol, func(ctx context.Context, client *http.Client) error {
		return g.blob.download(ctx, client, w.protocol.scheme()+c.address, repository)
	})
	return r, g.gib(r), err
}

// uploading pushes the same blob again and again: the registry reads, hashes and writes it each
// time, and keeps one.
func uploading(way func(b blob, ctx context.Context, c *http.Client, base, repository string) error) func(*grid, workload, contender) (result, float64, error) {
	return func(g *grid, w workload, c contender) (result, float64, error) {
		r, err := transfers(g.s.Context(), blobWorkers, g.opts.blobs, w.protocol, func(ctx context.Context, client *http.Client) error {
			return way(g.blob, ctx, client, w.protocol.scheme()+c.address, repository)
		})
		return r, g.gib(r), err
	}
}

func (g *grid) gib(r result) float64 { return float64(r.requests) * float64(g.blob.size) / (1 << 30) }

// requestWorkers is how many requests are in flight at once.
const requestWorkers = 16

func (g *grid) manifestGet(_ workload, c contender) (result, float64, error) {
	l := load{address: c.address, workers: requestWorkers, want: http.StatusOK, time: g.opts.time}
	l.request = func(buf []byte, n int64) []byte {
		return fmt.Appendf(buf, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: node/%d.%d\r\nAccept: %s\r\n\r\n",
			g.manifest, c.address, g.began, n, manifestType)
	}
	g.began++
	r, err := l.run(g.s.Context())
	return r, float64(r.requests), err
}

func (g *grid) manifestPut(_ workload, c contender) (result, float64, error) {
	l := load{address: c.address, workers: requestWorkers, want: http.StatusCreated, time: g.opts.time}
	l.request = func(buf []byte, n int64) []byte {
		return putManifest(buf, c.address, fmt.Sprintf("/v2/%s/manifests/t%d-%d", repository, g.began, n), newManifest(n))
	}
	g.began++
	r, err := l.run(g.s.Context())
	return r, float64(r.requests), err
}

func putManifest(buf []byte, host, path string, manifest []byte) []byte {
	buf = fmt.Appendf(buf, "PUT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		path, host, manifestType, len(manifest))
	return append(buf, manifest...)
}

func titleOf(name string) string {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
	return workloads[i].title
}
