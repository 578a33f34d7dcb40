package detect

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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

// BuildKitAttestation is the artifact type of the attestations that BuildKit lists in an index.
const BuildKitAttestation = "application/vnd.docker.attestation.manifest.v1+json"

// kindOf returns the kind of an artifact. What decides it is, in this order, a type that names its
// purpose, a subject, and the type of its config.
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

// purposes are prefixes of the artifact, config and layer types of signatures, attestations and
// SBOMs.
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

// purpose returns the kind of an artifact whose types name its purpose, or "".
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
