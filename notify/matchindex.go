package notify

import (
	"slices"
)

// index finds the webhooks that may concern an event without asking each of them: every webhook is filed under one property of its match
// that all events it wants have in common (a whole text, a beginning or an ending), the one that it shares with the fewest others.
// It only narrows; the filters decide.
type index struct {
	always []int // filed under nothing
	drawer [dimensions]drawer
}

// dimension is a property that webhooks are filed under.
type dimension int

const (
	byRepository dimension = iota
	byProject
	byOperator
	byTag
	byAgent
	byUpstream
	dimensions
)

// drawer is the webhooks filed under one property.
type drawer struct {
	all     []int // an event without the property may concern all of them
	whole   map[string][]int
	heads   []edge
	endings []edge
}

// edge is the texts of one length that begin or end what globs match.
type edge struct {
	length int
	under  map[string][]int
}

// filing is where a webhook can be filed: for each dimension its affixes, nil where it cannot.
type filing [dimensions][]affix

func filingOf(m Match) filing {
	var f filing
	f[byRepository] = affixes(globs(m.Repositories, pathGlob))
	f[byProject] = affixes(globs(m.Projects, pathGlob))
	f[byOperator] = affixes(globs(m.Operators, textGlob))
	f[byTag] = affixes(globs(m.Tags, textGlob))
	f[byAgent] = affixes(globs(m.UserAgents, textGlob))
	for _, u := range m.Upstreams {
		f[byUpstream] = append(f[byUpstream], affix{whole, u})
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
type crowd [dimensions]map[affix]int

func crowdOf(all []filing) crowd {
	var c crowd
	for d := range dimensions {
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
func (c crowd) best(f filing) (dimension, bool) {
	best, fewest := dimensions, 0
	for d := range dimensions {
		if len(f[d]) == 0 {
			continue
		}
		neighbours := 0
		for _, a := range f[d] {
			neighbours += c[d][a]
		}
		if best == dimensions || neighbours < fewest {
			best, fewest = d, neighbours
		}
	}
	return best, best != dimensions
}

func (x *index) add(i int, f filing, c crowd) {
	d, ok := c.best(f)
	if !ok {
		x.always = append(x.always, i)
		return
	}
	drawer := &x.drawer[d]
	drawer.all = append(drawer.all, i)
	for _, a := range f[d] {
		drawer.add(a, i)
	}
}

func (d *drawer) add(a affix, i int) {
	switch a.kind {
	case whole:
		if d.whole == nil {
			d.whole = map[string][]int{}
		}
		d.whole[a.text] = append(d.whole[a.text], i)
	case prefix:
		d.heads = file(d.heads, a.text, i)
	case suffix:
		d.endings = file(d.endings, a.text, i)
	}
}

func file(edges []edge, text string, i int) []edge {
	at := slices.IndexFunc(edges, func(e edge) bool { return e.length == len(text) })
	if at < 0 {
		at = len(edges)
		edges = append(edges, edge{len(text), map[string][]int{}})
	}
	edges[at].under[text] = append(edges[at].under[text], i)
	return edges
}

// find appends what is filed under the text.
func (d *drawer) find(found []int, text string) []int {
	found = append(found, d.whole[text]...)
	for _, e := range d.heads {
		if len(text) >= e.length {
			found = append(found, e.under[text[:e.length]]...)
		}
	}
	for _, e := range d.endings {
		if len(text) >= e.length {
			found = append(found, e.under[text[len(text)-e.length:]]...)
		}
	}
	return found
}

// candidates are the webhooks that the event may concern, in their order, each once.
func (x *index) candidates(f *facts) []int {
	found := slices.Clone(x.always)
	for d := range dimensions {
		drawer := &x.drawer[d]
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
func (f *facts) texts(d dimension) ([]string, bool) {
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
