package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/Masterminds/semver/v3"
	"github.com/bmatcuk/doublestar/v4"
)

// match checks one of a webhook's filters, match or exclude.
func (v *validator) match(at string, m Match) {
	known := v.upstreamNames()
	for i, name := range m.Upstreams {
		if !slices.Contains(known, name) {
			p := fmt.Sprintf("%s.upstreams[%d]", at, i)
			v.problem(p, "there is no upstream %s%s", v.show(p), didYouMean(v.scalars[p].raw, v.writtenNames()))
		}
	}
	v.globs(at, "projects", projectGlobs, m.Projects)
	v.globs(at, "repositories", repositoryGlobs, m.Repositories)
	v.globs(at, "tags", tagGlobs, m.Tags)
	v.globs(at, "operators", operatorGlobs, m.Operators)
	v.globs(at, "user_agents", agentGlobs, m.UserAgents)
	if m.Semver != "" {
		if _, err := semver.NewConstraint(m.Semver); err != nil {
			v.problem(at+".semver", `%s is not a range of versions, such as ">=1.2 <2", "~1.4" or "^2"`, v.show(at+".semver"))
		}
	}
	v.onlyOneSegment(at, m.Repositories)
	v.likeHosts(at, m.Repositories)
}

// onlyOneSegment warns of patterns of repositories if the user probably expects * to cross /.
func (v *validator) onlyOneSegment(at string, patterns []string) {
	for i, p := range patterns {
		if !strings.Contains(p, "*") || strings.Contains(p, "/") || strings.Contains(p, "**") || alsoDeeper(p, patterns) {
			continue
		}
		path := fmt.Sprintf("%s.repositories[%d]", at, i)
		deeper := p + "/**"
		if p == "*" {
			deeper = "**"
		}
		v.warning(path, `%s matches repositories of one segment only, not a/b: * stays within a segment; write %q to include all below, or %q for those of one segment`,
			v.show(path), deeper, "library/"+p)
	}
}

// alsoDeeper reports whether patterns has a pattern for repositories below those that p matches.
func alsoDeeper(p string, patterns []string) bool {
	return slices.Contains(patterns, "**") || slices.Contains(patterns, p+"/**") || slices.Contains(patterns, p+"/*")
}

// likeHosts warns of patterns whose first segment looks like a host. It is only a warning, because
// repositories of a cache may have such names.
func (v *validator) likeHosts(at string, patterns []string) {
	for i, p := range patterns {
		first, _, more := strings.Cut(p, "/")
		if more && strings.Contains(first, ".") && !strings.ContainsAny(first, `*?[{\`) {
			path := fmt.Sprintf("%s.repositories[%d]", at, i)
			v.warning(path, "%s seems to begin with a host; repositories are named without it", v.show(path))
		}
	}
}

// contradictions reports filters of a webhook that reject every event.
func (v *validator) contradictions(at string, w Webhook) {
	if v.findings.hasProblemWithin(at+".match") || v.findings.hasProblemWithin(at+".exclude") {
		return
	}
	m, x := w.Match, w.Exclude
	if len(m.Projects) > 0 && len(m.Repositories) > 0 && !shareRepositories(m.Projects, m.Repositories) {
		v.problem(at+".match.repositories", "no repository matches both repositories and projects; a project is the first segment of a repository")
	}
	if m.Tagged != nil && !*m.Tagged && m.Semver != "" {
		v.problem(at+".match.semver", "no event matches both semver and tagged: false")
	}
	if m.Tagged != nil && !*m.Tagged && len(m.Tags) > 0 {
		v.problem(at+".match.tags", "no event matches both tags and tagged: false")
	}
	for _, list := range []struct {
		key            string
		match, exclude []string
		everything     []string // patterns that match every value
	}{
		{"upstreams", m.Upstreams, x.Upstreams, nil},
		{"projects", m.Projects, x.Projects, []string{"*", "**"}},
		{"repositories", m.Repositories, x.Repositories, []string{"**", "**/*", "*/**"}},
		{"operators", m.Operators, x.Operators, []string{"*", "**"}},
		{"user_agents", m.UserAgents, x.UserAgents, []string{"*", "**"}},
		{"tags", m.Tags, x.Tags, nil},
		{"kinds", m.Kinds, x.Kinds, nil},
	} {
		key := at + ".exclude." + list.key
		switch {
		case slices.ContainsFunc(list.exclude, func(p string) bool { return slices.Contains(list.everything, p) }):
			v.problem(key, "excludes every event; remove it, or name the events that this webhook must not get")
		case len(list.match) > 0 && isSubset(list.match, list.exclude):
			v.problem(key, "excludes everything that match.%s selects", list.key)
		}
	}
	if slices.Contains(x.Tags, "*") || slices.Contains(x.Tags, "**") {
		v.allTagsExcluded(at, m)
	}
}

// allTagsExcluded explains the effect of exclude: {tags: ["*"]}.
func (v *validator) allTagsExcluded(at string, m Match) {
	key := at + ".exclude.tags"
	if len(m.Tags) > 0 || m.Tagged != nil && *m.Tagged {
		v.problem(key, "excludes every event that match selects")
		return
	}
	v.warning(key, "excludes every event with a tag; write match: {tagged: false} to get only events without a tag")
}

func isSubset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

// shareRepositories reports whether a repository may match one pattern of each list.
func shareRepositories(projects, repositories []string) bool {
	for _, r := range repositories {
		first, _, more := strings.Cut(r, "/")
		if !more && first != "**" {
			first = "library" // the project of repositories with one segment
		}
		if slices.ContainsFunc(projects, func(p string) bool { return mayOverlap(p, first) }) {
			return true
		}
	}
	return false
}

// mayOverlap reports whether two patterns of one segment can match the same text. It returns true
// if both have wildcards, or one has braces, which may take exponential time to match.
func mayOverlap(a, b string) bool {
	const meta = `*?[{\`
	switch {
	case strings.Contains(a, "{") || strings.Contains(b, "{"):
		return true
	case !strings.ContainsAny(a, meta):
		return doublestar.MatchUnvalidated(b, a)
	case !strings.ContainsAny(b, meta):
		return doublestar.MatchUnvalidated(a, b)
	}
	return true
}

// unraisable warns of event types that a webhook names and that cannot occur with this file.
func (v *validator) unraisable(at string, w Webhook) {
	if _, named := v.places[at+".events"]; !named {
		return
	}
	for i, event := range w.Events {
		p := fmt.Sprintf("%s.events[%d]", at, i)
		if v.scalars[p].raw != event {
			return // "*" stands for all types that can occur
		}
		if because := v.neverRaised(event, w.Match.Upstreams); because != "" {
			v.warning(p, "%s cannot occur: %s", event, because)
		}
	}
}

// neverRaised returns the reason why no event of a type can come from the named upstreams (from
// any if none is named), or "".
func (v *validator) neverRaised(event string, upstreams []string) string {
	has := func(kind string) bool {
		return slices.ContainsFunc(v.cfg.Upstreams, func(u Upstream) bool {
			return u.Type == kind && (len(upstreams) == 0 || slices.Contains(upstreams, u.Name))
		})
	}
	quotas := slices.ContainsFunc(v.cfg.Projects, func(p Project) bool { return p.Quota.Limit > 0 })
	switch {
	case strings.HasSuffix(event, "_CHART") && !has(TypeChartMuseum):
		return "no upstream of type chartmuseum is configured for it"
	case (strings.HasSuffix(event, "_ARTIFACT") || event == "DELETE_TAG") && !has(TypeRegistry):
		return "no upstream of type registry is configured for it"
	case strings.HasPrefix(event, "SCANNING_") && len(v.cfg.Scanners) == 0:
		return "there are no scanners"
	case event == "QUOTA_WARNING" && !quotas:
		return "no entry of projects has a quota"
	case event == "QUOTA_EXCEED" && !quotas && !has(TypeRegistry):
		return "no entry of projects has a quota, and registries have none of their own"
	case event == "REPLICATION" && len(v.cfg.Replication) == 0:
		return "replication is empty"
	}
	return ""
}

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

// globs checks the patterns of a key. A key with a single pattern is given as a list of one.
func (v *validator) globs(at, key string, kind globs, patterns []string) {
	for i, pattern := range patterns {
		p := join(at, key)
		if _, isText := v.scalars[p]; !isText {
			p = indexed(p, i)
		}
		switch problem := v.pattern(kind, pattern); {
		case pattern == "":
			v.problem(p, "must not be empty")
		case problem != "":
			v.problem(p, "%s %s", v.show(p), problem)
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
