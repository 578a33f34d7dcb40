package notify

import (
	"slices"
)

// index finds the webhooks that may concern an event without asking each of them: every webhook is filed under one property of its match
// that all events it wants have in common (a whole text, a beginning or an ending), the one that it shares with the fewest others.
// It only narrows; the filters decide.
type matchIndex struct {
	always     []int // filed under nothing
	byProperty [properties]propertyIndex
}

// dimension is a property that webhooks are filed under.
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

// drawer is the webhooks filed under one property.
type propertyIndex struct {
	all      []int // an event without the property may concern all of them
	exact    map[string][]int
	prefixes []affixLength
	suffixes []affixLength
}

// edge is the texts of one length that begin or end what globs match.
type affixLength struct {
	length int
	under  map[string][]int
}

// filing is where a webhook can be filed: for each dimension its affixes, nil where it cannot.
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

// affixes are those of all globs, or nil when one has none.
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

// crowd counts how many webhooks have an affix in common.
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

// best is the dimension in which the filing has the fewest neighbours; false: none will do.
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

// find appends what is filed under the text.
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

// candidates are the webhooks that the event may concern, in their order, each once.
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

// texts are the event's values of a property; false: it lacks the property, and no filter of that kind constrains it.
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
