package proxy_test

import (
	"fmt"
	"net/http/httptest"
	"net/url"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy"
)

// Registry and ChartMuseum share a host. The paths of the registry API go to the registry.
func ExampleHandler_Classify() {
	registry := proxy.Upstream{Name: "registry", Kind: detect.Registry, URL: &url.URL{Scheme: "http", Host: "127.0.0.1:5000"}}
	charts := proxy.Upstream{Name: "charts", Kind: detect.ChartMuseum, URL: &url.URL{Scheme: "http", Host: "127.0.0.1:8080"}}
	h, err := proxy.New(proxy.Options{Upstreams: []proxy.Upstream{registry, charts}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range [][2]string{{"PUT", "/v2/team/app/manifests/v1"}, {"POST", "/api/team/charts"}} {
		upstream, r := h.Classify(httptest.NewRequest(line[0], line[1], nil))
		fmt.Printf("%s: %s of %q\n", upstream, r.Action, r.Repository)
	}
	// Output:
	// registry: manifest_put of "team/app"
	// charts: chart_post of "team"
}
