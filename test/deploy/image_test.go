package deploy

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// imageConfig is the configuration of an image: how it is run.
type imageConfig struct {
	User                 string
	Env, Entrypoint, Cmd []string
}

// The image of the Dockerfile's last stage starts as its user and becomes ready. No base image is
// pulled: that stage is from scratch, and the test does the work of the first one.
func TestImageStarts(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || !parts.Present("buildah") {
		t.Skip("needs buildah and a superuser")
	}
	root, config := mountImage(t)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(harness.ReadFile(t, filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))) {
		t.Error("the image has no CA certificates")
	}
	registry, health := harness.Registry(t, harness.RegistryOptions{}), harness.FreePort(t)
	if err := os.MkdirAll(filepath.Join(root, "etc/bellbuoy"), 0o755); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, filepath.Join(root, "etc/bellbuoy/bellbuoy.yaml"), fmt.Sprintf(
		"listen: 127.0.0.1:%d\nhealth: {listen: 127.0.0.1:%d}\nadmin: {listen: \"\"}\nupstreams: [{type: registry, url: %q}]\n",
		harness.FreePort(t), health, registry.URL))
	start(t, root, config)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if !harness.Eventually(harness.Soon, func() bool { return status(fmt.Sprintf("http://127.0.0.1:%d%s", health, path)) == http.StatusOK }) {
			t.Fatalf("%s does not answer 200", path)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "data/bellbuoy.db")); err != nil {
		t.Errorf("the data is not below /data: %v", err)
	}
}

// mountImage builds the image and returns the root of a container of it.
func mountImage(t *testing.T) (root string, config imageConfig) {
	t.Helper()
	storage := t.TempDir()
	logins := filepath.Join(storage, "auth.json") // buildah from requires that it exists
	harness.WriteFile(t, logins, "{}")
	env := append(harness.Env(t), "REGISTRY_AUTH_FILE="+logins)
	buildah := func(args ...string) string {
		t.Helper()
		args = append([]string{"--root", filepath.Join(storage, "root"), "--runroot", filepath.Join(storage, "run"), "--storage-driver", "vfs"}, args...)
		return strings.TrimSpace(harness.Run(t, env, "buildah", args...))
	}
	buildah("bud", "--isolation", "chroot", "-t", "bellbuoy", "-f", lastStage(t), buildContext(t))
	container := buildah("from", "bellbuoy")
	var inspected struct {
		OCIv1 struct{ Config imageConfig }
	}
	if err := json.Unmarshal([]byte(buildah("inspect", container)), &inspected); err != nil {
		t.Fatal(err)
	}
	return buildah("mount", container), inspected.OCIv1.Config
}

// lastStage writes the Dockerfile without its first stage.
func lastStage(t *testing.T) string {
	t.Helper()
	_, stage, found := strings.Cut(string(harness.ReadFile(t, "../../Dockerfile")), "\nFROM scratch\n")
	if !found {
		t.Fatal("the last stage of the Dockerfile is not from scratch")
	}
	file := filepath.Join(t.TempDir(), "Dockerfile")
	harness.WriteFile(t, file, "FROM scratch\n"+strings.ReplaceAll(stage, "--from=build ", ""))
	return file
}

// buildContext makes a directory with the results of the Dockerfile's first stage.
func buildContext(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"out/data", "out/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	harness.WriteFile(t, filepath.Join(dir, "out/ca-certificates.crt"), string(harness.ReadFile(t, "/etc/ssl/certs/ca-certificates.crt")))
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "out/bellbuoy"), "../../cmd/bellbuoy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the files of the image: %v\n%s", err, out)
	}
	return dir
}

// start runs the image's command in root as the image's user, and ends it with the test.
func start(t *testing.T, root string, config imageConfig) {
	t.Helper()
	user, group, _ := strings.Cut(config.User, ":")
	argv := append(config.Entrypoint, config.Cmd...)
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Env: config.Env, Dir: "/", SysProcAttr: &syscall.SysProcAttr{
		Chroot: root, Credential: &syscall.Credential{Uid: number(t, user), Gid: number(t, group)},
	}}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("it ended with %v, and printed\n%s", err, &log)
		}
	})
}

func number(t *testing.T, id string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil || n == 0 {
		t.Fatalf("the image's user is %q, want a number that is not root's", id)
	}
	return uint32(n)
}

func status(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}
