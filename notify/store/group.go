package store

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// group is what the callers of one transaction want written. Later callers read it over the database's content.
type group struct {
	recent   *recent
	cache    *cache
	rows     map[Key]*Row // nil: deleted
	events   []appended
	packed   []Event // transient, without deliveries
	ids      map[string]bool
	finishes []finish
	bytes    int
	direct   bool // a request that wrote by itself is in here
	chore    bool // and may have written rows of state
	lines    int  // what is to be written, without outcomes

	// Results.
	packedSeqs []int64           // the sequence numbers of packed
	wakes      map[string]bool   // webhooks that got something to do
	handed     []Delivery        // new and due; SQLite's
	depths     map[string]*tally // how the counts change
	anyNew     bool              // an event was appended
}

type appended struct {
	Event
	deliveries []Delivery
}

type finish struct {
	*Outcome
	request *request
}

// tally is a difference of a webhook's counts.
type tally struct{ pending, dead, parked int64 }

func newGroup(r *recent) *group {
	return &group{recent: r, rows: make(map[Key]*Row), wakes: make(map[string]bool), depths: make(map[string]*tally)}
}

func (g *group) empty() bool {
	return !g.direct && len(g.rows)+len(g.events)+len(g.packed)+len(g.finishes) == 0
}

func (g *group) depth(webhook string) *tally {
	t := g.depths[webhook]
	if t == nil {
		t = new(tally)
		g.depths[webhook] = t
	}
	return t
}

// room tells whether r may still come in. An empty group has room for anything.
func (g *group) room(r *request) bool {
	switch {
	case g.bytes >= groupBytes:
		return false
	case r.class == lanes:
		return len(g.finishes) < groupOutcomes
	}
	return g.lines < groupRows
}

// take runs r and adds what it wants. An error is the transaction's end; r's own goes to r.err.
func (g *group) take(s session, r *request) error {
	switch {
	case r.direct != nil:
		g.direct, g.chore = true, r.class == chores
		return safely(func() error { return r.direct(s, g) })
	case r.fn == nil:
		for i := range r.outcomes {
			g.finishes = append(g.finishes, finish{&r.outcomes[i], r})
			g.bytes += outcomeSize(&r.outcomes[i])
		}
		return nil
	}
	t := &transaction{reader: s.rows(), group: g}
	if r.err = safely(func() error { return r.fn(t) }); t.broken != nil {
		return t.broken
	}
	if r.err == nil {
		r.err = t.bad
	}
	if r.err == nil {
		r.err = g.merge(t)
	}
	return nil
}

// fence drops the outcomes of lanes whose epoch is another one.
func (g *group) fence(epochs map[string]int64) {
	g.finishes = slices.DeleteFunc(g.finishes, func(f finish) bool {
		epoch, ok := epochs[f.Webhook]
		lost := !ok || epoch != f.Epoch
		if lost {
			f.request.err = fmt.Errorf("%w: %s", ErrFenced, f.Webhook)
		}
		return lost
	})
}

func outcomeSize(o *Outcome) int {
	n := 100
	if o.Payload != nil {
		n += len(o.Payload.Body)
	}
	if o.Attempt != nil {
		n += len(o.Attempt.Response)
	}
	return n
}

func (g *group) merge(t *transaction) error {
	g.lines += len(t.writes)
	for _, w := range t.writes {
		g.rows[w.key] = w.row
		if w.row != nil {
			g.bytes += len(w.row.Value) + len(w.key.ID) + 100
		}
	}
	for i := range t.events {
		if err := g.append(t, &t.events[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) append(t *transaction, a *appended) error {
	g.bytes += len(a.Data) + 200 + 200*len(a.deliveries)
	g.lines += len(a.deliveries)
	if !a.Transient || len(a.deliveries) > 0 {
		g.events, g.lines = append(g.events, *a), g.lines+1
		return nil
	}
	seq, known := g.recent.doubt(a.ID)
	if g.ids[a.ID] || known && seq == 0 {
		return nil
	}
	if known {
		if there, err := packHolds(t.ctx, t.q, seq, a.ID); err != nil || there {
			return err
		}
	}
	if g.ids == nil {
		g.ids = make(map[string]bool)
	}
	g.ids[a.ID] = true
	g.packed = append(g.packed, a.Event)
	return nil
}

// remember notes the ids of a transaction that was committed, or may have been.
func (g *group) remember(inDoubt bool) {
	if len(g.packedSeqs) == 0 {
		return // it never came to writing them
	}
	for i := range g.packed {
		seq := int64(0)
		if inDoubt {
			seq = g.packedSeqs[i]
		}
		g.recent.add(g.packed[i].ID, seq)
	}
}

// transaction is one caller's Tx.
type transaction struct {
	reader
	group  *group
	writes []write
	events []appended
	broken error // a read failed: the transaction is at its end
	bad    error // a write cannot be done
}

type write struct {
	key Key
	row *Row
}

func (t *transaction) Get(k Key) (Row, bool, error) {
	if row, ok := t.group.rows[k]; ok {
		return given(row)
	}
	whole, err := t.whole(k.Kind)
	if err != nil {
		return Row{}, false, err
	}
	if whole != nil {
		return given(whole.rows[k.ID])
	}
	if row, known := t.group.cache.row(k); known {
		return given(row)
	}
	row, ok, err := t.reader.Get(k)
	t.note(err)
	switch {
	case err != nil:
	case ok:
		t.group.cache.keep(k, &row)
	default:
		t.group.cache.keep(k, nil)
	}
	return row, ok, err
}

// given is a row that is known; nil: there is none.
func given(row *Row) (Row, bool, error) {
	if row == nil {
		return Row{}, false, nil
	}
	return *row, true, nil
}

// whole is all rows of a kind as they are committed, where the cache has them; else nil.
func (t *transaction) whole(name string) (*kind, error) {
	k, err := t.group.cache.whole(name, func(limit int) ([]Row, error) { return t.reader.Scan(name, "", limit) })
	t.note(err)
	return k, err
}

// Scan lays the group's rows over the database's.
func (t *transaction) Scan(kind, prefix string, limit int) ([]Row, error) {
	limit = orDefault(limit, 1000)
	newer := make(map[string]*Row)
	for k, row := range t.group.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			newer[k.ID] = row
		}
	}
	rows, sorted, err := t.scan(kind, prefix, limit+len(newer))
	if err != nil || len(newer) == 0 && sorted {
		t.note(err)
		return rows, err
	}
	return firstByID(lay(rows, newer), limit), nil
}

// scan reads what is committed: all of it, unsorted, where the cache has the kind, else the first ones.
func (t *transaction) scan(kind, prefix string, limit int) (rows []Row, sorted bool, err error) {
	whole, err := t.whole(kind)
	if err != nil {
		return nil, false, err
	}
	if whole == nil {
		rows, err = t.reader.Scan(kind, prefix, limit)
		return rows, true, err
	}
	for id, row := range whole.rows {
		if strings.HasPrefix(id, prefix) {
			rows = append(rows, *row)
		}
	}
	return rows, false, nil
}

func (t *transaction) note(err error) {
	if err != nil && t.broken == nil {
		t.broken = err
	}
}

func (t *transaction) Put(rows ...Row) {
	for _, r := range rows {
		t.check(r.Key)
		t.checkSize("the value of "+r.Kind, len(r.Value))
		r.Value = slices.Clone(r.Value)
		t.writes = append(t.writes, write{r.Key, &r})
	}
}

func (t *transaction) Delete(keys ...Key) {
	for _, k := range keys {
		t.check(k)
		t.writes = append(t.writes, write{k, nil})
	}
}

// check refuses a key that PostgreSQL could not store; kinds are the program's own words.
func (t *transaction) check(k Key) {
	switch size := len(k.Kind) + len(k.ID); {
	case !utf8.ValidString(k.Kind) || strings.IndexByte(k.Kind, 0) >= 0:
		t.bad = fmt.Errorf("%w: a row's kind is not text", ErrInvalid)
	case size > MaxKey:
		t.bad = fmt.Errorf("%w: a key of %s has %d bytes, at most %d fit", ErrInvalid, k.Kind, size, MaxKey)
	}
}

func (t *transaction) checkSize(what string, size int) {
	if size > MaxValue {
		t.bad = fmt.Errorf("%w: %s has %d bytes, at most %d fit", ErrInvalid, what, size, MaxValue)
	}
}

// checkNames refuses names that are too long for an index.
func (t *transaction) checkNames(of string, names ...string) {
	for _, n := range names {
		if len(n) > MaxKey {
			t.bad = fmt.Errorf("%w: a name of %s has %d bytes, at most %d fit", ErrInvalid, of, len(n), MaxKey)
		}
	}
}

func (t *transaction) Append(e Event, deliveries ...Delivery) {
	e.ID, e.Type, e.Upstream, e.Repository = clean(e.ID), clean(e.Type), clean(e.Upstream), clean(e.Repository)
	t.checkNames("event "+e.ID[:min(len(e.ID), 64)], e.ID, e.Type, e.Upstream, e.Repository)
	t.checkSize("the data of an event of type "+e.Type[:min(len(e.Type), 64)], len(e.Data))
	own := slices.Clone(deliveries)
	for i := range own {
		d := &own[i]
		d.Webhook, d.TagKey, d.RepoKey = clean(d.Webhook), clean(d.TagKey), clean(d.RepoKey)
		t.checkNames("a delivery", d.Webhook, d.TagKey, d.RepoKey)
	}
	t.events = append(t.events, appended{e, own})
}
