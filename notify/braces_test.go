package notify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/bellbuoy/bellbuoy/detect"
)

func TestAlternatives(t *testing.T) {
	for pattern, want := range map[string][]string{
		"a":                        {"a"},
		"{a,b}/*":                  {"a/*", "b/*"},
		"{a,{b,c}}":                {"a", "b", "c"},
		"a{,b}{c,d}":               {"abc", "abd", "ac", "ad"},
		`\{a,b\}`:                  {`\{a,b\}`},
		"[{,}]{x,y}":               {"[{,}]x", "[{,}]y"},
		"{[,],b}":                  {"[,]", "b"},
		`{a\,b,c}`:                 {`a\,b`, "c"},
		"team{/**,}":               {"team", "team/**"},
		"{a}":                      {"a"},
		strings.Repeat("{a,b}", 6): nil, // 64, compared below
	} {
		got, ok := alternatives(pattern)
		slices.Sort(got)
		if !ok || want != nil && !slices.Equal(got, want) {
			t.Errorf("%s: %q %t", pattern, got, ok)
		}
	}
	for _, many := range []string{strings.Repeat("{a,b}", 7), strings.Repeat("{a,", 70) + strings.Repeat("}", 70), "{" + strings.Repeat(",", 100) + "}", strings.Repeat("{,a}", 1000)} {
		if got, ok := alternatives(many); ok {
			t.Errorf("%d alternatives", len(got))
		}
	}
}

// Globs with braces are refused or matched in little time, whatever the text: an account limited to
// a project writes them, and every push of that project is matched.
func TestBracesTakeLittleTime(t *testing.T) {
	name := strings.Repeat("a", 120) + "/" + strings.Repeat("a/", 60) + "b"
	for _, p := range []string{strings.Repeat("{,a}", 30), strings.Repeat("{,a}", 6), strings.Repeat("*{a,a}", 6), strings.Repeat("**/{a,a}", 6), strings.Repeat("*{a,a*a}", 6) + "c", "{{{{{{a,a},a},a},a},a},a}*" + strings.Repeat("*a", 100) + "c"} {
		matches, err := Search(Match{Repositories: []string{p}, Tags: []string{p}})
		if err != nil {
			if !strings.Contains(err.Error(), "more than 64 globs") {
				t.Errorf("%s: %v", p, err)
			}
			continue
		}
		done := make(chan bool, 1)
		go func() {
			done <- matches(&detect.Event{Type: detect.PushArtifact, Repository: name, Tags: []string{name}})
		}()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Errorf("%s is still being matched", p)
		}
	}
}

// Expanded globs match what doublestar matches, except that it misses an empty star before braces.
func FuzzAlternatives(f *testing.F) {
	for _, seed := range []string{"{a,b}/*|b/x", "a{/**,}|a/b/c", "{*,**}/b|a/a/b", "[{,}]{x,y}|{x", `{a\,b,c}|a,b`, "{a,{b,}}c|c", "{**,a}/b|b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, both string) {
		pattern, name, _ := strings.Cut(both, "|")
		if !doublestar.ValidatePattern(pattern) || len(pattern) > 30 || len(name) > 30 {
			return
		}
		all, ok := alternatives(pattern)
		if !ok {
			return
		}
		want, err := doublestar.Match(pattern, name)
		if got := slices.ContainsFunc(all, func(p string) bool { return doublestar.MatchUnvalidated(p, name) }); err == nil && got != want && !(got && strings.Contains(pattern, "*{")) {
			t.Errorf("%q matches %q: %t, and its alternatives %q: %t", pattern, name, want, all, got)
		}
	})
}
