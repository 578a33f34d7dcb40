package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed static
var staticFiles embed.FS

const staticPath = "/static/"

// serveStatic serves style, script and icon. Their addresses change with their content, so that
// browsers may keep them for ever.
func serveStatic(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, staticPath)
	data, err := staticFiles.ReadFile("static/" + name)
	if err != nil || strings.Contains(name, "/") {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	if r.URL.Query().Get("v") == versionOf(name) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(data) // fails only if the client has disconnected
}

var staticVersions sync.Map // name → version

// versionOf identifies the content of a file; "" if there is none.
func versionOf(name string) string {
	if v, ok := staticVersions.Load(name); ok {
		return v.(string)
	}
	data, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	v := hex.EncodeToString(sum[:6])
	staticVersions.Store(name, v)
	return v
}

// asset is the address of a static file.
func asset(name string) string { return staticPath + name + "?v=" + versionOf(name) }
