package harness

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// WriteFile writes a file, or fails the test.
func WriteFile(t T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
}

// ReadFile reads a file, or fails the test.
func ReadFile(t T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return content
}

// Sha256 returns a digest in the form that manifests use.
func Sha256(content []byte) string { return digest.FromBytes(content).String() }

// ImageSize returns the size of the artifact that an image manifest describes.
func ImageSize(t T, manifest []byte) int64 {
	t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatalf("%v", err)
	}
	size := int64(len(manifest)) + m.Config.Size
	for _, layer := range m.Layers {
		size += layer.Size
	}
	return size
}
