package dataplane

import (
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The OCI conformance program has the same result through bellbuoy as at the registry itself. It
// would also pass with a Location that leads around bellbuoy, so the test also checks that every
// request at the registry came through bellbuoy.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		upstream string
		settings []string
	}{
		{"everything", "", nil},
		{"with the upstream's own host", ", host: upstream", harness.DistributionLacks},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			direct := harness.ConformanceDirect(t, tc.settings...)
			registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
			h := harness.NewFaultProxy(t, registry.URL)
			b := harness.Bellbuoy(t, harness.RegistryUpstream(h.URL, tc.upstream))
			through := harness.Conformance(t, b.Host, tc.settings...)
			wantSameCounts(t, through, direct)
			wantAllSeen(t, b, h)
		})
	}
}

func wantSameCounts(t *testing.T, through, direct harness.ConformanceResult) {
	t.Helper()
	if through.Passed != direct.Passed || through.Failed != direct.Failed || through.Skipped != direct.Skipped || through.Disabled != direct.Disabled {
		t.Errorf("passed, failed, skipped, disabled: %d %d %d %d through bellbuoy, %d %d %d %d directly", through.Passed, through.Failed,
			through.Skipped, through.Disabled, direct.Passed, direct.Failed, direct.Skipped, direct.Disabled)
	}
	if direct.Passed < 300 {
		t.Errorf("only %d passed: is this the program?", direct.Passed)
	}
}

func wantAllSeen(t *testing.T, b *harness.Buoy, h *harness.FaultProxy) {
	t.Helper()
	around, reached := 0, 0
	for _, r := range h.Requests() {
		reached++
		if r.ForwardedFor == "" {
			around++
		}
	}
	if around > 0 {
		t.Errorf("%d of %d requests went around bellbuoy", around, reached)
	}
	seen := int(b.Metric("bellbuoy_requests_total"))
	if seen < reached || reached < 300 {
		t.Errorf("bellbuoy counted %d requests, %d reached the registry", seen, reached)
	}
	if n := b.Metric("bellbuoy_panics_total"); n != 0 {
		t.Errorf("got %v panics", n)
	}
	if logs := b.Logs(); strings.Contains(logs, `"level":"error"`) {
		t.Error("bellbuoy logged an error")
	}
}

// TestConformanceOfOtherRegistries compares the results at other registries.
func TestConformanceOfOtherRegistries(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(harness.T) *harness.RegistryServer{
		"distribution 2.8": func(t harness.T) *harness.RegistryServer {
			return harness.Registry(t, harness.RegistryOptions{Delete: true, Part: "docker-registry"})
		},
		"go-containerregistry": harness.CraneRegistry,
		"distribution 3 that redirects blobs to S3": func(t harness.T) *harness.RegistryServer {
			return harness.Registry(t, harness.RegistryOptions{Delete: true, S3: harness.S3(t).URL})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := harness.Conformance(t, start(t).Host)
			h := harness.NewFaultProxy(t, start(t).URL)
			b := harness.Bellbuoy(t, harness.RegistryUpstream(h.URL))
			through := harness.Conformance(t, b.Host)
			wantSameCounts(t, through, direct)
			for _, r := range h.Requests() {
				if r.ForwardedFor == "" {
					t.Errorf("a request went around bellbuoy: %+v", r)
					break
				}
			}
		})
	}
}
