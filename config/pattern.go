package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"
)

// globs describes the patterns of one property of events. Its texts follow the pattern in a
// message.
type globs struct {
	letters func(r rune) bool                   // characters of the property; nil: any
	of      string                              // the property, as in "a tag"
	more    func(v *validator, p string) string // a further check of a pattern; nil: none
}

const (
	globSyntax = "a pattern is a glob: * is any characters, ? one, [0-9] one of these, {a,b} either"
	notClosed  = `is not a glob: a [ or { is not closed, or a \ ends it; \[ is the character itself`
)

var (
	tagGlobs        = globs{letters: isTagLetter, of: "a tag", more: (*validator).tagPattern}
	operatorGlobs   = globs{of: "an operator"}
	agentGlobs      = globs{of: "a user agent"}
	projectGlobs    = globs{letters: isPathLetter, of: "a project", more: (*validator).projectPattern}
	repositoryGlobs = globs{letters: isPathLetter, of: "a repository", more: (*validator).repositoryPattern}
)

// globs checks the patterns of a key. A key that is no list is given as a list of one.
func (v *validator) globs(at, key string, kind globs, patterns []string) {
	for i, pattern := range patterns {
		p := join(at, key)
		if _, isText := v.spots[p]; !isText {
			p = indexed(p, i)
		}
		switch problem := v.pattern(kind, pattern); {
		case pattern == "":
			v.wrong(p, "must not be empty")
		case problem != "":
			v.wrong(p, "%s %s", v.show(p), problem)
		}
	}
}

// pattern returns the problem of a pattern, or "".
func (v *validator) pattern(kind globs, pattern string) string {
	switch {
	case strings.HasPrefix(pattern, "!"):
		return "does not negate; write the pattern without ! into exclude"
	case strings.HasPrefix(pattern, "^"):
		return "is a regular expression; " + globSyntax
	case !doublestar.ValidatePattern(pattern):
		return notClosed
	case classThenPlus.MatchString(pattern) || escapedLetter.MatchString(pattern):
		return "is a regular expression; " + globSyntax
	}
	if kind.more != nil {
		if problem := kind.more(v, pattern); problem != "" {
			return problem
		}
	}
	if kind.letters == nil {
		return ""
	}
	for _, r := range literals(pattern) {
		if !kind.letters(r) {
			return fmt.Sprintf("matches nothing: %s has no %q; %s", kind.of, r, globSyntax)
		}
	}
	return ""
}

var (
	classThenPlus = regexp.MustCompile(`\][+]|\)[*+?]|\(\?`)
	escapedLetter = regexp.MustCompile(`\\[A-Za-z0-9]`)
	anyOfRegexp   = regexp.MustCompile(`(^|[/._-])\.[*+?]`) // no repository has such a dot
	metaOfGlob    = regexp.MustCompile(`\[[^\]]*\]|[*?{},]`)
)

// literals returns a pattern without its special characters.
func literals(pattern string) string {
	return strings.ReplaceAll(metaOfGlob.ReplaceAllString(pattern, ""), `\`, "")
}

// isTagLetter reports whether r may be in a tag of an image or in a chart's version.
func isTagLetter(r rune) bool {
	return r <= unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-+", r))
}

// isPathLetter reports whether r may be in a repository. capitals checks capitals, which charts may
// have.
func isPathLetter(r rune) bool { return isTagLetter(r) && r != '+' || r == '/' }

func (v *validator) tagPattern(p string) string {
	switch {
	case strings.HasPrefix(p, ".") || strings.HasPrefix(p, "-"):
		return "matches nothing: no tag begins with " + p[:1] + "; " + globSyntax
	case strings.ContainsAny(literals(p), "/:@"):
		return "matches nothing: a tag has no / : @; a repository goes into repositories"
	}
	return ""
}

func (v *validator) projectPattern(p string) string {
	switch {
	case anyOfRegexp.MatchString(p):
		return "is a regular expression; " + globSyntax
	case strings.Contains(p, "/"):
		return "matches nothing: a project is the first segment of a repository and has no /; a longer path goes into repositories"
	}
	return v.capitals(p)
}

func (v *validator) repositoryPattern(p string) string {
	first, _, more := strings.Cut(p, "/")
	switch {
	case anyOfRegexp.MatchString(p):
		return "is a regular expression; " + globSyntax
	case strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/"):
		return "would match nothing: names have no / at their ends"
	case strings.Contains(p, "://"):
		return "is a URL: repositories are named without scheme and host"
	case strings.Contains(p, "//"):
		return "matches nothing: no repository has //"
	case more && v.isKnownHost(first):
		return "begins with a host: repositories are named without it"
	case strings.Contains(p, "@"):
		return "has a digest: repositories are named without it"
	case strings.Contains(p, ":"):
		return "has a tag: repositories are named without it; a tag goes into tags"
	}
	return v.capitals(p)
}

// capitals rejects a pattern with capitals if only registries are configured, whose repositories
// have none.
func (v *validator) capitals(p string) string {
	charts := slices.ContainsFunc(v.cfg.Upstreams, func(u Upstream) bool { return u.Type == TypeChartMuseum })
	if !charts && strings.ContainsFunc(literals(p), unicode.IsUpper) {
		return "matches nothing: repositories have no capitals"
	}
	return ""
}

// isKnownHost reports whether the first segment of a pattern is a host: it has a port, or an
// upstream has that host.
func (v *validator) isKnownHost(segment string) bool {
	host, _, err := net.SplitHostPort(segment)
	if err == nil && isHost(host) {
		return true
	}
	for _, u := range v.cfg.Upstreams {
		known := slices.Clone(u.Hosts)
		for _, text := range []string{u.ExternalURL, u.URL} {
			if at, problem := parseHTTP(text); problem == "" {
				known = append(known, at.Host, at.Hostname())
			}
		}
		if segment != "localhost" && !strings.ContainsAny(segment, ".:") {
			continue
		}
		if slices.Contains(known, strings.ToLower(segment)) {
			return true
		}
	}
	return false
}
