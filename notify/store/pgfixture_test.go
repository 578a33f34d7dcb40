package store

import (
	"context"
	"testing"
)

// replicaFixture is one replica's store, with what only its own package knows of it.
type replicaFixture struct {
	*world
	pg  *postgresStore
	url string
}

func openReplica(t *testing.T, url, replica string) *replicaFixture {
	t.Helper()
	s, err := openPostgres(context.Background(), PostgresOptions{URL: url, Replica: replica})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &replicaFixture{&world{Store: s, core: &s.core}, s, url}
}
