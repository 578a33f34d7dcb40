package track

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// sim is a registry, with clients that use it through a Tracker.
type sim struct {
	*world
	manifests map[string][]byte // repository@digest
	tags      map[string]string // repository:tag
	names     map[string]string // digest → name in the test
	blobs     map[string][]string
	took      time.Duration // duration of each request
}

func simulate(t *testing.T, run func(*sim)) []string {
	var got []string
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		run(s)
		got = s.lines(s.finish())
	})
	return got
}

func newSim(t *testing.T) *sim {
	return &sim{
		world: newWorld(t), manifests: map[string][]byte{}, tags: map[string]string{}, names: map[string]string{},
		blobs: map[string][]string{}, took: 2 * time.Millisecond,
	}
}

// helmConfig is the media type of the config of a chart in a registry.
const helmConfig = "application/vnd.cncf.helm.config.v1+json"

func digestOfBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// blobOf names a blob.
func blobOf(name string) string { return digestOfBytes([]byte(name)) }

type desc struct {
	MediaType    string `json:"mediaType"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	ArtifactType string `json:"artifactType,omitempty"`
	Platform     any    `json:"platform,omitempty"`
}

// image makes a manifest with a config and layers; the layers' names are shared between images.
func (s *sim) image(name string, layers ...string) []byte {
	return s.manifest(name, "application/vnd.oci.image.config.v1+json", "", layers)
}

func (s *sim) manifest(name, configType, subject string, layers []string) []byte {
	m := map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": desc{MediaType: configType, Digest: blobOf(name + ".config"), Size: 10},
	}
	list := []desc{}
	for _, l := range layers {
		list = append(list, desc{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: blobOf(l), Size: 100})
	}
	m["layers"] = list
	if subject != "" {
		m["subject"] = desc{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: subject, Size: 1}
	}
	return s.named(name, m)
}

// index lists manifests, as linux/<their name>.
func (s *sim) index(name string, children ...[]byte) []byte {
	list := []desc{}
	for _, c := range children {
		d := desc{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digestOfBytes(c), Size: int64(len(c))}
		d.Platform = map[string]string{"os": "linux", "architecture": s.names[d.Digest]}
		list = append(list, d)
	}
	return s.named(name, map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list, "annotations": map[string]string{"name": name},
	})
}

func (s *sim) named(name string, m map[string]any) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.names[digestOfBytes(b)] = name
	return b
}

// has puts a manifest into the registry directly.
func (s *sim) has(repository string, b []byte, tags ...string) string {
	d := digestOfBytes(b)
	s.manifests[repository+"@"+d] = b
	s.upstream.stands(repository+"@"+d, detect.Found{Digest: d, MediaType: mediaTypeOf(b), Manifest: b})
	for _, tag := range tags {
		s.tags[repository+":"+tag] = d
		s.upstream.stands(repository+"@"+tag, detect.Found{Digest: d})
	}
	return d
}

// gone removes a manifest and its tags, or a tag.
func (s *sim) gone(repository, reference string) {
	delete(s.manifests, repository+"@"+reference)
	delete(s.tags, repository+":"+reference)
	s.upstream.stands(repository+"@"+reference, detect.Found{Absent: true})
	for k, d := range s.tags {
		if d == reference && strings.HasPrefix(k, repository+":") {
			delete(s.tags, k)
			s.upstream.stands(strings.Replace(k, ":", "@", 1), detect.Found{Absent: true})
		}
	}
}

func (s *sim) resolve(repository, reference string) (string, []byte) {
	d := reference
	if !detect.IsDigest(reference) {
		d = s.tags[repository+":"+reference]
	}
	return d, s.manifests[repository+"@"+d]
}

// client is a client with its address and user agent.
type client struct {
	*sim
	detect.Client
}

func (s *sim) client(agent string) *client {
	return &client{s, detect.Client{Operator: "alice", Address: "192.0.2.1", UserAgent: agent}}
}

// request is a request in flight.
type request struct {
	c  *client
	op *detect.Operation
	in *Intent
	tr Transfer
}

func (c *client) begin(action detect.Action, repository, reference string, more func(*detect.Operation)) *request {
	op := &detect.Operation{
		Request:  detect.Request{Action: action, Repository: repository, Reference: reference},
		Upstream: "up", Kind: detect.Registry, ID: "r", At: time.Now(), Client: c.Client,
	}
	if more != nil {
		more(op)
	}
	return &request{c: c, op: op, tr: c.Start(op)}
}

// answered is the head of the answer, with the status.
func (r *request) answered(status int) *request {
	time.Sleep(r.c.took)
	r.op.Status = status
	if r.in != nil {
		r.c.world.settle(r.in, r.op)
	}
	r.c.Answered(&r.tr, r.op)
	return r
}

// end is the end of the answer.
func (r *request) end(complete bool) {
	r.op.Complete = complete
	r.c.End(&r.tr, r.op)
	if r.in != nil && complete {
		r.c.Acknowledged(r.in)
	}
	time.Sleep(r.c.took)
}

func (c *client) head(repository, reference string) string {
	d, b := c.resolve(repository, reference)
	r := c.begin(detect.ManifestHead, repository, reference, nil)
	if b == nil {
		r.answered(404).end(true)
		return ""
	}
	r.op.ContentDigest, r.op.MediaType = d, mediaTypeOf(b)
	r.answered(200).end(true)
	return d
}

func mediaTypeOf(b []byte) string {
	var m struct{ MediaType string }
	_ = json.Unmarshal(b, &m)
	return m.MediaType
}

func (c *client) get(repository, reference string) { c.getting(repository, reference).end(true) }

// getting is a GET of a manifest up to the head of the answer.
func (c *client) getting(repository, reference string) *request {
	d, b := c.resolve(repository, reference)
	r := c.begin(detect.ManifestGet, repository, reference, nil)
	if b == nil {
		return r.answered(404)
	}
	r.op.ContentDigest, r.op.MediaType = d, mediaTypeOf(b)
	r.op.Got = detect.Body{Bytes: b, Digest: digestOfBytes(b), MediaType: r.op.MediaType, Size: int64(len(b))}
	return r.answered(200)
}

func (c *client) blob(repository string, names ...string) {
	for _, name := range names {
		c.blobbing(repository, name, 200).end(true)
	}
}

// blobbing is a GET of a blob up to the head of the answer.
func (c *client) blobbing(repository, name string, status int) *request {
	return c.begin(detect.BlobGet, repository, blobOf(name), func(op *detect.Operation) { op.Range = status == 206 }).answered(status)
}

func (c *client) upload(repository string, took time.Duration) {
	for _, a := range []detect.Action{detect.BlobHead, detect.UploadStart, detect.UploadChunk, detect.UploadEnd} {
		r := c.begin(a, repository, "", nil)
		time.Sleep(took / 4)
		r.answered(202).end(true)
	}
}

func (c *client) mount(repository, from, name string, status int) {
	c.begin(detect.UploadStart, repository, "", func(op *detect.Operation) { op.Mount, op.From = blobOf(name), from }).answered(status).end(true)
}

// put is a PUT of a manifest that the registry accepts.
func (c *client) put(repository, reference string, b []byte, tags ...string) {
	c.putting(repository, reference, b, tags...).done(b)
}

// putting is a PUT up to its last byte, which may be sent to the upstream now.
func (c *client) putting(repository, reference string, b []byte, tags ...string) *request {
	r := c.begin(detect.ManifestPut, repository, reference, func(op *detect.Operation) {
		op.Tags = tags
		op.Sent = detect.Body{Bytes: b, Digest: digestOfBytes(b), MediaType: mediaTypeOf(b), Size: int64(len(b))}
	})
	r.in = c.intend(r.op)
	return r
}

// done lets the registry execute the PUT and answer.
func (r *request) done(b []byte) {
	r.c.commit(r.op, b)
	r.op.ContentDigest, r.op.OCITags = digestOfBytes(b), r.op.Tags
	r.answered(201).end(true)
}

// commit does to the registry what a PUT does.
func (c *client) commit(op *detect.Operation, b []byte) {
	if detect.IsDigest(op.Reference) {
		c.has(op.Repository, b, op.Tags...)
	} else {
		c.has(op.Repository, b, op.Reference)
	}
}

func (c *client) del(repository, reference string) { c.deleting(repository, reference).gone() }

// deleting is a DELETE that may be sent to the upstream; the look-up before it is done.
func (c *client) deleting(repository, reference string) *request {
	d, b := c.resolve(repository, reference)
	r := c.begin(detect.ManifestDelete, repository, reference, func(op *detect.Operation) {
		if b == nil {
			op.Before = &detect.Found{Absent: true}
		} else {
			op.Before = &detect.Found{Digest: d, MediaType: mediaTypeOf(b), Size: int64(len(b)), Manifest: b}
		}
	})
	r.in = c.intend(r.op)
	return r
}

// gone lets the registry execute the delete and answer, or answer that there was nothing.
func (r *request) gone() {
	if _, b := r.c.resolve(r.op.Repository, r.op.Reference); b == nil {
		r.answered(404).end(true)
		return
	}
	r.c.sim.gone(r.op.Repository, r.op.Reference)
	r.answered(202).end(true)
}

// lose ends the request without an answer.
func (r *request) lose() {
	r.c.LeaveOpen(r.in)
	r.in = nil
	r.op.Status = http.StatusBadGateway
	r.c.Answered(&r.tr, r.op)
	r.end(true)
}

// lines returns events as tests write them.
func (s *sim) lines(events []detect.Event) (lines []string) {
	for i := range events {
		lines = append(lines, s.line(&events[i]))
	}
	return lines
}

func (s *sim) line(e *detect.Event) string {
	verb := map[detect.Type]string{
		detect.PushArtifact: "push", detect.PullArtifact: "pull", detect.DeleteArtifact: "delete", detect.DeleteTag: "untag",
		detect.UploadChart: "upload", detect.DownloadChart: "download", detect.DeleteChart: "remove",
	}[e.Type]
	parts := []string{verb, e.Repository}
	if len(e.Tags) > 0 {
		tags := slices.Clone(e.Tags)
		slices.Sort(tags)
		parts[1] += ":" + strings.Join(tags, "+")
	}
	if e.Digest != "" {
		parts = append(parts, cmp.Or(s.names[e.Digest], e.Digest))
	}
	if e.Chart != nil {
		parts = append(parts, e.Chart.Name+" "+e.Chart.Version)
	}
	if e.Artifact != nil && e.Artifact.Kind != detect.Image && e.Artifact.Kind != detect.Index {
		parts = append(parts, "kind="+string(e.Artifact.Kind))
	}
	if e.Artifact != nil && e.Artifact.Subject != "" {
		parts = append(parts, "of="+s.names[e.Artifact.Subject])
	}
	if e.Type != detect.DeleteArtifact && e.Artifact != nil && len(e.Artifact.Children) > 0 {
		var kids []string
		for _, c := range e.Artifact.Children {
			kids = append(kids, s.names[c.Digest])
		}
		slices.Sort(kids)
		parts = append(parts, "children="+strings.Join(kids, "+"))
	}
	if e.Previous != "" {
		parts = append(parts, "was="+s.names[e.Previous])
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"unchanged", e.Unchanged}, {"manifest-only", e.Moved == detect.MovedManifest}, {"config-only", e.Moved == detect.MovedConfig}, {"inferred", e.Inferred}, {"unnamed", e.Unnamed}, {"mismatch", e.Mismatch}} {
		if flag.set {
			parts = append(parts, flag.name)
		}
	}
	if e.Client.Operator != "alice" {
		parts = append(parts, fmt.Sprintf("by=%q", e.Client.Operator))
	}
	return strings.Join(parts, " ")
}

// scenario has what clients do, and the events that it must cause.
type scenario struct {
	name string
	run  func(*sim)
	want []string
}

func runScenarios(t *testing.T, all []scenario) {
	for _, sc := range all {
		t.Run(sc.name, func(t *testing.T) {
			if got := simulate(t, sc.run); !slices.Equal(got, sc.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(sc.want, "\n\t"))
			}
		})
	}
}
