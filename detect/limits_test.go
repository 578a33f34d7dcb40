package detect

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bellbuoy/bellbuoy/test/hostile"
)

func digestOfBytes(b []byte) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(b))
}

// The cost of reading a manifest is bounded, whatever its content.
func TestCostOfReadingAManifestIsBounded(t *testing.T) {
	for name, text := range hostile.Manifests(MaxManifest) {
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
		if len(m.Layers) > maxLayers || len(m.Children) > maxChildren || len(m.Platforms) > maxPlatforms || len(m.MediaType) > maxType {
			t.Errorf("%s: %d layers, %d children, %d platforms", name, len(m.Layers), len(m.Children), len(m.Platforms))
		}
		if over := len(m.Layers) == maxLayers || len(m.Children) == maxChildren; over != m.Inexact {
			t.Errorf("%s: inexact is %v", name, m.Inexact)
		}
	}
}

// FuzzReadManifest compares ReadManifest with encoding/json, with which registries read manifests.
func FuzzReadManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:aa","size":7},"layers":[{"digest":"sha256:bb","size":3,"mediaType":"m"},null,{}]}`))
	f.Add([]byte(`{"Manifests":[{"digest":"sha256:\u0061a","size":-3,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}],"annotations":{"a":"b"}}`))
	f.Add([]byte(`{"layers":[{"annotations":{"x":[1,2,{"y":"\\\""}]},"size":9223372036854775807},{"size":1}],"subject":null,"manifests":null}`))
	for _, text := range hostile.Manifests(MaxManifest) {
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

// once returns a JSON text without members that occur twice, because readers choose different ones;
// nil if it is no JSON.
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

// folded reports whether an object has names that differ only in their case.
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
