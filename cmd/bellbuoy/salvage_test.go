package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
)

func TestSalvage(t *testing.T) {
	dir := t.TempDir()
	salvage := func(wantCode int, wants ...string) {
		t.Helper()
		var out bytes.Buffer
		code := run(t.Context(), []string{"salvage", "--data-dir", dir}, system{Stdout: &out, Stderr: &out, LookupEnv: os.LookupEnv})
		if code != wantCode {
			t.Errorf("exit code %d, want %d: %s", code, wantCode, &out)
		}
		for _, want := range wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in:\n%s", want, &out)
			}
		}
	}
	salvage(1, "bellbuoy.db: no such file or directory")
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	salvage(1, "another bellbuoy uses this data directory", "stop it first")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	salvage(0, "The database file is intact.")
	if err := os.WriteFile(filepath.Join(dir, "bellbuoy.db"), bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	salvage(0, "was damaged. 0 rows", "bellbuoy.db.corrupt-", "Some rows are lost: ")
	salvage(0, "The database file is intact.")
}
