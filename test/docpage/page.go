// Package docpage writes the pages of docs/reference and checks that they are what the code says.
// The tests of a package make the page of what that package declares.
package docpage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A Page is a page of docs/reference in the making.
type Page struct {
	name string // the file, without .md
	made string // the command that makes it
	text strings.Builder
}

// New begins a page with its title. The command made rewrites the page.
func New(name, title, made string) *Page {
	p := &Page{name: name, made: made}
	p.Textf("# %s\n\n", title)
	return p
}

// Textf adds Markdown.
func (p *Page) Textf(format string, args ...any) { fmt.Fprintf(&p.text, format, args...) }

// Heading adds a heading of a level, 1 for the title. Its anchor is made of its text.
func (p *Page) Heading(level int, text string) {
	p.Textf("%s %s\n\n", strings.Repeat("#", level), text)
}

// Paragraph adds a paragraph, and nothing for an empty text.
func (p *Page) Paragraph(text string) {
	if text = strings.TrimSpace(text); text != "" {
		p.Textf("%s\n\n", text)
	}
}

// Block adds a fenced block. The text may have fences of its own.
func (p *Page) Block(language, text string) {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	p.Textf("%s%s\n%s\n%s\n\n", fence, language, strings.TrimRight(text, "\n"), fence)
}

// Details adds a fenced block that a reader opens.
func (p *Page) Details(summary, language, text string) {
	p.Textf("<details><summary>%s</summary>\n\n", summary)
	p.Block(language, text)
	p.Textf("</details>\n\n")
}

// Table adds a table. Cells are Markdown; a line break in a cell becomes <br>.
func (p *Page) Table(header []string, rows [][]string) {
	p.row(header)
	p.Textf("%s|\n", strings.Repeat("|---", len(header)))
	for _, row := range rows {
		p.row(row)
	}
	p.Textf("\n")
}

func (p *Page) row(cells []string) {
	for _, cell := range cells {
		p.Textf("| %s ", asCell(cell))
	}
	p.Textf("|\n")
}

// asCell keeps a bar from ending the cell, also within code.
func asCell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>").Replace(strings.TrimSpace(text))
}

// Code returns a text as code, "" for an empty one.
func Code(text string) string {
	switch {
	case text == "":
		return ""
	case strings.Contains(text, "`"):
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}

// Codes returns a list of words as code, with commas.
func Codes(words []string) string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = Code(word)
	}
	return strings.Join(list, ", ")
}

// Plain returns a text of comments, in which Markdown sees no markup: _ within a word is none.
func Plain(text string) string {
	return strings.NewReplacer("*", `\*`, "<", "&lt;", "`", "\\`").Replace(text)
}

// Check fails the test if the file differs from the page. With update it writes the file first.
func (p *Page) Check(t *testing.T, update bool) {
	t.Helper()
	p.Textf("---\n\nThis page is made from the code: `%s`\n", p.made)
	file := filepath.Join(root(t), "docs", "reference", p.name+".md")
	want := p.text.String()
	if update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if line, ok := firstDifference(string(got), want); !ok {
		t.Errorf("docs/reference/%s.md is not what the code says; run: %s\n%s", p.name, p.made, line)
	}
}

// firstDifference returns the first line in which two texts differ, or true if they are equal.
func firstDifference(got, want string) (string, bool) {
	if got == want {
		return "", true
	}
	have, need := strings.Split(got, "\n"), strings.Split(want, "\n")
	i := 0
	for i < min(len(have), len(need)) && have[i] == need[i] {
		i++
	}
	line := func(list []string) string {
		if i < len(list) {
			return list[i]
		}
		return "(the end)"
	}
	return fmt.Sprintf("line %d is\n%s\nand should be\n%s", i+1, line(have), line(need)), false
}

// root returns the directory of the repository: the nearest one with a go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
