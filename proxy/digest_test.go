package proxy

import (
	"net/http"
	"strings"
	"testing"
)

func TestContentDigest(t *testing.T) {
	good := "sha256:" + strings.Repeat("ab", 32)
	for in, want := range map[string]string{
		good: good, "": "", "nonsense": "", "sha256:short": "", "sha256:" + strings.Repeat("zz", 32): "", strings.Repeat("x", 5000): "",
		"blake3:" + strings.Repeat("ab", 32): "blake3:" + strings.Repeat("ab", 32), "a:" + strings.Repeat("b", 300): "",
	} {
		if got := contentDigest(http.Header{"Docker-Content-Digest": {in}}); got != want {
			t.Errorf("%.40q is %q, want %q", in, got, want)
		}
	}
}
