package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest is what the bytes of a manifest say, within fixed limits, because a stranger may have
// written them.
type Manifest struct {
	Artifact
	Config string   // digest of the config; "" for an index
	Layers []string // digests of the first maxLayers
	Sizes  []int64  // bytes of each of Layers and behind them of Config, as the manifest says
	Others []string // digests of the children that Children has no room for, sorted
}

// Errors of ReadManifest. The event of such a manifest has the digest of the upstream and no more.
var (
	ErrSchema1     = errors.New("manifest of schema 1")
	ErrNotManifest = errors.New("not a manifest")
)

// The limits of what is kept of one manifest.
const (
	maxLayers      = 2_000     // digests; more are counted in Size
	maxChildren    = 2_000     // descriptions; more are known by digest only
	maxChildBytes  = 320 << 10 // bytes of these descriptions
	maxOthers      = 65_536    // digests of further children: more than fit into 4 MiB
	maxPlatforms   = 500
	maxType        = 255      // bytes of a media, artifact or config type
	maxPlatform    = 64       // bytes of an operating system, architecture or variant
	maxAnnotations = 16 << 10 // bytes of all annotations' keys and values
	maxNotes       = 256      // annotations
)

// ReadManifest reads a decoded manifest. mediaType is the Content-Type that came with it; a media
// type in the bytes counts more. Size is the sum of the manifest, its config and its layers; of an
// index, the sum of itself and the manifests that it lists.
//
// If a manifest lists more than the limits above, the rest is counted, and Inexact is set.
func ReadManifest(b []byte, mediaType string) (*Manifest, error) {
	if !json.Valid(b) {
		return nil, fmt.Errorf("%w: it is no JSON", ErrNotManifest)
	}
	w := wireManifest{jsonReader: jsonReader{b: b}}
	w.read()
	if w.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotManifest, w.err)
	}
	if w.schemaVersion == 1 {
		return nil, ErrSchema1
	}
	if w.mediaType == "" {
		w.mediaType = mediaType
	}
	return w.manifest(), nil
}

// manifest makes a Manifest of what was read.
func (w *wireManifest) manifest() *Manifest {
	m := &Manifest{Artifact: Artifact{
		Kind:         kindOf(w),
		MediaType:    w.mediaType,
		ArtifactType: w.artifactType,
		Size:         addSize(int64(len(w.b)), w.manifests.size),
		Own:          int64(len(w.b)),
		Annotations:  w.annotations.kept,
	}}
	if w.subject != nil {
		m.Subject = w.subject.digest
	}
	if w.isIndex() {
		m.addChildren(&w.manifests)
	} else {
		m.addBlobs(w)
	}
	return m
}

func (w *wireManifest) isIndex() bool {
	switch w.mediaType {
	case ocispec.MediaTypeImageIndex, dockerList:
		return true
	case ocispec.MediaTypeImageManifest:
		return false
	}
	return w.manifests.there && w.config == nil && !w.layers.there
}

func (m *Manifest) addChildren(l *childList) {
	m.Children, m.Others = l.list, l.others
	m.Inexact = len(l.others) > 0 || l.lost
	for i := range l.list {
		p := l.list[i].Platform
		switch {
		case p == "" || strings.HasPrefix(p, "unknown/"):
		case len(m.Platforms) < maxPlatforms:
			m.Platforms = append(m.Platforms, p)
		default:
			m.Inexact = true
		}
	}
}

func (m *Manifest) addBlobs(w *wireManifest) {
	for _, l := range []*blobList{&w.layers, &w.blobs} {
		m.Size = addSize(m.Size, l.size)
		n := min(len(l.digests), maxLayers-len(m.Layers))
		m.Layers, m.Sizes = append(m.Layers, l.digests[:n]...), append(m.Sizes, l.sizes[:n]...)
	}
	if w.config != nil {
		m.Config, m.ConfigType = w.config.digest, w.config.mediaType
		m.Size = addSize(m.Size, w.config.size)
		m.Sizes = append(m.Sizes, w.config.size)
	}
	m.Inexact = len(m.Layers) < w.layers.count+w.blobs.count
}

// addSize adds a size to a sum. Negative sizes do not shrink the sum, and large ones do not
// overflow it.
func addSize(sum, n int64) int64 {
	switch {
	case n <= 0:
		return sum
	case sum > math.MaxInt64-n:
		return math.MaxInt64
	}
	return sum + n
}
