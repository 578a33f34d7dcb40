package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linkTo  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inline  = regexp.MustCompile("`[^`\n]*`")
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// Every relative link of a page leads to a file of the tree, and its anchor to a heading there.
func TestLinks(t *testing.T) {
	found := 0
	for _, page := range markdown(t) {
		text := inline.ReplaceAllString(fenced.ReplaceAllString(read(t, page), ""), "")
		for _, match := range linkTo.FindAllStringSubmatch(text, -1) {
			link := match[1]
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			found++
			if why := broken(t, page, link); why != "" {
				t.Errorf("%s: the link %s: %s", page, link, why)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d links are found", found)
	}
}

// broken returns why a link of a page is broken; "" if it is not.
func broken(t *testing.T, page, link string) string {
	path, anchor, _ := strings.Cut(link, "#")
	target := page
	if path != "" {
		target = filepath.Join(filepath.Dir(page), path)
	}
	if _, err := os.Stat(filepath.Join(root, target)); err != nil {
		return "there is no such file"
	}
	if anchor == "" || filepath.Ext(target) != ".md" {
		return ""
	}
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, target), ""), -1) {
		if slug(match[1]) == anchor {
			return ""
		}
	}
	return "there is no such heading"
}

// slug returns the anchor that GitHub gives to a heading.
func slug(heading string) string {
	return strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func TestBrokenLinksAreFound(t *testing.T) {
	for link, want := range map[string]string{
		"README.md":           "",
		"README.md#install":   "",
		"README.md#nothing":   "there is no such heading",
		"docs/no-such-page":   "there is no such file",
		"#tested-with":        "",
		"Makefile#everything": "",
	} {
		if got := broken(t, "README.md", link); got != want {
			t.Errorf("%s: got %q, want %q", link, got, want)
		}
	}
}

// markdown returns all pages of the tree.
func markdown(t *testing.T) (pages []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "dist"):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			relative, err := filepath.Rel(root, path)
			pages = append(pages, relative)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func read(t *testing.T, page string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
