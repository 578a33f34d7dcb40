package dataplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// nginx cleans paths before a registry sees them, so that pushes under unclean paths are
// acknowledged. Each has its event. Without nginx a registry refuses most of them, and those have
// none.
func TestUncleanPaths(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	image := harness.NewImage(harness.ImageOptions{})
	for _, repository := range []string{"team/app", "app"} {
		pushOver(t, plain(t), registry.URL, repository, "seed", image)
	}
	for _, front := range []string{"nginx", "none"} {
		up := registry.URL
		if front == "nginx" {
			up = "http://" + nginx(t, "location /v2/ { proxy_pass "+registry.URL+"/v2/; proxy_set_header Host $http_host; client_max_body_size 0; }")
		}
		b := harness.Bellbuoy(t, "upstreams: [{type: registry, url: "+up+"}]\n"+nowhere)
		acknowledged := 0
		for i, path := range []string{
			"/v2/team/./app/manifests/v%d", "/v2/team//app/manifests/v%d", "/v2/team/x/../app/manifests/v%d", "/v2/./team/app/manifests/v%d",
			"/v2/team/%%2e/app/manifests/v%d", "/v2/x/%%2e%%2e/team/app/manifests/v%d", "/v2/team%%2Fapp/manifests/v%d", "//v2/team/app/manifests/v%d",
			"/v2/team/app/manifests//v%d", "/v2/team/app/manifests/v%d", "/v2/team/../app/manifests/v%d",
		} {
			body := string(image.Manifest)
			request := fmt.Sprintf("PUT "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", i, image.MediaType, len(body), body)
			if got := talk(t, b.Host, request, soon); strings.HasPrefix(got, "HTTP/1.1 201 ") {
				acknowledged++
			} else if front == "nginx" && !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 3") {
				t.Errorf("%s: got %q", path, got)
			}
		}
		if least := map[string]int{"nginx": 10, "none": 1}[front]; acknowledged < least {
			t.Errorf("in front of %s: %d pushes were acknowledged, want %d or more", front, acknowledged, least)
		}
		if !harness.Eventually(soon, func() bool { return b.Metric("bellbuoy_events_total", `"PUSH_ARTIFACT"`) >= float64(acknowledged) }) ||
			b.Metric("bellbuoy_events_total", `"PUSH_ARTIFACT"`) != float64(acknowledged) {
			t.Errorf("in front of %s: %v events of %d pushes", front, b.Metric("bellbuoy_events_total", `"PUSH_ARTIFACT"`), acknowledged)
		}
		sound(t, b)
	}
}

// nginx starts nginx with a server block.
func nginx(t *testing.T, server string) (address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	dir := t.TempDir()
	var temporary strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "%s_temp_path %s; ", name, filepath.Join(dir, name))
	}
	config := "daemon off; master_process off; error_log stderr; pid " + filepath.Join(dir, "pid") + ";\nevents {}\nhttp { access_log off; " + temporary.String() +
		"\nserver { listen " + address + "; " + server + " } }\n"
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	harness.Serve(t, address, "nginx", "-c", file(t, "nginx.conf", config))
	return address
}
