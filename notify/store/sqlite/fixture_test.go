package sqlite

import (
	"context"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// fixture is a file that is open, with what only its own package knows of it.
type fixture struct {
	*storetest.World
	sqlite *Store
	dir    string
}

func openFixture(t *testing.T, dir string) *fixture {
	t.Helper()
	s, err := open(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &fixture{&storetest.World{Replica: s, Core: &s.Core, IsFile: true}, s, dir}
}

func (f *fixture) reopenFile(t *testing.T) *fixture {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return openFixture(t, f.dir)
}

var ctx = context.Background()
