package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedFile   = regexp.MustCompile("`([a-z]+(?:/[a-z0-9_]+)+\\.go)`")
	namedMethod = regexp.MustCompile("`([A-Za-z]+)\\.([A-Za-z]+)`")
)

// The walk of three requests in docs/design.md names only files and methods that exist.
func TestDesignNamesExistingFilesAndMethods(t *testing.T) {
	page := read(t, "docs/design.md")
	_, rest, _ := strings.Cut(page, "\n### Three requests, file by file\n")
	walk, _, found := strings.Cut(rest, "\n## ")
	if !found {
		t.Fatal("docs/design.md lacks the section of three requests")
	}
	for _, m := range namedFile.FindAllStringSubmatch(walk, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Error(err)
		}
	}
	code := source(t)
	for _, m := range namedMethod.FindAllStringSubmatch(walk, -1) {
		declared := regexp.MustCompile(`(?m)^func \(\w* ?\*?` + m[1] + `\) ` + m[2] + `\(`)
		if m[2] != "go" && !declared.MatchString(code) {
			t.Errorf("docs/design.md: there is no method %s", m[0])
		}
	}
}

// source returns the code of the data plane, of detection and of delivery.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"proxy", "detect", "notify"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			all.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
