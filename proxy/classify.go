package proxy

import (
	"net/http"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Classify returns where a request would go and what it means, without sending it. upstream is ""
// where the answer would be 404.
func (h *Handler) Classify(r *http.Request) (upstream string, request detect.Request) {
	g := h.now.Load()
	path := detect.CleanPath(r.URL.Path)
	rt := g.find(g.seen(r).host, path)
	if rt == nil {
		return "", detect.Request{}
	}
	return rt.Name, detect.Classify(rt.Kind, rt.PathPrefix, r.Method, rt.understood(path), r.URL.RawQuery)
}
