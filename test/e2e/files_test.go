package e2e

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func sha256of(content []byte) string { return digest.FromBytes(content).String() }

// sizeOf is the size of the artifact that an image manifest describes.
func sizeOf(t testing.TB, manifest []byte) int64 {
	t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	size := int64(len(manifest)) + m.Config.Size
	for _, layer := range m.Layers {
		size += layer.Size
	}
	return size
}
