package detect

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadManifest(t *testing.T) {
	const (
		manifest = "application/vnd.oci.image.manifest.v1+json"
		layer    = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":20,"digest":"sha256:bb"}`
		subject  = `"subject":{"mediaType":"x","size":5,"digest":"sha256:cc"}`
	)
	config := func(mediaType string) string {
		return `"config":{"mediaType":"` + mediaType + `","size":10,"digest":"sha256:aa"}`
	}
	tests := []struct {
		name, body string
		want       ArtifactKind
	}{
		{"image", `{` + config("application/vnd.oci.image.config.v1+json") + `,"layers":[` + layer + `]}`, Image},
		{"docker image", `{` + config("application/vnd.docker.container.image.v1+json") + `,"layers":[` + layer + `]}`, Image},
		{"helm chart", `{` + config("application/vnd.cncf.helm.config.v1+json") + `,"layers":[` + layer + `]}`, HelmChart},
		{"other artifact", `{"artifactType":"application/x",` + config("application/vnd.oci.empty.v1+json") + `}`, OtherKind},
		{"referrer", `{"artifactType":"application/x",` + config("application/vnd.oci.empty.v1+json") + `,` + subject + `}`, Referrer},
		{"cosign signature", `{` + config("application/vnd.oci.image.config.v1+json") + `,"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":1,"digest":"sha256:dd"}]}`, Signature},
		{"sigstore bundle", `{"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",` + subject + `,"annotations":{"dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1"}}`, Signature},
		{"sigstore attestation", `{"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",` + subject + `,"annotations":{"dev.sigstore.bundle.predicateType":"https://slsa.dev/provenance/v1"}}`, Attestation},
		{"notation", `{` + config("application/vnd.cncf.notary.signature") + `,` + subject + `}`, Signature},
		{"buildkit attestation", `{` + config("application/vnd.oci.image.config.v1+json") + `,"layers":[{"mediaType":"application/vnd.in-toto+json","size":1,"digest":"sha256:dd"}]}`, Attestation},
		{"sbom", `{"artifactType":"application/spdx+json",` + subject + `}`, SBOM},
		{"index", `{"manifests":[]}`, Index},
		{"index with a subject", `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],` + subject + `}`, Referrer},
	}
	for _, tt := range tests {
		m, err := ReadManifest([]byte(tt.body), "")
		if err != nil || m.Kind != tt.want {
			t.Errorf("%s: got %v %v, want %v", tt.name, m, err, tt.want)
		}
	}
	body := `{"schemaVersion":2,` + config("application/vnd.oci.image.config.v1+json") + `,"layers":[` + layer + `,` + layer + `]}`
	got, err := ReadManifest([]byte(body), manifest)
	want := &Manifest{Artifact: Artifact{Kind: Image, MediaType: manifest, ConfigType: "application/vnd.oci.image.config.v1+json", Size: int64(len(body)) + 50, Own: int64(len(body))},
		Config: "sha256:aa", Layers: []string{"sha256:bb", "sha256:bb"}, Sizes: []int64{20, 20, 10}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
}

func TestReadIndex(t *testing.T) {
	body := `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
		{"mediaType":"m","size":100,"digest":"sha256:aa","platform":{"os":"linux","architecture":"arm","variant":"v7"}},
		{"mediaType":"m","size":-5,"digest":"sha256:bb","platform":{"os":"unknown","architecture":"unknown"}}]}`
	m, err := ReadManifest([]byte(body), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []Child{{Digest: "sha256:aa", MediaType: "m", Platform: "linux/arm/v7", Size: 100}, {Digest: "sha256:bb", MediaType: "m", Platform: "unknown/unknown"}}
	if !cmp.Equal(m.Children, want) || !cmp.Equal(m.Platforms, []string{"linux/arm/v7"}) || m.Size != int64(len(body))+100 {
		t.Errorf("got %+v", m)
	}
}

func TestReadManifestHostile(t *testing.T) {
	if _, err := ReadManifest([]byte(`{"schemaVersion":1,"fsLayers":[]}`), ""); !errors.Is(err, ErrSchema1) {
		t.Error(err)
	}
	for _, bad := range []string{"", "null x", `{"layers":7}`, `[]`, "\x1f\x8b"} {
		if _, err := ReadManifest([]byte(bad), ""); !errors.Is(err, ErrNotManifest) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	big := `{"layers":[{"size":9223372036854775807},{"size":9223372036854775807}],"annotations":{"a":"` + strings.Repeat("x", maxAnnotations) + `"}}`
	m, err := ReadManifest([]byte(big), "")
	if err != nil || m.Size != math.MaxInt64 || m.Annotations != nil {
		t.Errorf("got %v %+v", err, m)
	}
}
