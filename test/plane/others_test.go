package plane

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// other is a registry or chart server that runs here, of whatever make.
type other struct {
	URL   string
	dir   string   // its storage; "": in memory
	lists []string // paths whose answers say what stands there
}

// standing is everything that stands at an upstream: the files of its storage, and what its lists say.
func (o other) standing(t *testing.T) string {
	t.Helper()
	var all []string
	if o.dir != "" {
		err := filepath.WalkDir(o.dir, func(path string, _ fs.DirEntry, err error) error {
			all = append(all, path)
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	c := plain(t)
	for _, path := range o.lists {
		a := must(t, c, http.StatusOK, http.MethodGet, o.URL+path, nil)
		all = append(all, path+": "+strings.TrimSpace(a.Body))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// process starts a program that serves at URL, and ends it with the test.
func process(t *testing.T, url string, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "OTEL_TRACES_EXPORTER=none"}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", program, out.String())
		}
	})
	c := plain(t)
	if !eventually(soon, func() bool { _, err := send(c, http.MethodGet, url, nil); return err == nil }) {
		t.Fatalf("%s does not serve", program)
	}
}

// craneRegistry is go-containerregistry's registry, in memory.
func craneRegistry(t *testing.T) other {
	t.Helper()
	port := harness.FreePort(t)
	o := other{URL: fmt.Sprintf("http://127.0.0.1:%d", port), lists: []string{"/v2/_catalog"}}
	process(t, o.URL+"/v2/", harness.Part(t, "crane"), "registry", "serve", "--address", fmt.Sprintf("127.0.0.1:%d", port))
	return o
}

// oldRegistry is Debian's distribution 2.8: the program alone, not its service.
func oldRegistry(t *testing.T) other {
	t.Helper()
	dir, port := t.TempDir(), harness.FreePort(t)
	o := other{URL: fmt.Sprintf("http://127.0.0.1:%d", port), dir: filepath.Join(dir, "storage"), lists: []string{"/v2/_catalog"}}
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: \"127.0.0.1:%d\"}\n", o.dir, port)
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	process(t, o.URL+"/v2/", debianRegistry(t), "serve", filepath.Join(dir, "config.yml"))
	return o
}

// debianRegistry is the program of Debian's docker-registry: the package is unpacked and not installed, so that its service
// never runs. Where it cannot be had the test is skipped.
func debianRegistry(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("docker-registry"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(cache, "bellbuoy", "debian")
	path := filepath.Join(dir, "usr", "bin", "docker-registry")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	download := exec.Command("apt-get", "download", "docker-registry")
	download.Dir = t.TempDir()
	if out, err := download.CombinedOutput(); err != nil {
		t.Skipf("apt-get download docker-registry: %v\n%s", err, out)
	}
	found, _ := filepath.Glob(filepath.Join(download.Dir, "docker-registry_*.deb"))
	if len(found) != 1 {
		t.Skipf("apt-get downloaded %v", found)
	}
	if out, err := exec.Command("dpkg", "-x", found[0], dir).CombinedOutput(); err != nil {
		t.Skipf("dpkg -x: %v\n%s", err, out)
	}
	return path
}
