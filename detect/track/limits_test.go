package track

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
	"github.com/bellbuoy/bellbuoy/test/hostile"
)

// What is kept of a manifest is bounded, in rows and in memory, whatever its content.
func TestKeptDataOfManifestsIsBounded(t *testing.T) {
	for name, text := range hostile.Manifests(detect.MaxManifest) {
		m, _ := detect.ReadManifest([]byte(text), "")
		if m == nil {
			continue
		}
		row := tagindex.NewRow(detect.Key{}, tagindex.RowOf(m), time.Time{})
		index := tagindex.New(nil, tagindex.Bounds{Rows: 1, RowBytes: 1, ContentBytes: 1 << 40})
		index.KeepPut(blobOf(name), m)
		if n := index.Stats().ContentBytes; len(row.Value) > 1<<20 || n == 0 || n > 6<<20 {
			t.Errorf("%s: a row of %d bytes, %d in memory", name, len(row.Value), n)
		}
	}
}

// Until the upstream has accepted a body, the store has only its digest, its size and its type.
func TestIntentIsSmall(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	tags := make([]string, detect.MaxTags)
	for i := range tags {
		tags[i] = fmt.Sprintf("%0*d", detect.MaxTag, i)
	}
	odd := func(n int) string { return strings.Repeat("\xff", n) }
	found := &detect.Found{Digest: blobOf("x"), TagsComplete: true, Manifest: []byte(hostile.Manifests(detect.MaxManifest)["children"])}
	for i := range 10_000 {
		found.Tags = append(found.Tags, fmt.Sprintf("%0*d", detect.MaxTag, i))
	}
	for name, text := range hostile.Manifests(detect.MaxManifest) {
		for _, action := range []detect.Action{detect.ManifestPut, detect.ManifestDelete} {
			op := &detect.Operation{
				Request:  detect.Request{Action: action, Repository: odd(detect.MaxRepository), Reference: "sha256:" + strings.Repeat("a", detect.MaxDigest-7), Hint: odd(detect.MaxHint), Tags: tags},
				Upstream: "up", Kind: detect.Registry, At: time.Now(), ID: strings.Repeat("i", detect.MaxRequestID), Before: found,
				Client: detect.Client{Operator: strings.Repeat("<", detect.MaxOperator), UserAgent: strings.Repeat(`"`, detect.MaxUserAgent), Address: "::1"},
				Sent:   detect.Body{Bytes: []byte(text), Digest: digestOfBytes([]byte(text)), MediaType: strings.Repeat("<", 255)},
			}
			in, err := w.Intend(context.Background(), op)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range w.ledger.db.scan(rowIntent) {
				if len(row.Value) > detect.MaxIntent {
					t.Errorf("%s, %v: an intent of %d bytes", name, action, len(row.Value))
				}
			}
			if len(in.w.Before.Tags) != len(found.Tags) {
				t.Errorf("%d tags are left of %d", len(in.w.Before.Tags), len(found.Tags))
			}
			if err := w.Drop(context.Background(), in); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// An index absorbs its children even if it lists more than are kept.
func TestIndexOfMoreChildrenThanAreKept(t *testing.T) {
	const kept = 2_000 // more children than detect.ReadManifest describes
	for _, waiting := range []int{1, 5} {
		got := simulate(t, func(s *sim) {
			c := s.client("crane")
			var children [][]byte
			for i := range kept + 100 {
				children = append(children, s.image(fmt.Sprint("i", i), "l"))
			}
			for i := range waiting {
				c.put("app", digestOfBytes(children[len(children)-1-i]), children[len(children)-1-i])
			}
			c.put("app", "v1", s.index("idx", children...))
		})
		if len(got) != 1 || !strings.HasPrefix(got[0], "push app:v1 idx") {
			t.Errorf("got the events %q", got)
		}
	}
}

// A manifest for which there was no room is read from the upstream, once that has accepted it. If
// that fails, its kind is unknown.
func TestManifestIsReadFromTheUpstream(t *testing.T) {
	for _, tt := range []struct {
		name string
		down error
		want string
	}{
		{"the upstream returns it", nil, "push app:v1 one kind=chart"},
		{"the look-up fails", errDown, "push app:v1 one kind="},
	} {
		got := simulate(t, func(s *sim) {
			b := s.manifest("one", helmConfig, "", []string{"l"})
			r := s.client("helm").putting("app", "v1", b)
			r.op.Sent.Bytes = nil
			s.upstream.setDown(tt.down)
			r.done(b)
		})
		if !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The size of an index takes a bounded number of rows. If these are not enough, the size is
// inexact.
func TestSizeOfManyChildren(t *testing.T) {
	for children, inexact := range map[int]bool{maxSizedChildren: false, maxSizedChildren + 1: true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t)
			var images [][]byte
			for i := range children {
				images = append(images, s.image(fmt.Sprint("i", i), "l"))
			}
			s.client("crane").put("app", "v1", s.index("idx", images...))
			events := s.finish()
			if len(events) != 1 || events[0].Artifact.Inexact != inexact {
				t.Errorf("%d children: %d events, inexact %t", children, len(events), events[0].Artifact.Inexact)
			}
		})
	}
}
