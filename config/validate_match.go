package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/bmatcuk/doublestar/v4"
)

// match checks one of a webhook's filters, match or exclude.
func (v *validator) match(at string, m Match) {
	known := v.upstreamNames()
	for i, name := range m.Upstreams {
		if !slices.Contains(known, name) {
			p := fmt.Sprintf("%s.upstreams[%d]", at, i)
			v.wrong(p, "there is no upstream %s%s", v.show(p), didYouMean(v.spots[p].raw, v.writtenNames()))
		}
	}
	v.globs(at, "projects", projectGlobs, m.Projects)
	v.globs(at, "repositories", repositoryGlobs, m.Repositories)
	v.globs(at, "tags", tagGlobs, m.Tags)
	v.globs(at, "operators", operatorGlobs, m.Operators)
	v.globs(at, "user_agents", agentGlobs, m.UserAgents)
	if m.Semver != "" {
		if _, err := semver.NewConstraint(m.Semver); err != nil {
			v.wrong(at+".semver", `%s is not a range of versions, such as ">=1.2 <2", "~1.4" or "^2"`, v.show(at+".semver"))
		}
	}
	v.onlyOneSegment(at, m.Repositories)
	v.likeHosts(at, m.Repositories)
}

// onlyOneSegment warns of patterns of repositories whose * the user probably expects to cross /.
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
		v.doubt(path, `%s matches repositories of one segment only, not a/b: * stays within a segment; write %q to include all below, or %q for those of one segment`,
			v.show(path), deeper, "library/"+p)
	}
}

// alsoDeeper reports whether patterns has one for repositories below those that p matches.
func alsoDeeper(p string, patterns []string) bool {
	return slices.Contains(patterns, "**") || slices.Contains(patterns, p+"/**") || slices.Contains(patterns, p+"/*")
}

// likeHosts warns of patterns whose first segment looks like a host. Repositories of a cache may
// have such names.
func (v *validator) likeHosts(at string, patterns []string) {
	for i, p := range patterns {
		first, _, more := strings.Cut(p, "/")
		if more && strings.Contains(first, ".") && !strings.ContainsAny(first, `*?[{\`) {
			path := fmt.Sprintf("%s.repositories[%d]", at, i)
			v.doubt(path, "%s begins with a host, it seems; repositories are named without it", v.show(path))
		}
	}
}

// contradictions reports filters of a webhook that reject every event.
func (v *validator) contradictions(at string, w Webhook) {
	if v.findings.below(at+".match") || v.findings.below(at+".exclude") {
		return
	}
	m, x := w.Match, w.Exclude
	if len(m.Projects) > 0 && len(m.Repositories) > 0 && !shareRepositories(m.Projects, m.Repositories) {
		v.wrong(at+".match.repositories", "no repository matches both repositories and projects; a project is the first segment of a repository")
	}
	if m.Tagged != nil && !*m.Tagged && m.Semver != "" {
		v.wrong(at+".match.semver", "no event matches both semver and tagged: false")
	}
	if m.Tagged != nil && !*m.Tagged && len(m.Tags) > 0 {
		v.wrong(at+".match.tags", "no event matches both tags and tagged: false")
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
			v.wrong(key, "excludes every event; remove it, or name the events that this webhook must not get")
		case len(list.match) > 0 && isSubset(list.match, list.exclude):
			v.wrong(key, "excludes everything that match.%s selects", list.key)
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
		v.wrong(key, "excludes every event that match selects")
		return
	}
	v.doubt(key, "excludes every event with a tag; write match: {tagged: false} to get only events without a tag")
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
		if slices.ContainsFunc(projects, func(p string) bool { return mayMeet(p, first) }) {
			return true
		}
	}
	return false
}

// mayMeet reports whether two patterns of one segment can match the same text. It returns true if
// both have wildcards.
func mayMeet(a, b string) bool {
	const meta = `*?[{\`
	switch {
	case !strings.ContainsAny(a, meta):
		return doublestar.MatchUnvalidated(b, a)
	case !strings.ContainsAny(b, meta):
		return doublestar.MatchUnvalidated(a, b)
	}
	return true
}

// unraisable warns of event types that a webhook names and that nothing in the file can cause.
func (v *validator) unraisable(at string, w Webhook) {
	if _, named := v.places[at+".events"]; !named {
		return
	}
	for i, event := range w.Events {
		p := fmt.Sprintf("%s.events[%d]", at, i)
		if v.spots[p].raw != event {
			return // "*" stands for all types that can occur
		}
		if because := v.neverRaised(event, w.Match.Upstreams); because != "" {
			v.doubt(p, "%s cannot occur: %s", event, because)
		}
	}
}

// neverRaised explains why no event of a type can come from the named upstreams, or from any if
// none is named.
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
