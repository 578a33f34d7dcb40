package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// languages lists the languages of blocks, and how a block is tested.
var languages = map[string]string{
	"sh":   "is run",
	"text": "is what the commands before it print, or a drawing",
	"yaml": "is bellbuoy's file, or a part of it, and is checked",
	"json": "is shown",
	"http": "is a sample of a preset's POST, made from the code",
}

// Every block is run, checked or counted by a test.
func TestBlocksAreTested(t *testing.T) {
	tested, marked := 0, map[string]int{}
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			switch {
			case b.notest != "":
				marked[b.notest]++
			case languages[b.language] == "":
				t.Errorf("%s:%d: no test is for blocks of %q: use another language, or add notest=\"reason\"", page, b.line, b.language)
			default:
				tested++
			}
		}
	}
	untested := 0
	for why, n := range marked {
		untested += n
		t.Logf("%d not tested: %s", n, why)
	}
	t.Logf("%d blocks are tested, %d are not", tested, untested)
}

// completion is the rest of a file of which a page shows a part.
const completion = `upstreams:
  - {type: registry, url: "http://127.0.0.1:5000", external_url: "https://registry.example.com"}
`

var (
	variable = regexp.MustCompile(`\$\{([A-Z_]+)\}`)
	secret   = regexp.MustCompile(`\$\{file:[^}]+\}`)
	file     = regexp.MustCompile(`(\w+_file): [^,}\s]+`)
	hash     = "$2y$10$abcdefghijklmnopqrstuuwmDMYMjJVHbLIqGcFlHIBtV6U7r6oWC"
)

// TestFiles checks each YAML block with bellbuoy check, in an environment that has its variables,
// with the certificates that the block names.
func TestFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("builds bellbuoy")
	}
	checked := 0
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			if b.language != "yaml" || b.notest != "" {
				continue
			}
			checked++
			if out, err := check(t, b.text); err != nil {
				t.Errorf("%s:%d: bellbuoy check: %v\n%s", page, b.line, err, out)
			}
		}
	}
	if checked == 0 {
		t.Error("no file is checked")
	}
}

func check(t *testing.T, text string) (string, error) {
	t.Helper()
	env := harness.Env(t)
	for _, match := range variable.FindAllStringSubmatch(text, -1) {
		env = append(env, match[1]+"=a-secret-of-32-characters-or-more")
	}
	text = secret.ReplaceAllString(text, "a-secret-of-32-characters-or-more")
	text = strings.ReplaceAll(text, "$2y$10$…", hash)
	if !strings.HasPrefix(text, "upstreams:") && !strings.Contains(text, "\nupstreams:") {
		text = completion + text
	}
	dir := t.TempDir()
	text = withFiles(t, text)
	path := filepath.Join(dir, "bellbuoy.yaml")
	harness.WriteFile(t, path, text)
	return harness.Try(t, env, harness.Binary(t), "check", path)
}

// withFiles replaces the certificates that a file names by real ones.
func withFiles(t *testing.T, text string) string {
	t.Helper()
	if !file.MatchString(text) {
		return text
	}
	ca := authority.New(t)
	pair := ca.Issue("bellbuoy")
	names := map[string]string{"cert_file": pair.Cert, "key_file": pair.Key, "ca_file": ca.CA(), "client_ca_file": ca.CA()}
	return file.ReplaceAllStringFunc(text, func(s string) string {
		key, _, _ := strings.Cut(s, ":")
		if path, ok := names[key]; ok {
			return key + ": " + path
		}
		return s
	})
}

func TestWrongFilesAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("builds bellbuoy")
	}
	if out, err := check(t, "webhooks:\n  - {name: ci, url: https://ci.example.com, formt: slack}\n"); err == nil {
		t.Errorf("a wrong key passes:\n%s", out)
	}
}
