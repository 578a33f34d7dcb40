package notify

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// glob is a pattern of either kind, in doublestar's syntax. Its zero value matches only "".
type glob struct {
	pattern string
	paths   bool   // * stays within a segment, ** crosses /; else * matches any characters
	literal bool   // the pattern is the text
	flat    string // of a pattern that is no path and has more than * in it: the pattern without /
}

const (
	globMeta = `*?[{\`
	flatten  = "\x00" // stands for /, where / is a character like others
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

func globs(patterns []string, kind func(string) glob) []glob {
	out := make([]glob, 0, len(patterns))
	for _, p := range patterns {
		out = append(out, kind(p))
	}
	return out
}

func anyMatch(gs []glob, s string) bool {
	for _, g := range gs {
		if g.match(s) {
			return true
		}
	}
	return false
}

// matchText matches * against any characters. Pieces between stars are taken as early as possible, which is right because only the first
// and the last are anchored; so its time is linear in the length of s for each piece.
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

// affix is a text that everything a glob matches begins or ends with, or is.
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

// maxAffix bounds the number of different lengths that a look-up has to try.
const maxAffix = 48

// affix is the best one that the glob has; false: it has none.
// A slash at the edge of a path's affix goes: a/** also matches a, and **/a too.
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
