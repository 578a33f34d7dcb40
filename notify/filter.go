package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/bmatcuk/doublestar/v4"

	"github.com/bellbuoy/bellbuoy/detect"
)

// filter is a compiled Match. It tests the keys in the order of the configuration.
type filter struct {
	keys   []key
	tags   []glob              // nil: no constraint
	semver *semver.Constraints // nil: no constraint
}

// key tests one property. has is false if the event cannot have the property, or if its value is
// unknown; the key then constrains nothing.
type key struct {
	name string // as explain shows it: match.projects, exclude.kinds
	test func(*eventView) (has, ok bool)
}

func compileFilter(under string, m Match) (filter, error) {
	c := filterCompiler{under: under}
	for _, list := range []struct {
		name     string
		patterns []string
	}{{"projects", m.Projects}, {"repositories", m.Repositories}, {"tags", m.Tags}, {"operators", m.Operators}, {"user_agents", m.UserAgents}} {
		if err := c.validate(list.name, list.patterns); err != nil {
			return filter{}, err
		}
	}
	c.oneOf("upstreams", m.Upstreams, func(f *eventView) (string, bool) { return f.event.Upstream, f.event.Upstream != "" })
	c.globs("projects", globs(m.Projects, pathGlob), func(f *eventView) (string, bool) { return f.project, f.project != "" })
	c.repositories(globs(m.Repositories, pathGlob))
	c.globs("operators", globs(m.Operators, textGlob), func(f *eventView) (string, bool) { return f.event.Client.Operator, f.client })
	c.globs("user_agents", globs(m.UserAgents, textGlob), func(f *eventView) (string, bool) { return f.event.Client.UserAgent, f.client })
	c.oneOf("kinds", m.Kinds, func(f *eventView) (string, bool) { return string(f.kind), f.kind != "" })
	c.flag("tagged", m.Tagged, func(f *eventView) (bool, bool) { return len(f.tags) > 0, aboutArtifact(f.event.Type) })
	c.flag("changed", m.Changed, func(f *eventView) (bool, bool) { return !f.event.Unchanged, pushes(f) })
	c.minSeverity(m.MinSeverity)
	c.flag("new_findings", m.NewFindings, func(f *eventView) (bool, bool) { s := completedScan(f.event); return s != nil && s.New > 0, s != nil })
	if len(m.Tags) > 0 {
		c.f.tags = globs(m.Tags, textGlob)
	}
	if m.Semver != "" {
		var err error
		if c.f.semver, err = semver.NewConstraint(m.Semver); err != nil {
			return filter{}, fmt.Errorf("%s.semver: %q is not a range of versions: %w", under, m.Semver, err)
		}
	}
	return c.f, nil
}

// inRange reports whether a tag is a version in the range. A chart's tag in a registry has _ in
// place of the + of its version.
func inRange(c *semver.Constraints, tag string) bool {
	v, err := semver.NewVersion(strings.ReplaceAll(tag, "_", "+"))
	return err == nil && c.Check(v)
}

func pushes(f *eventView) bool { return changesTag(f.event.Type) && !isDelete(f.event.Type) }

// completedScan returns the scan of the event; nil if it has none or the scan failed.
func completedScan(e *detect.Event) *detect.Scan {
	if e.Type != detect.ScanningCompleted {
		return nil
	}
	return e.Scan
}

const longestGlob = 1024 // bytes

type filterCompiler struct {
	under string
	f     filter
}

func (c *filterCompiler) validate(name string, patterns []string) error {
	for i, p := range patterns {
		if !doublestar.ValidatePattern(p) {
			return fmt.Errorf("%s.%s[%d]: %q is not a glob", c.under, name, i, p)
		}
		if len(p) > longestGlob {
			return fmt.Errorf("%s.%s[%d]: is longer than %d bytes", c.under, name, i, longestGlob)
		}
		if _, ok := alternatives(p); !ok {
			return fmt.Errorf("%s.%s[%d]: %q stands for more than %d globs: use fewer braces", c.under, name, i, p, mostAlternatives)
		}
	}
	return nil
}

func (c *filterCompiler) add(name string, test func(*eventView) (has, ok bool)) {
	c.f.keys = append(c.f.keys, key{c.under + "." + name, test})
}

func (c *filterCompiler) oneOf(name string, values []string, of func(*eventView) (string, bool)) {
	if len(values) == 0 {
		return
	}
	values = slices.Clone(values)
	c.add(name, func(f *eventView) (bool, bool) {
		v, has := of(f)
		return has, has && slices.Contains(values, v)
	})
}

func (c *filterCompiler) globs(name string, gs []glob, of func(*eventView) (string, bool)) {
	if len(gs) == 0 {
		return
	}
	c.add(name, func(f *eventView) (bool, bool) {
		v, has := of(f)
		return has, has && anyMatch(gs, v)
	})
}

func (c *filterCompiler) repositories(gs []glob) {
	if len(gs) == 0 {
		return
	}
	c.add("repositories", func(f *eventView) (bool, bool) {
		return len(f.names) > 0, slices.ContainsFunc(f.names, func(n string) bool { return anyMatch(gs, n) })
	})
}

func (c *filterCompiler) flag(name string, want *bool, of func(*eventView) (is, has bool)) {
	if want == nil {
		return
	}
	wanted := *want
	c.add(name, func(f *eventView) (bool, bool) {
		is, has := of(f)
		return has, is == wanted
	})
}

// firstUnmet returns the name of the first key that the event does not match, or "" if it matches
// all. It does not test tags.
func (f filter) firstUnmet(v *eventView) string {
	for _, k := range f.keys {
		if has, ok := k.test(v); has && !ok {
			return k.name
		}
	}
	return ""
}

// firstMet returns the name of the first key that the event matches, or "" if it matches none. It
// does not test tags.
func (f filter) firstMet(v *eventView) string {
	for _, k := range f.keys {
		if has, ok := k.test(v); has && ok {
			return k.name
		}
	}
	return ""
}

func (c *filterCompiler) minSeverity(word string) {
	if word == "" {
		return
	}
	least := detect.SeverityRank(word)
	c.add("min_severity", func(f *eventView) (bool, bool) {
		s := completedScan(f.event)
		return s != nil, s != nil && detect.SeverityRank(s.Severity) >= least
	})
}
