package proxy

import (
	"net/http"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Classify says where a request would go and what it would be taken for, without sending it;
// upstream "" where it would be answered with 404.
func (h *Handler) Classify(r *http.Request) (upstream string, request detect.Request) {
	g := h.now.Load()
	path := detect.CleanPath(r.URL.Path)
	rt := g.find(g.seen(r).host, path)
	if rt == nil {
		return "", detect.Request{}
	}
	return rt.Name, detect.Classify(rt.Kind, rt.PathPrefix, r.Method, rt.understood(path), r.URL.RawQuery)
}
