package dataplane

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// other is a registry or chart server that is not distribution 3.
type other struct {
	URL   string
	dir   string   // its storage; "": in memory
	lists []string // paths whose answers show the content
}

// standing returns the state of an upstream: the files of its storage, and the answers to its
// lists.
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

// craneRegistry starts go-containerregistry's registry.
func craneRegistry(t *testing.T) other {
	t.Helper()
	r := harness.CraneRegistry(t)
	return other{URL: r.URL, dir: r.Dir, lists: []string{"/v2/_catalog"}}
}
