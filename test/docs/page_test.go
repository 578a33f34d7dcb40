package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// A block is a fenced block of a page. The first word of its info string is its language. notest
// says why no test runs or checks it.
type block struct {
	line     int
	language string
	notest   string
	text     string
	follows  bool // only blank lines are between it and the block before
}

var notest = regexp.MustCompile(` notest="([^"]+)"$`)

// blocks returns the fenced blocks of a page. A fence may be indented, as in a list.
func blocks(t *testing.T, page string) (list []block) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	follows := false
	for i, line := range strings.Split(string(content), "\n") {
		info, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{line: i + 1, follows: follows}
			if why := notest.FindStringSubmatch(info); why != nil {
				open.notest, info = why[1], strings.TrimSuffix(info, why[0])
			}
			open.language = info
		case isFence:
			list = append(list, *open)
			open, follows = nil, true
		case open != nil:
			open.text += line + "\n"
		case strings.TrimSpace(line) != "":
			follows = false
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", page, open.line)
	}
	return list
}

// pages returns README, the page of deploy/, the guides and the pages of the presets.
func pages(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md", "deploy/README.md"}
	for _, dir := range []string{"docs/guides", "docs/presets"} {
		found, err := filepath.Glob(filepath.Join(root, dir, "*.md"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages in %s: %v", dir, err)
		}
		for _, page := range found {
			list = append(list, filepath.Join(dir, filepath.Base(page)))
		}
	}
	return list
}

func TestBlocksAreFound(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	text := "a\n```sh notest=\"needs ECR\"\nls\n```\n\n```text\nb\n```\nc\n```yaml\nd: e\n```\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(root, page)
	if absolute, errRoot := filepath.Abs(root); err != nil && errRoot == nil {
		relative, err = filepath.Rel(absolute, page)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := blocks(t, relative)
	want := []block{
		{line: 2, language: "sh", notest: "needs ECR", text: "ls\n"},
		{line: 6, language: "text", text: "b\n", follows: true},
		{line: 10, language: "yaml", text: "d: e\n"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d blocks, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}
