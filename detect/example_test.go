package detect_test

import (
	"fmt"

	"github.com/bellbuoy/bellbuoy/detect"
)

func ExampleClassify() {
	for _, line := range [][3]string{
		{"GET", "/v2/team/app/manifests/v1", ""},
		{"PUT", "/v2/team/app/manifests/sha256:4f53", "tag=v2"},
		{"GET", "/metrics", ""},
	} {
		r := detect.Classify(detect.Registry, "", line[0], line[1], line[2])
		fmt.Printf("%s: repository %q, reference %q, tags %q\n", r.Action, r.Repository, r.Reference, r.Tags)
	}
	r := detect.Classify(detect.ChartMuseum, "/charts", "DELETE", "/charts/api/team/charts/demo/1.0.0", "")
	fmt.Printf("%s: tenant %q, chart %q, version %q\n", r.Action, r.Repository, r.Chart, r.Version)
	// Output:
	// manifest_get: repository "team/app", reference "v1", tags []
	// manifest_put: repository "team/app", reference "sha256:4f53", tags ["v2"]
	// other: repository "", reference "", tags []
	// chart_delete: tenant "team", chart "demo", version "1.0.0"
}
