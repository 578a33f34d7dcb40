package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifest is what the bytes of a manifest say, within fixed limits: a stranger may have written
// them.
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

const (
	dockerList          = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest      = "application/vnd.docker.distribution.manifest.v2+json"
	dockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	// withdrawn, still in registries
	ociArtifact       = "application/vnd.oci.artifact.manifest.v1+json"
	dockerImageConfig = "application/vnd.docker.container.image.v1+json"
	helmConfig        = "application/vnd.cncf.helm.config.v1+json"
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

// BuildKitAttestation is the artifact type of the attestations that BuildKit lists in an index.
const BuildKitAttestation = "application/vnd.docker.attestation.manifest.v1+json"

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

// wireManifest is what is read of images, artifacts and indexes alike.
type wireManifest struct {
	jsonReader
	schemaVersion int64
	mediaType     string
	artifactType  string
	config        *descriptor
	subject       *descriptor
	layers        blobList
	blobs         blobList // of the withdrawn OCI artifact manifest, still in registries
	manifests     childList
	annotations   annotations
}

// descriptor is what is read of one.
type descriptor struct {
	mediaType, artifactType, digest, platform string
	size                                      int64
}

// blobList is what is kept of a list of blobs.
type blobList struct {
	there     bool // the list is there, even if it is empty
	digests   []string
	sizes     []int64
	firstType string // media type of the first one
	count     int
	size      int64
}

// childList is what is kept of a list of manifests.
type childList struct {
	there  bool
	list   []Child
	bytes  int
	others []string
	lost   bool // there are more than others has room for
	size   int64
}

type annotations struct {
	kept      map[string]string // nil if they are more or longer than an event may carry
	bytes     int
	over      bool
	predicate string // what a Sigstore bundle attests
}

func (w *wireManifest) read() {
	if !w.enter('{') {
		return
	}
	for w.more() {
		switch name := w.text(maxType); {
		case is(name, "schemaVersion"):
			w.schemaVersion = w.integer()
		case is(name, "mediaType"):
			w.mediaType = w.typeName()
		case is(name, "artifactType"):
			w.artifactType = w.typeName()
		case is(name, "config"):
			w.config = w.optional()
		case is(name, "subject"):
			w.subject = w.optional()
		case is(name, "layers"):
			w.layers = w.readBlobs()
		case is(name, "blobs"):
			w.blobs = w.readBlobs()
		case is(name, "manifests"):
			w.manifests = w.readChildren()
		case is(name, "annotations"):
			w.annotations = w.readAnnotations()
		default:
			w.skip()
		}
	}
}

// is compares the name of a member as encoding/json does, with which registries read manifests.
func is(name, field string) bool { return strings.EqualFold(name, field) }

// typeName reads a media type. It returns "" for what cannot be one.
func (w *wireManifest) typeName() string { return plainText(w.text(maxType)) }

// plainText returns s, or "" if it has characters that no type, platform or digest has.
func plainText(s string) string {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\\' {
			return ""
		}
	}
	return s
}

func (w *wireManifest) optional() *descriptor {
	if w.next() == 'n' {
		w.skip()
		return nil
	}
	var d descriptor
	w.descriptor(&d, true)
	return &d
}

// descriptor reads a descriptor: all of it with details, else its digest and size.
func (w *wireManifest) descriptor(d *descriptor, details bool) {
	*d = descriptor{}
	if !w.enter('{') {
		return
	}
	for w.more() {
		switch name := w.text(maxType); {
		case is(name, "digest"):
			if s := plainText(w.text(MaxDigest)); s == "" || IsDigest(s) {
				d.digest = s
			}
		case is(name, "size"):
			d.size = max(w.integer(), 0)
		case details && is(name, "mediaType"):
			d.mediaType = w.typeName()
		case details && is(name, "artifactType"):
			d.artifactType = w.typeName()
		case details && is(name, "platform"):
			d.platform = w.platform()
		default:
			w.skip()
		}
	}
}

// platform returns os/arch[/variant].
func (w *wireManifest) platform() string {
	if !w.enter('{') {
		return ""
	}
	var system, architecture, variant string
	for w.more() {
		switch name := w.text(maxType); {
		case is(name, "os"):
			system = plainText(w.text(maxPlatform))
		case is(name, "architecture"):
			architecture = plainText(w.text(maxPlatform))
		case is(name, "variant"):
			variant = plainText(w.text(maxPlatform))
		default:
			w.skip()
		}
	}
	switch {
	case system == "" && architecture == "":
		return ""
	case variant != "":
		return system + "/" + architecture + "/" + variant
	}
	return system + "/" + architecture
}

func (w *wireManifest) readBlobs() (l blobList) {
	if !w.enter('[') {
		return l
	}
	l.there = true
	var d descriptor
	for w.more() {
		w.descriptor(&d, l.count == 0)
		if l.count == 0 {
			l.firstType = d.mediaType
		}
		if l.count++; l.count <= maxLayers {
			l.digests, l.sizes = append(l.digests, d.digest), append(l.sizes, d.size)
		}
		l.size = addSize(l.size, d.size)
	}
	return l
}

func (w *wireManifest) readChildren() (l childList) {
	if !w.enter('[') {
		return l
	}
	l.there = true
	var d descriptor
	for w.more() {
		room := len(l.list) < maxChildren && l.bytes < maxChildBytes && len(l.others) == 0
		w.descriptor(&d, room)
		l.size = addSize(l.size, d.size)
		switch {
		case room:
			l.bytes += len(d.digest) + len(d.mediaType) + len(d.artifactType) + len(d.platform)
			l.list = append(l.list, Child{d.digest, d.mediaType, d.artifactType, d.platform, d.size})
		case d.digest == "":
		case len(l.others) < maxOthers:
			l.others = append(l.others, d.digest)
		default:
			l.lost = true
		}
	}
	slices.Sort(l.others)
	return l
}

// readAnnotations returns all annotations, or none.
func (w *wireManifest) readAnnotations() (a annotations) {
	if !w.enter('{') {
		return a
	}
	for w.more() {
		name, long := w.textOrLonger(maxAnnotations)
		value, longer := w.textOrLonger(maxAnnotations)
		if name == "dev.sigstore.bundle.predicateType" {
			a.predicate = value
		}
		a.bytes += len(name) + len(value)
		if a.over = a.over || long || longer || a.bytes > maxAnnotations || len(a.kept) >= maxNotes; a.over {
			a.kept = nil
			continue
		}
		if a.kept == nil {
			a.kept = map[string]string{}
		}
		a.kept[name] = value
	}
	return a
}

// manifest returns what the bytes say, once all of them are read.
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

// kindOf returns the kind of an artifact. What it says of itself counts in this order: a type that
// names its purpose, a subject, the type of its config.
func kindOf(w *wireManifest) ArtifactKind {
	if k := purpose(w); k != "" {
		return k
	}
	switch {
	case w.subject != nil:
		return Referrer
	case w.isIndex():
		return Index
	case w.config == nil:
		return OtherKind
	}
	switch w.config.mediaType {
	case helmConfig:
		return HelmChart
	case ocispec.MediaTypeImageConfig, dockerImageConfig:
		return Image
	}
	return OtherKind
}

// purposes are the types that say that something is signed, attested or listed, as prefixes of
// artifact, config and layer types.
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
	types := []string{w.artifactType}
	if w.config != nil {
		types = append(types, w.config.mediaType)
	}
	if w.layers.count > 0 && !w.isIndex() {
		types = append(types, w.layers.firstType)
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

// bundlePurpose returns the kind of a Sigstore bundle: a signature, unless its predicate attests
// something else.
func bundlePurpose(w *wireManifest) ArtifactKind {
	const bundle = "application/vnd.dev.sigstore.bundle"
	if !strings.HasPrefix(w.artifactType, bundle) && (w.config == nil || !strings.HasPrefix(w.config.mediaType, bundle)) {
		return ""
	}
	switch p := w.annotations.predicate; {
	case p == "" || strings.Contains(p, "/cosign/sign/"):
		return Signature
	case strings.Contains(p, "spdx") || strings.Contains(p, "cyclonedx"):
		return SBOM
	}
	return Attestation
}

// IsManifestType reports whether what an index lists under a media type is a manifest.
func IsManifestType(mediaType string) bool {
	switch mediaType {
	case "", ocispec.MediaTypeImageManifest, dockerManifest, dockerSchema1, dockerSchema1Signed, ociArtifact:
		return true
	}
	return IsIndexType(mediaType)
}

// IsIndexType reports whether a media type is that of an index.
func IsIndexType(mediaType string) bool {
	return mediaType == dockerList || mediaType == "application/vnd.oci.image.index.v1+json"
}
