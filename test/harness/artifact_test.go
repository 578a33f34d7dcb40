package harness

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestImageManifestMatchesItsConfigAndLayers(t *testing.T) {
	a := NewImage(ImageOptions{Layers: 3, Platform: "linux/arm/v7", Annotations: map[string]string{"a": "b"}})
	var m v1.Manifest
	decode(t, a.Manifest, &m)
	if digest.FromBytes(a.Manifest) != a.Digest || int64(len(a.Manifest)) != a.Size {
		t.Error("the descriptor is not that of the manifest")
	}
	if len(m.Layers) != 3 || m.Annotations["a"] != "b" {
		t.Errorf("got the manifest %s, want 3 layers and the annotation", a.Manifest)
	}
	var config v1.Image
	decode(t, a.Blob(m.Config.Digest), &config)
	if config.OS != "linux" || config.Architecture != "arm" || config.Variant != "v7" {
		t.Errorf("got the platform %+v, want linux/arm/v7", config.Platform)
	}
	total := int64(len(a.Manifest)) + m.Config.Size
	for i, layer := range m.Layers {
		content := gunzip(t, a.Blob(layer.Digest))
		if got := digest.FromBytes(content); got != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d: got the diff id %s, want that of the config, %s", i, got, config.RootFS.DiffIDs[i])
		}
		total += layer.Size
	}
	if a.TotalSize() != total {
		t.Errorf("total size %d, want %d", a.TotalSize(), total)
	}
}

func TestIndexHoldsItsChildren(t *testing.T) {
	a := NewMultiArch(ImageOptions{}, "linux/amd64", "linux/arm64")
	var index v1.Index
	decode(t, a.Manifest, &index)
	total := int64(len(a.Manifest))
	for i, d := range index.Manifests {
		child := a.Children[i]
		if d.Digest != child.Digest || d.Platform == nil || a.Blob(d.Digest) == nil {
			t.Errorf("child %d: got %+v, want the digest %s, a platform and a blob", i, d, child.Digest)
		}
		total += child.TotalSize()
	}
	if len(index.Manifests) != 2 || index.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("got the index %s, want 2 children, the second for arm64", a.Manifest)
	}
	if a.TotalSize() != total {
		t.Errorf("total size %d, want %d", a.TotalSize(), total)
	}
}

func TestEqualSeedsMakeEqualImages(t *testing.T) {
	one, same := NewImage(ImageOptions{Seed: 7}), NewImage(ImageOptions{Seed: 7})
	if one.Digest != same.Digest {
		t.Error("equal seeds made different images")
	}
	if other := NewImage(ImageOptions{Seed: 8}); other.Digest == one.Digest {
		t.Error("different seeds made equal images")
	}
	if a, b := NewImage(ImageOptions{}), NewImage(ImageOptions{}); a.Digest == b.Digest {
		t.Error("two random images are equal")
	}
}

func TestLayoutHasEveryBlob(t *testing.T) {
	a := NewMultiArch(ImageOptions{}, "linux/amd64", "linux/arm64")
	dir := a.Layout(t, "v1")
	var index v1.Index
	decode(t, read(t, filepath.Join(dir, "index.json")), &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations[v1.AnnotationRefName] != "v1" {
		t.Fatalf("index.json %+v", index)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil || len(blobs) != len(a.blobs) {
		t.Fatalf("%d blobs (%v), want %d", len(blobs), err, len(a.blobs))
	}
	for _, path := range blobs {
		if got := digest.FromBytes(read(t, path)).Encoded(); got != filepath.Base(path) {
			t.Errorf("the blob %s has the digest %s", path, got)
		}
	}
}

func TestDockerArchiveListsConfigAndLayers(t *testing.T) {
	a := NewImage(ImageOptions{Layers: 2})
	files := untar(t, read(t, a.DockerArchive(t, "example.com/app:v1")))
	var entries []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	decode(t, files["manifest.json"], &entries)
	if len(entries) != 1 || entries[0].RepoTags[0] != "example.com/app:v1" || len(entries[0].Layers) != 2 {
		t.Fatalf("manifest.json %s", files["manifest.json"])
	}
	for _, name := range append(entries[0].Layers, entries[0].Config) {
		if len(files[name]) == 0 {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestChartStartsWithItsChartYAML(t *testing.T) {
	archive := gunzip(t, NewChart("my-app", "1.0.0-rc.1+build.5", ChartOptions{Type: "library", Size: 4096}))
	header, err := tar.NewReader(bytes.NewReader(archive)).Next()
	if err != nil || header.Name != "my-app/Chart.yaml" {
		t.Fatalf("first entry %+v, %v", header, err)
	}
	files := untar(t, archive)
	want := "apiVersion: v2\nname: my-app\nversion: 1.0.0-rc.1+build.5\ndescription: a chart for tests\ntype: library\n"
	if got := string(files["my-app/Chart.yaml"]); got != want {
		t.Errorf("Chart.yaml %q, want %q", got, want)
	}
	if len(files["my-app/files/random"]) != 4096 {
		t.Error("the random file is missing")
	}
}

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("decoding %q: %v", data, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files, r := map[string][]byte{}, tar.NewReader(bytes.NewReader(data))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJUnitTotals(t *testing.T) {
	report := `<testsuites time="1" tests="10" failures="2" skipped="3" disabled="1"><testsuite name="x" tests="10"/></testsuites>`
	got, err := countJUnit([]byte(report))
	if want := (ConformanceResult{Passed: 4, Failed: 2, Skipped: 3, Disabled: 1}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := countJUnit([]byte("<html/>")); err == nil {
		t.Error("another document was read as a report")
	}
}
