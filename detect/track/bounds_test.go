package track

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// quietLedger stores nothing and counts events, so that only the Tracker is measured.
type quietLedger struct {
	*fakeLedger
	events int
}

func (q *quietLedger) Record(events ...detect.Event) { q.events += len(events) }

func newQuiet(tb testing.TB, cfg Config) (*Tracker, *quietLedger) {
	l := &quietLedger{fakeLedger: &fakeLedger{t: tb, db: newRows()}}
	return New(cfg, l, &fakeUpstream{}), l
}

// Memory stays bounded while a million clients, repositories and tags pass.
func TestMemoryIsBounded(t *testing.T) {
	n := 200_000 // twenty times the capacity
	if testing.Short() {
		n = 100_000
	}
	bounds := Bounds{Sessions: 10_000, SessionBytes: 8 << 20, Session: 16, Index: 10_000, ContentBytes: 1 << 20, Learned: 1000}
	tracker, _ := newQuiet(t, Config{Accessories: true, Bounds: bounds})
	before := heap()
	manifest := simImage("one", "l1", "l2")
	body := detect.Body{Bytes: manifest, Digest: digestOfBytes(manifest), MediaType: mediaTypeOf(manifest)}
	at := time.Now()
	for i := range n {
		op := detect.Operation{
			Request:  detect.Request{Action: detect.ManifestHead, Repository: fmt.Sprintf("r%d/app", i), Reference: fmt.Sprintf("v%d", i)},
			Upstream: "up", Kind: detect.Registry, At: at, Status: 200, ContentDigest: body.Digest, MediaType: body.MediaType, Complete: true,
			Client: detect.Client{Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), UserAgent: "docker"},
		}
		if i%4 == 0 {
			op.Action, op.Got = detect.ManifestGet, body
		}
		transfer := tracker.Start(&op)
		tracker.Answered(&transfer, &op)
		tracker.End(&transfer, &op)
	}
	s := tracker.Stats()
	if s.Sessions > bounds.Sessions || s.SessionBytes > bounds.SessionBytes || s.Index > bounds.Index || s.ContentBytes > bounds.ContentBytes {
		t.Errorf("over the bounds: %+v", s)
	}
	if s.Dropped == 0 || s.Misses == 0 {
		t.Errorf("nothing was dropped or missed: %+v", s)
	}
	if grown := heap() - before; grown > 48<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	runtime.KeepAlive(tracker)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Memory stays bounded while one client does everything possible in one repository, a hundred
// thousand times.
func TestOneClientIsBounded(t *testing.T) {
	bounds := Bounds{Session: 32}
	tracker, _ := newQuiet(t, Config{Accessories: true, Bounds: bounds})
	for i := range 100_000 {
		manifest := []byte(fmt.Sprintf(`{"schemaVersion":2,"layers":[{"digest":%q}]}`, blobOf(fmt.Sprint(i))))
		op := detect.Operation{
			Request:  detect.Request{Repository: "app", Reference: fmt.Sprintf("v%d", i)},
			Upstream: "up", Kind: detect.Registry, At: time.Now(), Status: 200, ContentDigest: digestOfBytes(manifest), Complete: true,
		}
		op.Action = []detect.Action{detect.ManifestHead, detect.ManifestGet, detect.BlobGet, detect.Referrers, detect.UploadStart}[i%5]
		if op.Action == detect.ManifestGet {
			op.Got = detect.Body{Bytes: manifest, Digest: digestOfBytes(manifest)}
		}
		transfer := tracker.Start(&op)
		tracker.Answered(&transfer, &op)
		tracker.End(&transfer, &op)
	}
	if s := tracker.Stats(); s.Sessions != 1 || s.SessionBytes > 256<<10 {
		t.Errorf("got the stats %+v", s)
	}
}

// Of request lines of 60 KB only the names that a registry accepts are kept, as copies.
func TestHugeRequestsAreForgotten(t *testing.T) {
	const requests = 1_700 // of six kinds
	tracker, _ := newQuiet(t, Config{})
	evidence := detect.NewEvidence()
	before := heap()
	for i := range requests {
		huge, name := strings.Repeat("x", 60<<10), fmt.Sprint("team/app", i)
		for _, line := range [][2]string{
			{"/v2/" + huge + "/manifests/v1", ""}, {"/v2/" + name + "/manifests/" + huge, ""}, {"/v2/" + name + "/referrers/" + huge, ""},
			{"/v2/" + name + "/manifests/v1", "ns=" + huge}, {"/v2/" + name + "/manifests/v1", "junk=" + huge}, {"/v2/" + name + "/manifests/v1" + "/x/.." + strings.Repeat("/.", 30<<10), ""},
		} {
			whole := line[0] + "?" + line[1] // net/http has one string for the whole line, too
			r := detect.Classify(detect.Registry, "", http.MethodHead, whole[:len(line[0])], whole[len(line[0])+1:])
			op := detect.Operation{
				Request: r, Upstream: "up", Kind: detect.Registry, At: time.Now(), Status: 200, ContentDigest: blobOf("x"), Complete: true,
				Client: detect.Client{Address: "::1"},
			}
			evidence.Anonymous(op.Upstream, op.Repository, op.Action, op.Status, op.At)
			transfer := tracker.Start(&op)
			tracker.Answered(&transfer, &op)
			tracker.End(&transfer, &op)
		}
	}
	if grown := heap() - before; grown > requests*4<<10 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	runtime.KeepAlive(tracker)
	runtime.KeepAlive(evidence)
}

// BenchmarkManifestGet measures observing: a new client reads a manifest and a layer, and the pull
// becomes an event.
func BenchmarkManifestGet(b *testing.B) {
	tracker, l := newQuiet(b, Config{Accessories: true})
	manifest := simImage("one", "l1", "l2", "l3", "l4", "l5")
	body := detect.Body{Bytes: manifest, Digest: digestOfBytes(manifest), MediaType: mediaTypeOf(manifest)}
	ctx := context.Background()
	known := Observation{Upstream: "up", Repository: "team/app", Tag: "v1", Digest: body.Digest, At: time.Now()}
	if err := tracker.Learn(ctx, known); err != nil {
		b.Fatal(err)
	}
	tracker.TagsOf(ctx, "up", "", "team/app", body.Digest) // fills the cache
	addresses := make([]string, 1<<16)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		op := detect.Operation{
			Request:  detect.Classify(detect.Registry, "", "GET", "/v2/team/app/manifests/v1", ""),
			Upstream: "up", Kind: detect.Registry, At: time.Now(), Status: 200, ContentDigest: body.Digest, MediaType: body.MediaType, Complete: true, Got: body,
			Client: detect.Client{Address: addresses[i&(1<<16-1)], UserAgent: fmt.Sprint(i >> 16)},
		}
		blob := op
		transfer := tracker.Start(&op)
		tracker.Answered(&transfer, &op)
		tracker.End(&transfer, &op)
		blob.Action, blob.Reference = detect.BlobGet, blobOf("l1")
		transfer = tracker.Start(&blob)
		tracker.Answered(&transfer, &blob)
		tracker.End(&transfer, &blob)
	}
	b.ReportMetric(float64(l.events)/float64(b.N), "events/op")
}
