package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files and schema.json")

// TestWrongFiles checks the exact messages, with their places, about every file in testdata/wrong.
func TestWrongFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("only %d wrong files: %v", len(files), err)
	}
	env := environment(map[string]string{"SECRET": "hunter2 hunter2", "TWO": "2m", "HOST_URL": "http://hunter2.example.com", "EMPTY": ""})
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cfg, warnings, err := Parse("bellbuoy.yaml", data, env)
			problems, ok := errors.AsType[Problems](err)
			if !ok || cfg != nil {
				t.Fatalf("accepted, or the error is not a Problems: %v", err)
			}
			got := problems.Error() + "\n"
			if len(warnings) > 0 {
				got += warnings.String() + "\n"
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("shows a secret:\n%s", got)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".want", got)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
