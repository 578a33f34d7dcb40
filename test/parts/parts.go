// Package parts finds the real programs that bellbuoy's tests and demo run: the registry,
// ChartMuseum, the clients, the peers of the benchmark and the linters. It builds or installs those
// that are missing.
//
// Programs written in Go come from the Go module proxy at a pinned version, are built once and kept
// outside the tree, below $BELLBUOY_PARTS (default: $XDG_CACHE_HOME/bellbuoy/parts). The others
// come from Debian, and are installed where the tests run as root. A test asks for one by name:
//
//	crane := parts.Path(t, "crane")
//
// and `go run ./test/parts/get crane helm3` prepares them ahead of time. Several processes may ask
// at once; one of them builds while the others wait.
package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// ErrUnknown is returned for a name that is not in the table.
var ErrUnknown = errors.New("no such part")

// A part is one program that tests use. find returns its path, install installs it.
type part struct {
	name    string
	version string // a module version; "" for what Debian provides
	source  source
}

// A source is a way to obtain a part.
type source interface {
	// find returns the path of the program, and false if it is missing.
	find(c cache, p part) (string, bool)
	// install obtains it, so that find succeeds. Its output goes to log.
	install(ctx context.Context, c cache, p part, log io.Writer) error
}

// Names returns all parts. The most useful ones are first.
func Names() []string {
	names := make([]string, 0, len(table))
	for _, p := range table {
		names = append(names, p.name)
	}
	return names
}

// Version returns the pinned version of a part; "" for those that Debian provides.
func Version(name string) string {
	p, err := lookup(name)
	if err != nil {
		return ""
	}
	return p.version
}

// Dir returns the directory of the parts that were built.
func Dir() (string, error) {
	c, err := defaultCache()
	return string(c), err
}

// Ensure makes every named part available, and reports its progress on stderr.
func Ensure(ctx context.Context, names ...string) error {
	_, err := Find(ctx, names...)
	return err
}

// Find is Ensure that also returns the paths of the programs, in the order of the names.
func Find(ctx context.Context, names ...string) ([]string, error) {
	c, err := defaultCache()
	if err != nil {
		return nil, err
	}
	return c.find(ctx, names)
}

// Present reports whether a part exists already. It does not obtain it.
func Present(name string) bool {
	c, err := defaultCache()
	if err != nil {
		return false
	}
	p, err := lookup(name)
	if err != nil {
		return false
	}
	_, ok := p.source.find(c, p)
	return ok
}

// Path returns the program of a part, and builds or installs it first if it is missing. In -short
// mode the test is skipped: a test that needs a real part is not a short one.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	if testing.Short() {
		tb.Skipf("needs the real %s, which -short leaves out", name)
	}
	paths, err := Find(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return paths[0]
}

func (c cache) find(ctx context.Context, names []string) ([]string, error) {
	paths := make([]string, 0, len(names))
	for _, name := range names {
		p, err := lookup(name)
		if err != nil {
			return nil, err
		}
		path, err := c.ensure(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("providing %s: %w", strings.TrimSpace(p.name+" "+p.version), err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// ensure returns the path of p. If p is missing, it obtains p under p's lock.
func (c cache) ensure(ctx context.Context, p part) (string, error) {
	if path, ok := p.source.find(c, p); ok {
		return path, nil
	}
	done := Progress(os.Stderr, "preparing "+strings.TrimSpace(p.name+" "+p.version)+" (the first time only)")
	defer done()
	unlock, err := c.lock(ctx, lockName(p))
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, ok := p.source.find(c, p); ok { // another process has obtained it meanwhile
		return path, nil
	}
	log := &tail{limit: 8 << 10}
	if err := p.source.install(ctx, c, p, log); err != nil {
		return "", fmt.Errorf("%w\n%s", err, log)
	}
	path, ok := p.source.find(c, p)
	if !ok {
		return "", fmt.Errorf("it was installed but is not there\n%s", log)
	}
	return path, nil
}

func lookup(name string) (part, error) {
	i := slices.IndexFunc(table, func(p part) bool { return p.name == name })
	if i < 0 {
		return part{}, fmt.Errorf("%w: %q (there are %s)", ErrUnknown, name, strings.Join(Names(), ", "))
	}
	return table[i], nil
}

// tail keeps the last bytes written to it, for the error of a build that failed.
type tail struct {
	limit int
	buf   []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = slices.Delete(t.buf, 0, over)
	}
	return len(b), nil
}

func (t *tail) String() string { return string(t.buf) }
