package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/bmatcuk/doublestar/v4"
)

// filter is a Match or an exclusion made ready. Its keys are asked in the order in which the configuration lists them.
type filter struct {
	keys   []key
	tags   []glob              // nil: says nothing
	semver *semver.Constraints // nil: says nothing
}

// key is one property's test. has is false for events that cannot have the property, or of which it is not known: the key then says nothing.
type key struct {
	name string // match.projects, exclude.kinds: what explain shows
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

// inRange reports whether a tag is a version within the range. A tag of a chart in a registry has _ for the + of its version.
func inRange(c *semver.Constraints, tag string) bool {
	v, err := semver.NewVersion(strings.ReplaceAll(tag, "_", "+"))
	return err == nil && c.Check(v)
}

func pushes(f *eventView) bool { return changesTag(f.event.Type) && !isDelete(f.event.Type) }

type filterCompiler struct {
	under string
	f     filter
}

func (c *filterCompiler) validate(name string, patterns []string) error {
	for i, p := range patterns {
		if !doublestar.ValidatePattern(p) {
			return fmt.Errorf("%s.%s[%d]: %q is not a glob", c.under, name, i, p)
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

// refused names the first key that the event does not meet; "": none, it passes. Tags are not asked here.
func (f filter) firstUnmet(facts *eventView) string {
	for _, k := range f.keys {
		if has, ok := k.test(facts); has && !ok {
			return k.name
		}
	}
	return ""
}

// caught names the first key that the event meets, for exclusions; "": none. Tags are not asked here.
func (f filter) firstMet(facts *eventView) string {
	for _, k := range f.keys {
		if has, ok := k.test(facts); has && ok {
			return k.name
		}
	}
	return ""
}
