package proxy

import (
	"net/http"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Classify tells where a request would go and what it would be taken for, without sending it; upstream "" where it would be answered with 404.
func (h *Handler) Classify(r *http.Request) (upstream string, request detect.Request) {
	g := h.now.Load()
	rt := g.find(g.seen(r).host, r.URL.Path)
	if rt == nil {
		return "", detect.Request{}
	}
	return rt.Name, detect.Classify(rt.Kind, rt.PathPrefix, r.Method, rt.understood(r.URL.Path), r.URL.RawQuery)
}
