package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// errNotSent is the error of a request that did not reach bellbuoy: the connection was refused.
var errNotSent = errors.New("nothing listens there")

// A wire sends requests to bellbuoy, each to one of its replicas.
type wire struct {
	hosts  []string
	client *http.Client
}

func newWire(t *testing.T, hosts ...string) *wire {
	transport := &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return &wire{hosts: hosts, client: &http.Client{Transport: transport, Timeout: 15 * time.Second}}
}

// send makes one try of a deed. status is 0 where there was no answer.
func (w *wire) send(ctx context.Context, d *deed, try int) (status int, err error) {
	method, path, contentType := d.line()
	header := http.Header{"X-Request-Id": {d.request(try)}, "User-Agent": {fmt.Sprintf("chaos/%d", d.worker)}}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	return w.request(ctx, method, d.host, path, header, d.body)
}

// line is the request line of a deed.
func (d *deed) line() (method, path, contentType string) {
	switch d.do {
	case push:
		return http.MethodPut, "/v2/" + d.repository + "/manifests/" + d.reference, v1.MediaTypeImageManifest
	case upload:
		return http.MethodPost, "/api/charts", "application/gzip"
	case unload:
		return http.MethodDelete, "/api/charts/" + d.repository + "/" + d.reference, ""
	}
	return http.MethodDelete, "/v2/" + d.repository + "/manifests/" + d.reference, ""
}

func (w *wire) request(ctx context.Context, method, host, path string, header http.Header, body []byte) (int, error) {
	u := url.URL{Scheme: "http", Host: w.hosts[rand.IntN(len(w.hosts))], Opaque: path}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+u.Host+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header, req.Host = header, host
	if body != nil {
		req.GetBody = nil // the transport must not try again by itself
	}
	resp, err := w.client.Do(req)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return 0, errNotSent
	}
	if err != nil {
		return 0, err
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode, nil
}

// A worker is a client that performs one deed after the other, in repositories and charts of its
// own.
type worker struct {
	t      *testing.T
	number int
	wire   *wire
	deeds  *deeds
	rand   *rand.Rand
	image  harness.Artifact // its config and layers are those of the worker's manifests
	places []*repository
	count  int
	charts map[string]map[string][]byte // those that exist, as far as the worker knows: name → version → archive
	think  time.Duration
}

// repository is a worker's record of one of its repositories.
type repository struct {
	host, name string
	tags       map[string]string // → digest, if the worker knows it
	abandoned  map[string]bool   // references that are never written again
}

func newWorker(t *testing.T, number int, w *wire, all *deeds, seed uint64, hosts ...string) *worker {
	c := &worker{
		t: t, number: number, wire: w, deeds: all, rand: rand.New(rand.NewPCG(seed, uint64(number))), think: 5 * time.Millisecond,
		image: harness.NewImage(harness.ImageOptions{Seed: 7}), charts: map[string]map[string][]byte{fmt.Sprintf("chart%d", number): {}},
	}
	for i, host := range hosts {
		c.places = append(c.places, &repository{host: host, name: fmt.Sprintf("chaos/w%d-%d", number, i), tags: map[string]string{}, abandoned: map[string]bool{}})
	}
	return c
}

// run performs deeds until ctx ends. It finishes the last one, whatever its outcome.
func (c *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		c.perform(ctx, c.choose())
		pause(ctx, time.Duration(c.rand.Int64N(int64(2*c.think))))
	}
}

func (c *worker) choose() *deed {
	if c.rand.IntN(100) < 15 {
		return c.chooseChart()
	}
	r := c.places[c.rand.IntN(len(c.places))]
	d := c.newDeed(push, r.host, r.name)
	roll := c.rand.IntN(100)
	for tag, digest := range r.tags { // any one, in random order
		switch {
		case roll < 10:
			d.do, d.reference, d.digest = untag, tag, digest
			return d
		case roll < 17:
			d.do, d.reference, d.digest = remove, digest, digest
			return d
		}
		break
	}
	d.reference = fmt.Sprintf("t%d", c.rand.IntN(5))
	if roll > 90 || r.abandoned[d.reference] {
		d.reference = "u" + d.id
	}
	d.body = c.manifest(d.id)
	d.digest = digest.FromBytes(d.body).String()
	return d
}

func (c *worker) newDeed(do, host, repository string) *deed {
	c.count++
	return &deed{id: fmt.Sprintf("w%d-%d", c.number, c.count), do: do, host: host, repository: repository, worker: c.number, number: c.count}
}

// manifest returns a unique image manifest.
func (c *worker) manifest(id string) []byte {
	var m v1.Manifest
	if err := json.Unmarshal(c.image.Manifest, &m); err != nil {
		panic(err) // cannot happen: the manifest is the harness's
	}
	m.Annotations = map[string]string{"chaos": id}
	out, _ := json.Marshal(m) // it was decoded from JSON
	return out
}

func (c *worker) chooseChart() *deed {
	name := fmt.Sprintf("chart%d", c.number)
	d := c.newDeed(upload, museumHost, name)
	for version, archive := range c.charts[name] {
		if c.rand.IntN(100) < 35 {
			d.do, d.reference, d.digest = unload, version, digest.FromBytes(archive).String()
			return d
		}
		break
	}
	d.reference = fmt.Sprintf("0.0.%d", c.count)
	d.body = harness.NewChart(name, d.reference, harness.ChartOptions{})
	d.digest = digest.FromBytes(d.body).String()
	return d
}

const museumHost = "charts.test"

// perform tries a deed until it is answered, or the worker gives up on it.
func (c *worker) perform(ctx context.Context, d *deed) {
	d.began = time.Now()
	c.deeds.add(d)
	sent := false
	for try := 1; ; {
		d.tries = try
		status, err := c.wire.send(context.WithoutCancel(ctx), d, try)
		switch {
		case errors.Is(err, errNotSent):
			if !pause(ctx, 20*time.Millisecond) {
				c.settle(d, sent)
				return
			}
			continue // not sent: this try again
		case status/100 == 2:
			d.acked = true
			c.settle(d, false)
			return
		case status/100 == 4:
			c.settle(d, sent)
			return
		}
		sent = true
		if try >= 5 || c.rand.IntN(100) < 45 || ctx.Err() != nil {
			c.settle(d, true)
			return
		}
		pause(ctx, time.Duration(c.rand.Int64N(int64(400*time.Millisecond))))
		try++
	}
}

// settle records the outcome of a deed. unknown: the worker does not know it.
func (c *worker) settle(d *deed, unknown bool) {
	d.ended = time.Now()
	if d.host == museumHost {
		delete(c.charts[d.repository], d.reference)
		if d.do == upload && d.acked {
			c.charts[d.repository][d.reference] = d.body
		}
		return // a version is never written again
	}
	for _, r := range c.places {
		if r.host == d.host && r.name == d.repository {
			c.settleIn(r, d, unknown)
		}
	}
}

func (c *worker) settleIn(r *repository, d *deed, unknown bool) {
	delete(r.tags, d.reference)
	switch {
	case d.do == remove:
		for tag, digest := range r.tags {
			if digest == d.reference {
				delete(r.tags, tag)
			}
		}
	case unknown && c.rand.IntN(2) == 0:
		r.abandoned[d.reference] = true
	case unknown:
		d.written = true // the next write at that reference follows
	case d.do == push && d.acked:
		r.tags[d.reference] = d.digest
	}
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// stock uploads the blobs of an image, which a real registry requires before it accepts a manifest.
func stock(t *testing.T, base, repository string, a harness.Artifact) {
	t.Helper()
	for _, blob := range append([]v1.Descriptor{a.Config}, a.Layers...) {
		resp, err := http.Post(base+"/v2/"+repository+"/blobs/uploads/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		location, err := resp.Location()
		if err != nil {
			t.Fatalf("uploading a blob: %s %v", resp.Status, err)
		}
		q := location.Query()
		q.Set("digest", blob.Digest.String())
		location.RawQuery = q.Encode()
		req, err := http.NewRequest(http.MethodPut, location.String(), bytes.NewReader(a.Blob(blob.Digest)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err = http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("putting a blob: %s", resp.Status)
		}
	}
}
