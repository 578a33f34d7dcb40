package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest is what a manifest's bytes say.
type Manifest struct {
	Artifact
	Config string   // digest of the config; "" for an index
	Layers []string // digests
}

// Errors of ReadManifest. Such a manifest is named by the upstream's digest alone.
var (
	ErrSchema1     = errors.New("manifest of schema 1")
	ErrNotManifest = errors.New("not a manifest")
)

const (
	dockerList          = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest      = "application/vnd.docker.distribution.manifest.v2+json"
	dockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	ociArtifact         = "application/vnd.oci.artifact.manifest.v1+json" // withdrawn, still in registries
	buildKitAttestation = "application/vnd.docker.attestation.manifest.v1+json"
	dockerImageConfig   = "application/vnd.docker.container.image.v1+json"
	helmConfig          = "application/vnd.cncf.helm.config.v1+json"
	maxAnnotations      = 16 << 10 // bytes of keys and values kept of a manifest
)

// wireManifest has the fields of images, artifacts and indexes alike.
type wireManifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Blobs         []ocispec.Descriptor `json:"blobs"` // the withdrawn OCI artifact manifest, still in registries
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Subject       *ocispec.Descriptor  `json:"subject"`
	Annotations   map[string]string    `json:"annotations"`
}

// ReadManifest reads a decoded manifest. mediaType is the Content-Type that came with it; the bytes' own word goes before.
// Size is the manifest's, its config's and its layers' bytes together; of an index, its own and those of the manifests that it lists.
func ReadManifest(b []byte, mediaType string) (*Manifest, error) {
	var w wireManifest
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotManifest, err)
	}
	if w.SchemaVersion == 1 {
		return nil, ErrSchema1
	}
	if w.MediaType == "" {
		w.MediaType = mediaType
	}
	m := &Manifest{Artifact: Artifact{
		MediaType:    w.MediaType,
		ArtifactType: w.ArtifactType,
		Size:         addSize(int64(len(b)), w.Manifests...),
		Annotations:  boundedAnnotations(w.Annotations),
	}}
	if w.Subject != nil {
		m.Subject = w.Subject.Digest.String()
	}
	if isIndex(&w) {
		m.addChildren(w.Manifests)
	} else {
		m.addBlobs(&w)
	}
	m.Kind = kindOf(&w)
	return m, nil
}

func isIndex(w *wireManifest) bool {
	switch w.MediaType {
	case ocispec.MediaTypeImageIndex, dockerList:
		return true
	case ocispec.MediaTypeImageManifest:
		return false
	}
	return w.Manifests != nil && w.Config == nil && w.Layers == nil
}

func (m *Manifest) addChildren(list []ocispec.Descriptor) {
	for i := range list {
		d := &list[i]
		child := Child{Digest: d.Digest.String(), MediaType: d.MediaType, ArtifactType: d.ArtifactType, Size: max(d.Size, 0), Platform: platform(d.Platform)}
		m.Children = append(m.Children, child)
		if child.Platform != "" && !strings.HasPrefix(child.Platform, "unknown/") {
			m.Platforms = append(m.Platforms, child.Platform)
		}
	}
}

func (m *Manifest) addBlobs(w *wireManifest) {
	if w.Config != nil {
		m.Config, m.ConfigType = w.Config.Digest.String(), w.Config.MediaType
		m.Size = addSize(m.Size, *w.Config)
	}
	for _, list := range [][]ocispec.Descriptor{w.Layers, w.Blobs} {
		m.Size = addSize(m.Size, list...)
		for i := range list {
			m.Layers = append(m.Layers, list[i].Digest.String())
		}
	}
}

// platform is os/arch[/variant].
func platform(p *ocispec.Platform) string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// addSize sums descriptors' sizes; hostile ones neither shrink it nor overflow it.
func addSize(sum int64, list ...ocispec.Descriptor) int64 {
	for i := range list {
		if n := list[i].Size; n > 0 {
			if sum > math.MaxInt64-n {
				return math.MaxInt64
			}
			sum += n
		}
	}
	return sum
}

// boundedAnnotations keeps all of them, or none when they are larger than an event should carry.
func boundedAnnotations(a map[string]string) map[string]string {
	size := 0
	for k, v := range a {
		size += len(k) + len(v)
	}
	if size > maxAnnotations {
		return nil
	}
	return a
}

// kindOf tells artifacts apart by what they say of themselves, in this order: a type that names its purpose, a subject, the config's type.
func kindOf(w *wireManifest) ArtifactKind {
	if k := purpose(w); k != "" {
		return k
	}
	switch {
	case w.Subject != nil:
		return Referrer
	case isIndex(w):
		return Index
	case w.Config == nil:
		return OtherKind
	}
	switch w.Config.MediaType {
	case helmConfig:
		return HelmChart
	case ocispec.MediaTypeImageConfig, dockerImageConfig:
		return Image
	}
	return OtherKind
}

// purposes are the types that say that something is signed, attested or listed, as prefixes of artifact, config and layer types.
var purposes = []struct {
	prefix string
	kind   ArtifactKind
}{
	{"application/vnd.dev.cosign.simplesigning.", Signature},
	{"application/vnd.dev.cosign.artifact.sig.", Signature},
	{"application/vnd.cncf.notary.signature", Signature},
	{"application/vnd.dev.cosign.artifact.att.", Attestation},
	{"application/vnd.docker.attestation.manifest.", Attestation},
	{"application/vnd.in-toto", Attestation},
	{"application/vnd.dsse.envelope.", Attestation},
	{"application/vnd.dev.cosign.artifact.sbom.", SBOM},
	{"application/vnd.goharbor.harbor.sbom.", SBOM},
	{"application/vnd.cyclonedx", SBOM},
	{"application/vnd.syft", SBOM},
	{"application/spdx", SBOM},
	{"text/spdx", SBOM},
}

func purpose(w *wireManifest) ArtifactKind {
	if k := bundlePurpose(w); k != "" {
		return k
	}
	types := []string{w.ArtifactType}
	if w.Config != nil {
		types = append(types, w.Config.MediaType)
	}
	if len(w.Layers) > 0 && !isIndex(w) {
		types = append(types, w.Layers[0].MediaType)
	}
	for _, t := range types {
		for _, p := range purposes {
			if strings.HasPrefix(t, p.prefix) {
				return p.kind
			}
		}
	}
	return ""
}

// bundlePurpose reads a Sigstore bundle: a signature, unless its predicate says that it attests something else.
func bundlePurpose(w *wireManifest) ArtifactKind {
	const bundle = "application/vnd.dev.sigstore.bundle"
	if !strings.HasPrefix(w.ArtifactType, bundle) && (w.Config == nil || !strings.HasPrefix(w.Config.MediaType, bundle)) {
		return ""
	}
	switch p := w.Annotations["dev.sigstore.bundle.predicateType"]; {
	case p == "" || strings.Contains(p, "/cosign/sign/"):
		return Signature
	case strings.Contains(p, "spdx") || strings.Contains(p, "cyclonedx"):
		return SBOM
	}
	return Attestation
}
