package notify

import (
	"slices"
)

// matchIndex finds the webhooks that may want an event without testing each of them. It files every
// webhook under one property of its match, by the affixes (a whole text, a prefix or a suffix) that
// every wanted event must have. It chooses the property whose affixes the webhook shares with the
// fewest others. The index only narrows the search: the filters decide.
type matchIndex struct {
	always     []int // webhooks that cannot be indexed
	byProperty [properties]propertyIndex
}

// property is a property of an event by which webhooks are indexed.
type property int

const (
	byRepository property = iota
	byProject
	byOperator
	byTag
	byAgent
	byUpstream
	properties
)

// propertyIndex holds the webhooks that are indexed by one property.
type propertyIndex struct {
	all      []int // candidates for events without the property
	exact    map[string][]int
	prefixes []affixLength
	suffixes []affixLength
}

// affixLength holds the affixes of one length.
type affixLength struct {
	length int
	under  map[string][]int
}

// filterAffixes lists the affixes of a match for each property; nil if it cannot be indexed by that
// property.
type filterAffixes [properties][]affix

func affixesOf(m Match) filterAffixes {
	var f filterAffixes
	f[byRepository] = affixes(globs(m.Repositories, pathGlob))
	f[byProject] = affixes(globs(m.Projects, pathGlob))
	f[byOperator] = affixes(globs(m.Operators, textGlob))
	f[byTag] = affixes(globs(m.Tags, textGlob))
	f[byAgent] = affixes(globs(m.UserAgents, textGlob))
	for _, u := range m.Upstreams {
		f[byUpstream] = append(f[byUpstream], affix{exact, u})
	}
	return f
}

// affixes returns the affixes of all globs, or nil if one has none.
func affixes(gs []glob) []affix {
	var out []affix
	for _, g := range gs {
		a, ok := g.affix()
		if !ok {
			return nil
		}
		out = append(out, a)
	}
	return out
}

// affixCounts counts the webhooks that share an affix.
type affixCounts [properties]map[affix]int

func countAffixes(all []filterAffixes) affixCounts {
	var c affixCounts
	for d := range properties {
		c[d] = map[affix]int{}
		for _, f := range all {
			for _, a := range f[d] {
				c[d][a]++
			}
		}
	}
	return c
}

// best returns the property whose affixes the fewest webhooks share; false if the match cannot be
// indexed.
func (c affixCounts) best(f filterAffixes) (property, bool) {
	best, fewest := properties, 0
	for d := range properties {
		if len(f[d]) == 0 {
			continue
		}
		neighbours := 0
		for _, a := range f[d] {
			neighbours += c[d][a]
		}
		if best == properties || neighbours < fewest {
			best, fewest = d, neighbours
		}
	}
	return best, best != properties
}

func (x *matchIndex) add(i int, f filterAffixes, c affixCounts) {
	d, ok := c.best(f)
	if !ok {
		x.always = append(x.always, i)
		return
	}
	drawer := &x.byProperty[d]
	drawer.all = append(drawer.all, i)
	for _, a := range f[d] {
		drawer.add(a, i)
	}
}

func (d *propertyIndex) add(a affix, i int) {
	switch a.kind {
	case exact:
		if d.exact == nil {
			d.exact = map[string][]int{}
		}
		d.exact[a.text] = append(d.exact[a.text], i)
	case prefix:
		d.prefixes = addAffix(d.prefixes, a.text, i)
	case suffix:
		d.suffixes = addAffix(d.suffixes, a.text, i)
	}
}

func addAffix(edges []affixLength, text string, i int) []affixLength {
	at := slices.IndexFunc(edges, func(e affixLength) bool { return e.length == len(text) })
	if at < 0 {
		at = len(edges)
		edges = append(edges, affixLength{len(text), map[string][]int{}})
	}
	edges[at].under[text] = append(edges[at].under[text], i)
	return edges
}

// find appends the webhooks whose affix the text has.
func (d *propertyIndex) find(found []int, text string) []int {
	found = append(found, d.exact[text]...)
	for _, e := range d.prefixes {
		if len(text) >= e.length {
			found = append(found, e.under[text[:e.length]]...)
		}
	}
	for _, e := range d.suffixes {
		if len(text) >= e.length {
			found = append(found, e.under[text[len(text)-e.length:]]...)
		}
	}
	return found
}

// candidates returns the webhooks that may want the event, in their order, without duplicates.
func (x *matchIndex) candidates(f *eventView) []int {
	found := slices.Clone(x.always)
	for d := range properties {
		drawer := &x.byProperty[d]
		if len(drawer.all) == 0 {
			continue
		}
		texts, has := f.texts(d)
		if !has {
			found = append(found, drawer.all...)
		}
		for _, t := range texts {
			found = drawer.find(found, t)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// texts returns the event's values of a property; false if the event lacks it, so that no filter on
// it applies.
func (f *eventView) texts(d property) ([]string, bool) {
	switch d {
	case byRepository:
		return f.names, len(f.names) > 0
	case byProject:
		f.one[0] = f.project
		return f.one[:], f.project != ""
	case byOperator:
		f.one[0] = f.event.Client.Operator
		return f.one[:], f.client
	case byTag:
		return f.tags, len(f.tags) > 0
	case byAgent:
		f.one[0] = f.event.Client.UserAgent
		return f.one[:], f.client
	}
	f.one[0] = f.event.Upstream
	return f.one[:], f.event.Upstream != ""
}
