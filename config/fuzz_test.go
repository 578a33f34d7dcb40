package config

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// canary is the value of every secret. No error may show it.
const canary = "cAnArY-5ecret"

// FuzzParse checks that Parse does not panic, that its problems have places and show no secrets,
// and that an accepted file means the same after it is written with every key and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(smallest))
	f.Add(reference)
	wrong, _ := filepath.Glob("testdata/wrong/*.yaml")
	for _, name := range wrong {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	env := environment(map[string]string{"SECRET": canary, "TWO": "2m", "STATE_DIRECTORY": "/var/lib/bellbuoy"})
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, warnings, err := Parse("f", data, env)
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		checkPlaces(t, warnings, lines)
		if err != nil {
			problems, ok := errors.AsType[Problems](err)
			if !ok || len(problems) == 0 || cfg != nil {
				t.Fatalf("not a list of problems: %v", err)
			}
			checkPlaces(t, problems, lines)
			return
		}
		again, _, err := Parse("f", []byte(write(reflect.ValueOf(*cfg), 0)), noEnv)
		if err != nil {
			t.Fatalf("the written file has problems:\n%v\n%s", err, write(reflect.ValueOf(*cfg), 0))
		}
		sameURL := cmp.Comparer(func(a, b URL) bool { return a.Reveal() == b.Reveal() })
		if diff := cmp.Diff(cfg, again, sameURL, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Config{})); diff != "" {
			t.Errorf("read again (-first +second):\n%s", diff)
		}
	})
}

func checkPlaces(t *testing.T, ps []Problem, lines int) {
	t.Helper()
	for _, p := range ps {
		if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" || strings.Contains(p.String(), "\n") {
			t.Errorf("not a line with a place in a file of %d lines: %q", lines, p)
		}
		if strings.Contains(p.String(), canary) {
			t.Errorf("shows a secret: %s", p)
		}
	}
	if !slices.IsSortedFunc(ps, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Errorf("not in the order of the file: %v", ps)
	}
}

// write returns v as YAML in flow style, with every key and with its secrets.
func write(v reflect.Value, depth int) string {
	switch value := v.Interface().(type) {
	case URL:
		return quote(value.Reveal())
	case Secret:
		return quote(value.Reveal())
	case encoding.TextMarshaler:
		text, _ := value.MarshalText()
		return quote(string(text))
	}
	switch v.Kind() {
	case reflect.Struct:
		var parts []string
		for _, f := range fieldsOf(v.Type()) {
			parts = append(parts, f.name+": "+write(v.Field(f.index), depth+1))
		}
		if depth == 0 {
			return strings.Join(parts, "\n") + "\n"
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, write(v.Index(i), depth+1))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		var parts []string
		for _, k := range v.MapKeys() {
			parts = append(parts, strconv.Quote(k.String())+": "+write(v.MapIndex(k), depth+1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return write(v.Elem(), depth+1)
	case reflect.String:
		return quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}

func quote(text string) string { return strconv.Quote(strings.ReplaceAll(text, "${", "$${")) }
