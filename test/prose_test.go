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

// shared lists the names of types that several packages declare: these packages, a colon, and the
// reason. "*" stands for any package. A name that is not here means one thing in the whole tree.
var shared = map[string]string{
	"Asker":         "detect/track, proxy: the look-ups that the tracker needs, and those that the proxy needs; upstream.Client has both",
	"Bounds":        "detect/track, detect/track/pulls, detect/track/tagindex: the limits of memory of the tag index, of sessions, and of the whole tracker",
	"Body":          "detect, notify/format, notify/manage: detect.Body is the body of a client's request, format.Body that of a webhook's POST, manage.Body what an account is shown of it",
	"Chart":         "detect, proxy/upstream: detect.Chart is what an archive contains, upstream.Chart what ChartMuseum answers about a version",
	"Client":        "detect, detect/scan/adapter, notify/webhook, proxy/upstream: detect.Client is who sent a request; the others send requests: to a receiver, an adapter, an upstream",
	"Config":        "config, detect/scan, detect/track, detect/track/pulls: config.Config is the file, the others are what a package is configured with",
	"Event":         "detect, notify/store: store.Event is what the store keeps of detect.Event: bytes, and the columns of queries",
	"Format":        "notify, notify/format: notify.Format is the interface that format.Format implements",
	"Found":         "detect, proxy/upstream: detect.Found is the state of one reference, upstream.Found one tag of a walk",
	"Group":         "config, notify, notify/manage, notify/store/engine: config.Group is the file's, notify.Group what it configures, manage.Group what an account is shown; engine.Group is a commit of several writes",
	"History":       "notify, notify/api: api.History is the part of notify.History that Harbor's API needs",
	"Identity":      "config, proxy: config.Identity is the file's, proxy.Identity what it configures",
	"Key":           "detect, notify/store: store.Key is detect.Key without types of detect, which the store does not import",
	"Limits":        "config, proxy: config.Limits is the file's, proxy.Limits what it configures",
	"Manifest":      "detect, proxy/upstream: upstream.Manifest is an answer with header and bytes, detect.Manifest its decoded body",
	"Match":         "config, notify: config.Match is the file's, notify.Match what it configures",
	"Metrics":       "notify, proxy: those of the proxy and those of notify",
	"Observer":      "proxy, proxy/carry: proxy.Observer turns operations into events, carry.Observer sees the steps of one exchange",
	"Observation":   "detect/track, detect/track/tagindex: track.Observation is tagindex.Observation, so that who uses a Tracker imports one package",
	"Options":       "*: the options of a package's main type, as usual in Go",
	"Outcome":       "notify/store, notify/webhook: webhook.Outcome is one attempt's, store.Outcome what is stored of it",
	"Project":       "config, notify/api, notify/console: config.Project is the file's, api.Project what the API shows of it, console.Project what a page does",
	"Quota":         "config, detect: config.Quota is the limit in the file, detect.Quota usage and limit in an event",
	"Reader":        "notify/store, notify/store/engine, proxy/carry: store.Reader and engine.Reader read rows, carry.Reader sees the body of an answer",
	"Request":       "detect, detect/scan, notify/manage, notify/store/engine: manage.Request is a POST as it is shown; detect.Request is a classified request line, scan.Request one to a scanner, engine.Request one to the writer",
	"Retention":     "config, notify/store: config.Retention is the file's, store.Retention what it configures",
	"Rule":          "detect/quota, detect/replication: quota.Rule limits a project, replication.Rule recognizes a replicator",
	"Row":           "detect, notify/store: store.Row is detect.Row without types of detect, which the store does not import",
	"Scanner":       "config, detect, detect/scan, notify/store/engine: config.Scanner is in the file, scan.Scanner what it configures, detect.Scanner a program in an event; engine.Scanner scans a row",
	"Signature":     "config, notify/manage, notify/webhook: config.Signature is the file's, webhook.Signature what it configures, manage.Signature what an account is shown",
	"Stats":         "detect/scan, detect/track, detect/track/tagindex: the state of a package, for metrics",
	"Store":         "config, notify, notify/store/postgres, notify/store/sqlite: config.Store is the file's; the engines implement notify.Store",
	"Transfer":      "detect/track, detect/track/pulls: track.Transfer is pulls.Transfer, so that who uses a Tracker imports one package",
	"Tracker":       "detect/track, proxy: proxy.Tracker is the interface that track.Tracker implements",
	"Upstream":      "config, detect/scan, proxy: config.Upstream is the file's, proxy.Upstream what it configures, scan.Upstream what a scan needs of it",
	"Webhook":       "config, notify, notify/manage: config.Webhook is the file's, notify.Webhook what it configures, manage.Webhook what an account is shown and sends",
	"Webhooks":      "notify, notify/api: notify.Webhooks has those of the store, api.Webhooks those of the file too",
	"books":         "detect/quota, detect/replication: what one commit reads and changes, of quotas and of replications",
	"contents":      "detect/track/tagindex, proxy/upstream: a cache of manifests, the parts of a manifest",
	"database":      "notify/store/postgres, notify/store/sqlite: each engine's",
	"failure":       "detect/replication, proxy: bellbuoy's own error answer, an artifact that a replicator could not move",
	"key":           "config, notify: a key of the file, a key of a filter",
	"kind":          "config, notify/store/engine: of a value in the file, all rows of a kind in a cache",
	"list":          "detect/track/pulls, proxy/upstream: of sessions, of names in pages",
	"message":       "notify/format, notify/store/postgres: an event in words, a notice between replicas",
	"meter":         "detect, proxy: bounds what is unpacked, has the metrics of an operation",
	"page":          "notify/api, proxy/upstream: of an API's answer, of a list of names",
	"place":         "config, detect/replication, proxy/upstream: in the file, of a replicator, in a walk",
	"pool":          "notify/store/postgres, proxy: of memory, of connections to PostgreSQL",
	"recovery":      "detect/track, notify: of open intents, of a receiver's deliveries",
	"route":         "notify/webhook, proxy: to an upstream, to a receiver",
	"session":       "detect/track/pulls, notify/access, notify/store/postgres, notify/store/sqlite: of a client's reads, a login in a browser, an engine's transaction",
	"source":        "config, notify/store/engine: of a configuration, of what is removed when the store is too large",
	"transaction":   "detect/track, notify/store/engine: the tracker's view of one, the engine's",
	"verdict":       "detect/track, proxy: about a write after a crash, about a token",
	"write":         "detect/track, notify/store/engine, proxy: in the row of an intent, in the proxy, in a group of the writer",
	"FormatOptions": "config, notify/manage: config's types are of the file, manage's what an account is shown and sends",
	"Health":        "config, notify/manage: config.Health is the file's, manage.Health the state of a webhook",
	"Problem":       "config, notify/manage: config.Problem is in a file, manage.Problem in what an account sent",
	"Problems":      "config, notify/manage: several of Problem",
	"TLS":           "notify/manage, notify/webhook: webhook.TLS configures a client, manage.TLS is shown to an account",
	"Attempt":       "notify/manage, notify/store: store.Attempt is a row, manage.Attempt what an account is shown",
	"Delivery":      "notify/manage, notify/store: store.Delivery is a row, manage.Delivery what an account is shown",
	"DeliveryQuery": "notify/manage, notify/store: store's are of the database, manage's what an account sends",
	"EventQuery":    "notify/manage, notify/store: store's are of the database, manage's what an account sends",
	"Replayed":      "notify, notify/manage: manage.Replayed is notify's, so that its users import one package",
	"Verdict":       "notify, notify/manage: notify.Verdict is a filter's, manage.Verdict what an account is shown of it",
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
	for _, problem := range sharedProblems(declared, shared) {
		t.Error(problem)
	}
}

// sharedProblems compares the packages that declare a type of each name with the table. Names that
// no checked package declares are left out.
func sharedProblems(declared map[string][]string, table map[string]string) (problems []string) {
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		in := strings.Join(slices.Sorted(slices.Values(declared[name])), ", ")
		listed, reason, ok := strings.Cut(table[name], ": ")
		switch several := len(declared[name]) > 1; {
		case several && !slices.ContainsFunc(declared[name], isChecked):
		case several && !ok:
			problems = append(problems, "the type "+name+" is declared in "+in+": rename one, or say why in the table")
		case several && listed != "*" && listed != in:
			problems = append(problems, "the type "+name+" is declared in "+in+", its reason is for "+listed+": "+reason)
		case !several && ok:
			problems = append(problems, "the table has "+name+", which only "+in+" declares")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if len(declared[name]) == 0 {
			problems = append(problems, "the table has "+name+", which no package declares")
		}
	}
	return problems
}

func TestReasonsOfSharedNamesAreForTheirPackages(t *testing.T) {
	declared := map[string][]string{"One": {"proxy"}, "Two": {"proxy", "detect"}, "Three": {"detect", "notify", "proxy"}, "Many": {"detect", "proxy"}}
	for _, tc := range []struct {
		table map[string]string
		want  []string
	}{
		{map[string]string{"Two": "detect, proxy: one reads", "Three": "detect, notify, proxy: each its own", "Many": "*: as usual"}, nil},
		{map[string]string{"Two": "detect, proxy: one reads", "Three": "detect, proxy: each its own", "Many": "*: as usual"},
			[]string{"the type Three is declared in detect, notify, proxy, its reason is for detect, proxy: each its own"}},
		{map[string]string{"Two": "no packages", "Three": "detect, notify, proxy: each its own", "Many": "*: as usual"},
			[]string{"the type Two is declared in detect, proxy: rename one, or say why in the table"}},
		{map[string]string{"Gone": "*: x", "One": "proxy: x", "Two": "detect, proxy: one reads", "Three": "*: x", "Many": "*: as usual"},
			[]string{"the table has One, which only proxy declares", "the table has Gone, which no package declares"}},
	} {
		if got := sharedProblems(declared, tc.table); !slices.Equal(got, tc.want) {
			t.Errorf("got %q, want %q", got, tc.want)
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
