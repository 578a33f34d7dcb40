package store

import (
	"context"
	"testing"
)

// fixture is a file that is open, with what only its own package knows of it.
type fixture struct {
	*world
	sqlite *sqliteStore
	dir    string
}

func openFixture(t *testing.T, dir string) *fixture {
	t.Helper()
	s, err := openSQLite(context.Background(), SQLiteOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &fixture{&world{Store: s, core: &s.core, isFile: true}, s, dir}
}

func (f *fixture) reopenFile(t *testing.T) *fixture {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return openFixture(t, f.dir)
}
