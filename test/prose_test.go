package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checked lists the packages whose comments are checked; "/..." includes the packages below.
var checked = []string{"cmd/...", "config", "detect/...", "notify/...", "proxy/...", "test/..."}

const (
	longestComment = 100 // columns
	tabWidth       = 8
)

// TestCommentsFitInAHundredColumns checks lines that are only a comment. A line with one URL and a
// directive may be longer.
func TestCommentsFitInAHundredColumns(t *testing.T) {
	for _, file := range goFiles(t) {
		if !isChecked(path.Dir(file)) {
			continue
		}
		content, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range longComments(string(content)) {
			t.Errorf("%s:%d: a comment of more than %d columns", file, n, longestComment)
		}
	}
}

// longComments returns the numbers of the lines whose comments are too long.
func longComments(source string) (lines []int) {
	for i, line := range strings.Split(source, "\n") {
		comment, isComment := strings.CutPrefix(strings.TrimLeft(line, "\t "), "//")
		if !isComment || strings.HasPrefix(comment, "go:") || isURL(comment) {
			continue
		}
		if columns(line) > longestComment {
			lines = append(lines, i+1)
		}
	}
	return lines
}

// isURL reports whether a comment consists of one URL.
func isURL(comment string) bool {
	words := strings.Fields(comment)
	return len(words) == 1 && strings.Contains(words[0], "://")
}

// columns returns the width of a line. A tab counts as its full width, wherever it is.
func columns(line string) (n int) {
	for _, r := range line {
		if n++; r == '\t' {
			n += tabWidth - 1
		}
	}
	return n
}

func TestLongCommentsAreFound(t *testing.T) {
	long := strings.Repeat("a ", 60)
	source := "// " + long + "\n" + // 1: too long
		"\t// " + strings.Repeat("a", 95) + "\n" + // 2: too long with its tab
		"// short\n" +
		"//" + "go:generate " + long + "\n" +
		"//" + " https://example.com/" + strings.Repeat("a", 100) + "\n" +
		"x := \"" + long + "\"\n"
	if got, want := longComments(source), []int{1, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// shared lists the names of types that several packages declare, with the reason. A name that is
// not here means one thing in the whole tree.
var shared = map[string]string{
	"Asker":       "the look-ups that the tracker needs, and those that the proxy needs; upstream.Client has both",
	"Bounds":      "the limits of memory of the tag index, of sessions, and of the whole tracker",
	"Body":        "detect.Body is the body of a client's request, format.Body that of a webhook's POST",
	"Chart":       "detect.Chart is what an archive contains, upstream.Chart what ChartMuseum answers about a version",
	"Client":      "detect.Client is who sent a request; the others send requests: to a receiver, an adapter, an upstream",
	"Config":      "config.Config is the file, track.Config what it configures",
	"Event":       "store.Event is what the store keeps of detect.Event: bytes, and the columns of queries",
	"Format":      "notify.Format is the interface that format.Format implements",
	"Found":       "detect.Found is the state of one reference, upstream.Found one tag of a walk",
	"Group":       "config.Group is the file's, notify.Group what it configures; engine.Group is a commit of several writes",
	"History":     "api.History is the part of notify.History that Harbor's API needs",
	"Identity":    "config.Identity is the file's, proxy.Identity what it configures",
	"Key":         "store.Key is detect.Key without types of detect, which the store does not import",
	"Limits":      "config.Limits is the file's, proxy.Limits what it configures",
	"Manifest":    "upstream.Manifest is an answer with header and bytes, detect.Manifest its decoded body",
	"Match":       "config.Match is the file's, notify.Match what it configures",
	"Metrics":     "those of the proxy and those of notify",
	"Observer":    "proxy.Observer turns operations into events, carry.Observer sees the steps of one exchange",
	"Observation": "track.Observation is tagindex.Observation, so that who uses a Tracker imports one package",
	"Options":     "the options of a package's main type, as usual in Go",
	"Outcome":     "webhook.Outcome is one attempt's, store.Outcome what is stored of it",
	"Project":     "config.Project is the file's, api.Project what the API shows of it",
	"Quota":       "config.Quota is the limit in the file, detect.Quota usage and limit in an event",
	"Reader":      "store.Reader and engine.Reader read rows, carry.Reader sees the body of an answer",
	"Request":     "detect.Request is a classified request line, scan.Request one to a scanner, engine.Request one to the writer",
	"Retention":   "config.Retention is the file's, store.Retention what it configures",
	"Rule":        "quota.Rule limits a project, replication.Rule recognizes a replicator",
	"Row":         "store.Row is detect.Row without types of detect, which the store does not import",
	"Scanner":     "config.Scanner is in the file, scan.Scanner what it configures, detect.Scanner a program in an event; engine.Scanner scans a row",
	"Signature":   "config.Signature is the file's, webhook.Signature what it configures",
	"Stats":       "the state of the tracker, and that of scans, for metrics",
	"Store":       "config.Store is the file's; the engines implement notify.Store",
	"Transfer":    "track.Transfer is pulls.Transfer, so that who uses a Tracker imports one package",
	"Tracker":     "proxy.Tracker is the interface that track.Tracker implements",
	"Upstream":    "config.Upstream is the file's, proxy.Upstream what it configures",
	"Webhook":     "config.Webhook is the file's, notify.Webhook what it configures",
	"Webhooks":    "notify.Webhooks has those of the store, api.Webhooks those of the file too",
	"books":       "private: what one commit reads and changes, of quotas and of replications",
	"contents":    "private: a cache of manifests, the parts of a manifest",
	"database":    "private: each engine's",
	"failure":     "private: bellbuoy's own error answer, an artifact that a replicator could not move",
	"key":         "private: a key of the file, a key of a filter",
	"kind":        "private: of a value in the file, all rows of a kind in a cache",
	"list":        "private: of sessions, of names in pages",
	"message":     "private: an event in words, a notice between replicas",
	"meter":       "private: bounds what is unpacked, has the metrics of an operation",
	"page":        "private: of an API's answer, of a list of names",
	"place":       "private: in the file, of a repository's manifests, in a walk",
	"pool":        "private: of memory, of connections to PostgreSQL",
	"recovery":    "private: of open intents, of a receiver's deliveries",
	"route":       "private: to an upstream, to a receiver",
	"session":     "private: of a client's reads, an engine's transaction, a login in a browser",
	"source":      "private: of a configuration, of what is removed when the store is too large",
	"transaction": "private: the tracker's view of one, the engine's",
	"verdict":     "private: about a write after a crash, about a token",
	"write":       "private: in the row of an intent, in the proxy, in a group of the writer",

	"FormatOptions": "config's types are of the file, manage's what an account is shown and sends",
	"Health":        "config.Health is the file's, manage.Health the state of a webhook",
	"Problem":       "config.Problem is in a file, manage.Problem in what an account sent",
	"Problems":      "as Problem",
	"TLS":           "webhook.TLS configures a client, manage.TLS is shown to an account",
}

// TestEveryTypeNameMeansOneThing refuses a name of a type that a checked package shares with
// another one without a reason, and a reason that no longer applies.
func TestEveryTypeNameMeansOneThing(t *testing.T) {
	declared := map[string][]string{} // name → packages
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") || file == path.Base(file) || strings.HasPrefix(file, "test/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range typesOf(parsed) {
			if dir := path.Dir(file); !slices.Contains(declared[name], dir) {
				declared[name] = append(declared[name], dir)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		if in := declared[name]; len(in) > 1 && shared[name] == "" && slices.ContainsFunc(in, isChecked) {
			t.Errorf("the type %s is declared in %s: rename one, or say why in the table", name, strings.Join(in, " and "))
		}
	}
	for name := range shared {
		if in := declared[name]; len(in) < 2 && !slices.ContainsFunc(in, func(p string) bool { return !isChecked(p) }) {
			t.Errorf("the table has %s, which %d packages declare", name, len(declared[name]))
		}
	}
}

// typesOf returns the names of the types that a file declares outside functions.
func typesOf(file *ast.File) (names []string) {
	for _, d := range file.Decls {
		general, ok := d.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, spec := range general.Specs {
			names = append(names, spec.(*ast.TypeSpec).Name.Name)
		}
	}
	return names
}

func isChecked(dir string) bool {
	return slices.ContainsFunc(checked, func(pattern string) bool {
		base, below := strings.CutSuffix(pattern, "/...")
		return dir == base || below && strings.HasPrefix(dir, base+"/")
	})
}

// goFiles returns the Go files of the repository, without testdata.
func goFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() && name != ".." && (base == "testdata" || base == "bin" || strings.HasPrefix(base, ".")) {
			return fs.SkipDir
		}
		if strings.HasSuffix(base, ".go") {
			rel, err := filepath.Rel("..", name)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("only %d files", len(files))
	}
	return files
}
