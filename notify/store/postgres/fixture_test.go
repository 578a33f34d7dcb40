package postgres

import (
	"context"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// fixture is one replica's store, with what only its own package knows of it.
type fixture struct {
	*storetest.World
	pg  *Store
	url string
}

func openReplica(t *testing.T, url, replica string) *fixture {
	t.Helper()
	s, err := open(context.Background(), Options{URL: url, Replica: replica})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &fixture{&storetest.World{Replica: s, Core: &s.Core}, s, url}
}

var ctx = context.Background()
