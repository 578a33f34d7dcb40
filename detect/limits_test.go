package detect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// hostileManifests are as long as a registry takes them, and as costly to read as they can be made.
func hostileManifests() map[string]string {
	fill := func(begin, one, end string) string {
		return begin + one + strings.Repeat(","+one, (MaxManifest-len(begin)-len(end))/(len(one)+1)-1) + end
	}
	child := `{"digest":"` + blobOf("x") + `","platform":{"os":"o","architecture":"a"}}`
	return map[string]string{
		"empty layers":         fill(`{"layers":[`, `{}`, `]}`),
		"layers with a digest": fill(`{"layers":[`, `{"digest":"a:b"}`, `]}`),
		"children":             fill(`{"manifests":[`, child, `]}`),
		"short children":       fill(`{"manifests":[`, `{"digest":"a:b"}`, `]}`),
		"long types":           fill(`{"manifests":[`, `{"mediaType":"`+strings.Repeat("<", 255)+`","artifactType":"`+strings.Repeat("t", 255)+`"}`, `]}`),
		"a long media type":    `{"mediaType":"` + strings.Repeat("<", MaxManifest-20) + `"}`,
		"annotations":          fill(`{"annotations":{`, `"":""`, `}}`),
		"unknown members":      fill(`{`, `"":0`, `}`),
		"deep":                 `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
	}
}

// TestReadingManifestIsCheap: what a manifest costs to read is bounded, whatever is in it.
func TestReadingManifestIsCheap(t *testing.T) {
	for name, text := range hostileManifests() {
		b := []byte(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, _ := ReadManifest(b, "")
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 32<<20 {
			t.Errorf("%s: %d MiB for %d bytes", name, spent>>20, len(b))
		}
		if m == nil {
			continue
		}
		row := newRow(Key{}, rowOf(m, int64(len(b))), time.Time{})
		if len(row.Value) > 1<<20 || costOf(m) > 6<<20 {
			t.Errorf("%s: a row of %d bytes, %d in memory", name, len(row.Value), costOf(m))
		}
		if len(m.Layers) > maxLayers || len(m.Children) > maxChildren || len(m.Platforms) > maxPlatforms || len(m.MediaType) > maxType {
			t.Errorf("%s: %d layers, %d children, %d platforms", name, len(m.Layers), len(m.Children), len(m.Platforms))
		}
		if over := len(m.Layers) == maxLayers || len(m.Children) == maxChildren; over != m.Inexact {
			t.Errorf("%s: inexact is %v", name, m.Inexact)
		}
	}
}

// FuzzReadManifest compares with encoding/json, which registries read manifests with.
func FuzzReadManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:aa","size":7},"layers":[{"digest":"sha256:bb","size":3,"mediaType":"m"},null,{}]}`))
	f.Add([]byte(`{"Manifests":[{"digest":"sha256:\u0061a","size":-3,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}],"annotations":{"a":"b"}}`))
	f.Add([]byte(`{"layers":[{"annotations":{"x":[1,2,{"y":"\\\""}]},"size":9223372036854775807},{"size":1}],"subject":null,"manifests":null}`))
	for _, text := range hostileManifests() {
		f.Add([]byte(text[:min(len(text), 20_000)]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		_, err := ReadManifest(b, "")
		if err == nil && !json.Valid(b) {
			t.Fatal("it is no JSON")
		}
		if b = once(b); b != nil {
			compareWithJSON(t, b)
		}
	})
}

// once is a JSON text without members that come twice, of which each reader may take another; nil where it is none.
func once(b []byte) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&v) != nil || folded(v) {
		return nil
	}
	b, _ = json.Marshal(v)
	return b
}

// folded reports whether names differ in nothing but their case.
func folded(v any) bool {
	seen := map[string]bool{}
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			name = strings.ToLower(strings.ToUpper(name))
			if seen[name] || folded(inner) {
				return true
			}
			seen[name] = true
		}
	case []any:
		return slices.ContainsFunc(v, folded)
	}
	return false
}

func compareWithJSON(t *testing.T, b []byte) {
	var w struct{ Layers, Blobs, Manifests []ocispec.Descriptor }
	m, err := ReadManifest(b, "")
	if err != nil || json.Unmarshal(b, &w) != nil {
		return
	}
	var layers, children, read []string
	for _, d := range slices.Concat(w.Layers, w.Blobs) {
		layers = append(layers, d.Digest.String())
	}
	for _, d := range w.Manifests {
		children = append(children, d.Digest.String())
	}
	odd := func(d string) bool { return d != "" && (!IsDigest(d) || plainText(d) == "" || len(d) > MaxDigest) }
	if slices.ContainsFunc(slices.Concat(layers, children), odd) || len(layers) > maxLayers || len(children) > maxChildren {
		return
	}
	for _, c := range m.Children {
		read = append(read, c.Digest)
	}
	if len(read) > 0 && !slices.Equal(read, children) || len(m.Layers) > 0 && !slices.Equal(m.Layers, layers) {
		t.Errorf("children %q and layers %q, encoding/json reads %q and %q", read, m.Layers, children, layers)
	}
	if len(read) == 0 && len(m.Layers) == 0 && len(layers) > 0 && len(children) > 0 {
		t.Errorf("nothing is read of %s", b)
	}
}

// TestIntentIsSmall: until the upstream has taken a body, the store has no more of it than its digest, its size and its type.
func TestIntentIsSmall(t *testing.T) {
	w := newWorld(t)
	defer w.stop()
	tags := make([]string, MaxTags)
	for i := range tags {
		tags[i] = fmt.Sprintf("%0*d", MaxTag, i)
	}
	odd := func(n int) string { return strings.Repeat("\xff", n) }
	found := &Found{Digest: blobOf("x"), TagsComplete: true, Manifest: []byte(hostileManifests()["children"])}
	for i := range 10_000 {
		found.Tags = append(found.Tags, fmt.Sprintf("%0*d", MaxTag, i))
	}
	for name, text := range hostileManifests() {
		for _, action := range []Action{ManifestPut, ManifestDelete} {
			op := &Operation{
				Request:  Request{Action: action, Repository: odd(MaxRepository), Reference: "sha256:" + strings.Repeat("a", MaxDigest-7), Hint: odd(MaxHint), Tags: tags},
				Upstream: "up", Kind: Registry, At: time.Now(), ID: strings.Repeat("i", MaxRequestID), Before: found,
				Client: Client{Operator: strings.Repeat("<", MaxOperator), UserAgent: strings.Repeat(`"`, MaxUserAgent), Address: "::1"},
				Sent:   Body{Bytes: []byte(text), Digest: digestOfBytes([]byte(text)), MediaType: strings.Repeat("<", maxType)},
			}
			in, err := w.Intend(context.Background(), op)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range w.ledger.db.scan(rowIntent) {
				if len(row.Value) > MaxIntent {
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

// TestChildrenWithoutNumber: an index absorbs what it lists also where it lists more than is kept.
func TestChildrenWithoutNumber(t *testing.T) {
	for _, waiting := range []int{1, 5} {
		got := simulate(t, func(s *sim) {
			c := s.client("crane")
			var children [][]byte
			for i := range maxChildren + 100 {
				children = append(children, s.image(fmt.Sprint("i", i), "l"))
			}
			for i := range waiting {
				c.put("app", digestOfBytes(children[len(children)-1-i]), children[len(children)-1-i])
			}
			c.put("app", "v1", s.index("idx", children...))
		})
		if len(got) != 1 || !strings.HasPrefix(got[0], "push app:v1 idx") {
			t.Errorf("got %q", got)
		}
	}
}

// TestReadBack: a manifest that there was no room for is read from the upstream once that has taken it; where it cannot be, its kind is unknown.
func TestReadBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		down error
		want string
	}{
		{"the upstream shows it", nil, "push app:v1 one kind=chart"},
		{"the upstream does not", errDown, "push app:v1 one kind="},
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
