package deploy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// Docker Compose runs the file, and the receiver prints what is pushed to bellbuoy. No image is
// pulled: the test makes images of the same programs, under the names in the file.
func TestComposeRuns(t *testing.T) {
	t.Parallel()
	if !parts.Present("docker-compose") {
		t.Skip("docker-compose takes 3 min of CPU: go run ./test/parts/get docker-compose")
	}
	docker := harness.Dockerd(t)
	composeImages(t, docker)
	if _, err := docker.Try(t, nil, "run", "--rm", "--network", "none", "bellbuoy", "version"); err != nil {
		t.Skipf("THIS MACHINE RUNS NO CONTAINER, so this test is left out: %v", err)
	}
	port := harness.FreePort(t)
	dir := composeCopy(t, port)
	env := append(harness.Env(t), "DOCKER_HOST=unix://"+docker.Socket)
	compose := func(args ...string) string {
		t.Helper()
		args = append([]string{"-f", filepath.Join(dir, "compose.yaml")}, args...)
		return harness.Run(t, env, harness.Part(t, "docker-compose"), args...)
	}
	compose("up", "--detach")
	address := fmt.Sprintf("localhost:%d", port)
	if !harness.Eventually(harness.Soon, func() bool { return status("http://"+address+"/v2/") == http.StatusOK }) {
		t.Fatalf("bellbuoy does not answer\n%s", compose("logs"))
	}
	image := address + "/team/bellbuoy:1"
	docker.Run(t, nil, "tag", "bellbuoy", image)
	docker.Run(t, nil, "push", image)
	if !harness.Eventually(harness.Soon, func() bool { return strings.Contains(compose("logs", "receiver"), `"resource_url": "`+image+`"`) }) {
		t.Errorf("the receiver does not print the push\n%s", compose("logs"))
	}
	if events := compose("exec", "-T", "bellbuoy", "/bellbuoy", "events"); !strings.Contains(events, image) {
		t.Errorf("the push is no event\n%s", events)
	}
	compose("down", "--volumes", "--timeout", "5")
}

// composeImages makes the images that the file names.
func composeImages(t *testing.T, docker *harness.Engine) {
	t.Helper()
	docker.Run(t, nil, "import", harness.Part(t, "debian"), "debian")
	docker.Run(t, nil, "build", "-t", "bellbuoy", "-f", lastStage(t), buildContext(t))
	for _, image := range []struct {
		name, program, dockerfile string
	}{
		{"registry:3", "registry", "FROM scratch\nCOPY registry registry.yml /\nENTRYPOINT [\"/registry\", \"serve\", \"/registry.yml\"]\n"},
		{"ghcr.io/helm/chartmuseum:v0.16.2", "chartmuseum", "FROM scratch\nCOPY chartmuseum /\nUSER 1000:1000\nENTRYPOINT [\"/chartmuseum\"]\n"},
		{"python:3-alpine", "", "FROM debian\nRUN ln -s python3 /usr/bin/python\n"},
	} {
		dir := t.TempDir()
		harness.WriteFile(t, filepath.Join(dir, "Dockerfile"), image.dockerfile)
		harness.WriteFile(t, filepath.Join(dir, "registry.yml"),
			"version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: \":5000\"}\n")
		if image.program != "" {
			program := filepath.Join(dir, image.program)
			harness.WriteFile(t, program, string(harness.ReadFile(t, harness.Part(t, image.program))))
			if err := os.Chmod(program, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		docker.Run(t, nil, "build", "--network", "none", "-t", image.name, dir)
	}
}

// composeCopy copies the directory, with another port and without what builds bellbuoy's image.
func composeCopy(t *testing.T, port int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	other := strings.NewReplacer(`"5080:`, fmt.Sprintf(`"%d:`, port), "localhost:5080", fmt.Sprintf("localhost:%d", port), "    build: ../..\n", "")
	for _, name := range []string{"compose.yaml", "bellbuoy.yaml", "receiver.py"} {
		harness.WriteFile(t, filepath.Join(dir, name), other.Replace(string(harness.ReadFile(t, filepath.Join(composeDir, name)))))
	}
	return dir
}
