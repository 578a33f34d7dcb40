package notify

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// glob is a compiled pattern in doublestar's syntax. Its zero value matches only "".
type glob struct {
	pattern string
	// * stays within a segment and ** crosses /; otherwise * matches any characters
	paths   bool
	literal bool   // the pattern has no special characters
	flat    string // the pattern with / replaced; set for text patterns that use more than *
}

const (
	globMeta = `*?[{\`
	flatten  = "\x00" // replaces / where doublestar must not treat it as a separator
)

func pathGlob(p string) glob {
	return glob{pattern: p, paths: true, literal: !strings.ContainsAny(p, globMeta)}
}

func textGlob(p string) glob {
	g := glob{pattern: p, literal: !strings.ContainsAny(p, globMeta)}
	if strings.ContainsAny(p, `?[{\`) {
		g.flat = strings.ReplaceAll(p, "/", flatten)
	}
	return g
}

func (g glob) match(s string) bool {
	switch {
	case g.literal:
		return g.pattern == s
	case g.paths:
		return doublestar.MatchUnvalidated(g.pattern, s)
	case g.flat != "":
		return doublestar.MatchUnvalidated(g.flat, strings.ReplaceAll(s, "/", flatten))
	}
	return matchText(g.pattern, s)
}

// globs compiles patterns; one with braces becomes several globs. One with too many, which
// compileFilter refuses, stays as it is.
func globs(patterns []string, kind func(string) glob) []glob {
	out := make([]glob, 0, len(patterns))
	for _, p := range patterns {
		all, ok := alternatives(p)
		if !ok {
			all = []string{p}
		}
		for _, one := range all {
			out = append(out, kind(one))
		}
	}
	return out
}

// MatchText returns a function that reports whether a text matches one of the globs. * matches any
// characters.
func MatchText(patterns []string) func(string) bool {
	gs := globs(patterns, textGlob)
	return func(s string) bool { return anyMatch(gs, s) }
}

func anyMatch(gs []glob, s string) bool {
	for _, g := range gs {
		if g.match(s) {
			return true
		}
	}
	return false
}

// matchText matches a pattern in which * stands for any characters. It takes each piece between
// stars as early as possible, which is correct because only the first and last pieces are anchored.
// Its time is linear in the length of s for each piece.
func matchText(pattern, s string) bool {
	first, rest, _ := strings.Cut(pattern, "*")
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, piece)
		}
		at := strings.Index(s, piece)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(piece):], after
	}
}

// affix is a prefix or suffix of every text that a glob matches, or the only text that it matches.
type affix struct {
	kind affixKind
	text string
}

type affixKind uint8

const (
	exact affixKind = iota
	prefix
	suffix
)

// maxAffix bounds the number of different lengths that a look-up tries.
const maxAffix = 48

// affix returns the best affix of the glob; false if it has none. A path's affix does not end or
// begin with a slash, because a/** and **/a also match a.
func (g glob) affix() (affix, bool) {
	if g.literal {
		return affix{exact, g.pattern}, true
	}
	if head := g.pattern[:strings.IndexAny(g.pattern, globMeta)]; g.trim(head) != "" {
		head = g.trim(head)
		return affix{prefix, head[:min(len(head), maxAffix)]}, true
	}
	if at := strings.LastIndexAny(g.pattern, `*?]}\`); at >= 0 {
		if tail := g.trim(g.pattern[at+1:]); tail != "" {
			return affix{suffix, tail[max(0, len(tail)-maxAffix):]}, true
		}
	}
	return affix{}, false
}

func (g glob) trim(s string) string {
	if g.paths {
		return strings.Trim(s, "/")
	}
	return s
}
