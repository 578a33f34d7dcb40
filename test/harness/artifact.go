package harness

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Artifact is an image or an index with all that it refers to, in memory.
type Artifact struct {
	v1.Descriptor            // of the top manifest
	Manifest      []byte     // the top manifest's bytes
	Children      []Artifact // of an index, in its order
	Config        v1.Descriptor
	Layers        []v1.Descriptor
	blobs         map[digest.Digest][]byte // config, layers and manifests, the children's too
}

// ImageOptions chooses what an image is made of. The zero value is one random layer of a few
// hundred bytes for linux/amd64.
type ImageOptions struct {
	Layers       int               // 0: one
	Files        map[string][]byte // of the only layer; nil: random ones
	Broken       bool              // the layers end in the middle
	LayerSize    int               // bytes of random content in each; 0: 512
	Seed         int64             // 0: different at each call; the same seed makes the same image
	Platform     string
	Annotations  map[string]string
	ArtifactType string
	Subject      *v1.Descriptor
}

// NewImage makes an OCI image.
func NewImage(opts ImageOptions) Artifact {
	a := Artifact{blobs: map[digest.Digest][]byte{}}
	var diffIDs []digest.Digest
	for _, content := range layers(opts) {
		diffIDs = append(diffIDs, digest.FromBytes(content))
		layer := compress(content)
		if opts.Broken {
			layer = layer[:len(layer)/2]
		}
		a.Layers = append(a.Layers, a.add(v1.MediaTypeImageLayerGzip, layer))
	}
	platform := parsePlatform(opts.Platform)
	created := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	config := v1.Image{
		Created: &created, Platform: platform, Config: v1.ImageConfig{Cmd: []string{"/layer-0"}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs},
	}
	a.Config = a.add(v1.MediaTypeImageConfig, marshal(config))
	a.setManifest(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: opts.ArtifactType,
		Config: a.Config, Layers: a.Layers, Annotations: opts.Annotations, Subject: opts.Subject,
	})
	a.Platform = &platform
	return a
}

// layers returns the tars of an image's layers.
func layers(opts ImageOptions) (tars [][]byte) {
	if opts.Files != nil {
		return [][]byte{tarOf(opts.Files)}
	}
	random := newRandom(opts.Seed)
	for i := range max(opts.Layers, 1) {
		tars = append(tars, layerTar(fmt.Sprintf("layer-%d", i), random.bytes(cmp.Or(opts.LayerSize, 512))))
	}
	return tars
}

// NewIndex makes an OCI index of the given images.
func NewIndex(children ...Artifact) Artifact {
	a := Artifact{Children: children, blobs: map[digest.Digest][]byte{}}
	var manifests []v1.Descriptor
	for _, child := range children {
		manifests = append(manifests, child.Descriptor)
		maps.Copy(a.blobs, child.blobs)
	}
	a.setManifest(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: manifests,
	})
	return a
}

// NewMultiArch makes an index of one image for each platform, e.g. "linux/arm64".
func NewMultiArch(opts ImageOptions, platforms ...string) Artifact {
	var children []Artifact
	for i, platform := range platforms {
		opts := opts
		opts.Platform = platform
		if opts.Seed != 0 {
			opts.Seed += int64(i)
		}
		children = append(children, NewImage(opts))
	}
	return NewIndex(children...)
}

// TotalSize returns the size of the manifest, its config and its layers; for an index, its own size
// and the sum of its children's.
func (a Artifact) TotalSize() int64 {
	total := int64(len(a.Manifest)) + a.Config.Size
	for _, layer := range a.Layers {
		total += layer.Size
	}
	for _, child := range a.Children {
		total += child.TotalSize()
	}
	return total
}

// Blob returns the bytes of a digest of this artifact; nil if it has no such blob.
func (a Artifact) Blob(d digest.Digest) []byte { return a.blobs[d] }

// Layout writes the artifact as an OCI image layout, tagged ref, and returns its directory. crane,
// skopeo (oci:dir:ref), oras (--from-oci-layout dir:ref) and regctl (ocidir://dir:ref) read it.
func (a Artifact) Layout(t T, ref string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range a.layoutFiles(ref) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatalf("%v", err)
		}
		WriteFile(t, path, string(content))
	}
	return dir
}

// Archive writes the layout as a tar file and returns its path: skopeo's oci-archive, podman load.
func (a Artifact) Archive(t T, ref string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	WriteFile(t, path, string(tarOf(a.layoutFiles(ref))))
	return path
}

// DockerArchive writes an image (no index) as `docker save` does, tagged ref, and returns its path:
// docker load, crane push.
func (a Artifact) DockerArchive(t T, ref string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	WriteFile(t, path, string(tarOf(a.dockerFiles(ref))))
	return path
}

func (a Artifact) layoutFiles(ref string) map[string][]byte {
	top := a.Descriptor
	top.Annotations = map[string]string{v1.AnnotationRefName: ref}
	files := map[string][]byte{
		v1.ImageLayoutFile: marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion}),
		v1.ImageIndexFile: marshal(v1.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{top},
		}),
	}
	for d, content := range a.blobs {
		files["blobs/"+d.Algorithm().String()+"/"+d.Encoded()] = content
	}
	return files
}

func (a Artifact) dockerFiles(ref string) map[string][]byte {
	files := map[string][]byte{a.Config.Digest.Encoded() + ".json": a.blobs[a.Config.Digest]}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: a.Config.Digest.Encoded() + ".json", RepoTags: []string{ref}}
	for _, layer := range a.Layers {
		name := layer.Digest.Encoded() + ".tar.gz"
		files[name] = a.blobs[layer.Digest]
		entry.Layers = append(entry.Layers, name)
	}
	files["manifest.json"] = marshal([]any{entry})
	return files
}

func (a *Artifact) setManifest(mediaType string, manifest any) {
	a.Manifest = marshal(manifest)
	a.Descriptor = a.add(mediaType, a.Manifest)
}

func (a *Artifact) add(mediaType string, content []byte) v1.Descriptor {
	d := digest.FromBytes(content)
	a.blobs[d] = content
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func layerTar(name string, content []byte) []byte { return tarOf(map[string][]byte{name: content}) }

// tarOf returns a tar of regular files, sorted by name and without times, so that equal files are
// equal bytes.
func tarOf(files map[string][]byte) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		must(w.WriteHeader(header))
		_, err := w.Write(files[name])
		must(err)
	}
	must(w.Close())
	return buf.Bytes()
}

func compress(content []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(content)
	must(err)
	must(w.Close())
	return buf.Bytes()
}

func marshal(v any) []byte {
	out, err := json.Marshal(v)
	must(err)
	return out
}

// must panics if err is not nil. It is for what cannot fail, such as writing to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func parsePlatform(s string) v1.Platform {
	os, arch, _ := strings.Cut(cmp.Or(s, "linux/amd64"), "/")
	arch, variant, _ := strings.Cut(arch, "/")
	return v1.Platform{OS: os, Architecture: arch, Variant: variant}
}
