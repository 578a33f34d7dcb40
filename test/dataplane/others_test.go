package dataplane

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

// standing is everything that stands at an upstream: the files of its storage, and what its lists
// say.
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
	if !harness.Eventually(soon, func() bool { _, err := send(c, http.MethodGet, url, nil); return err == nil }) {
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
