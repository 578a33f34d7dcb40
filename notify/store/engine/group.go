package engine

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Group are the changes of all callers of one transaction. Later callers read the database as these
// changes leave it.
type Group struct {
	recent   *recent
	cache    *RowCache
	Rows     map[store.Key]*store.Row // nil: deleted
	Events   []Appended
	Packed   []store.Event // transient, without deliveries
	ids      map[string]bool
	Finishes []finish
	bytes    int
	direct   bool // one of the requests writes to the database itself
	chore    bool // … and may write rows of state
	lines    int  // the rows to be written, without outcomes

	// Results.
	PackedSeqs []int64           // the sequence numbers of packed
	Wakes      map[string]bool   // webhooks that got something to do
	NewDue     []store.Delivery  // new and due; set by SQLite alone
	Depths     map[string]*Tally // how the counts change
	AnyNew     bool              // an event was appended
}

// Appended is an event with its deliveries.
type Appended struct {
	store.Event
	Deliveries []store.Delivery
}

type finish struct {
	*store.Outcome
	request *Request
}

// Tally is a change of the counts of a webhook.
type Tally struct{ Pending, Dead, Parked int64 }

func newGroup(r *recent) *Group {
	return &Group{recent: r, Rows: make(map[store.Key]*store.Row), Wakes: make(map[string]bool), Depths: make(map[string]*Tally)}
}

func (g *Group) empty() bool {
	return !g.direct && len(g.Rows)+len(g.Events)+len(g.Packed)+len(g.Finishes) == 0
}

// Depth returns the change of the counts of a webhook by this transaction.
func (g *Group) Depth(webhook string) *Tally {
	t := g.Depths[webhook]
	if t == nil {
		t = new(Tally)
		g.Depths[webhook] = t
	}
	return t
}

// room reports whether r may be added to the group. An empty group has room for any request.
func (g *Group) room(r *Request) bool {
	switch {
	case g.bytes >= GroupBytes:
		return false
	case r.Class == lanes:
		return len(g.Finishes) < groupOutcomes
	}
	return g.lines < groupRows
}

// take runs r and adds its changes. An error ends the transaction; an error of r alone is set in
// r.err.
func (g *Group) take(s Session, r *Request) error {
	switch {
	case r.Direct != nil:
		g.direct, g.chore = true, r.Class == Chores
		return safely(func() error { return r.Direct(s, g) })
	case r.fn == nil:
		for i := range r.outcomes {
			g.Finishes = append(g.Finishes, finish{&r.outcomes[i], r})
			g.bytes += outcomeSize(&r.outcomes[i])
		}
		return nil
	}
	t := &transaction{Reader: s.Rows(), group: g}
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

// Fence drops the outcomes of lanes that have another epoch now.
func (g *Group) Fence(epochs map[string]int64) {
	g.Finishes = slices.DeleteFunc(g.Finishes, func(f finish) bool {
		epoch, ok := epochs[f.Webhook]
		lost := !ok || epoch != f.Epoch
		if lost {
			f.request.err = fmt.Errorf("%w: %s", store.ErrFenced, f.Webhook)
		}
		return lost
	})
}

func outcomeSize(o *store.Outcome) int {
	n := 100
	if o.Payload != nil {
		n += len(o.Payload.Body)
	}
	if o.Attempt != nil {
		n += len(o.Attempt.Response)
	}
	return n
}

func (g *Group) merge(t *transaction) error {
	g.lines += len(t.writes)
	for _, w := range t.writes {
		g.Rows[w.key] = w.row
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

func (g *Group) append(t *transaction, a *Appended) error {
	g.bytes += len(a.Data) + 200 + 200*len(a.Deliveries)
	g.lines += len(a.Deliveries)
	if !a.Transient || len(a.Deliveries) > 0 {
		g.Events, g.lines = append(g.Events, *a), g.lines+1
		return nil
	}
	seq, known := g.recent.doubt(a.ID)
	if g.ids[a.ID] || known && seq == 0 {
		return nil
	}
	if known {
		if there, err := packHolds(t.Ctx, t.Q, seq, a.ID); err != nil || there {
			return err
		}
	}
	if g.ids == nil {
		g.ids = make(map[string]bool)
	}
	g.ids[a.ID] = true
	g.Packed = append(g.Packed, a.Event)
	return nil
}

// remember remembers the ids of a transaction that was committed, or may have been.
func (g *Group) remember(inDoubt bool) {
	if len(g.PackedSeqs) == 0 {
		return // they were not written
	}
	for i := range g.Packed {
		seq := int64(0)
		if inDoubt {
			seq = g.PackedSeqs[i]
		}
		g.recent.add(g.Packed[i].ID, seq)
	}
}

// transaction is one caller's Tx.
type transaction struct {
	Reader
	group  *Group
	writes []write
	events []Appended
	broken error // a read has failed: the transaction cannot go on
	bad    error // a write is not possible
}

type write struct {
	key store.Key
	row *store.Row
}

func (t *transaction) Get(k store.Key) (store.Row, bool, error) {
	if row, ok := t.group.Rows[k]; ok {
		return given(row)
	}
	whole, err := t.whole(k.Kind)
	if err != nil {
		return store.Row{}, false, err
	}
	if whole != nil {
		return given(whole.Rows[k.ID])
	}
	if row, known := t.group.cache.row(k); known {
		return given(row)
	}
	row, ok, err := t.Reader.Get(k)
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

// given returns a row that is known. nil stands for no row.
func given(row *store.Row) (store.Row, bool, error) {
	if row == nil {
		return store.Row{}, false, nil
	}
	return *row, true, nil
}

// whole returns all committed rows of a kind if the cache has them, else nil.
func (t *transaction) whole(name string) (*kind, error) {
	k, err := t.group.cache.whole(name, func(limit int) ([]store.Row, error) { return t.Reader.Scan(name, "", limit) })
	t.note(err)
	return k, err
}

// Scan returns the rows of the database with the changes of the group.
func (t *transaction) Scan(kind, prefix string, limit int) ([]store.Row, error) {
	limit = OrDefault(limit, 1000)
	newer := make(map[string]*store.Row)
	for k, row := range t.group.Rows {
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

// scan reads committed rows: all of them, unsorted, if the cache has the kind, else the first ones.
func (t *transaction) scan(kind, prefix string, limit int) (rows []store.Row, sorted bool, err error) {
	whole, err := t.whole(kind)
	if err != nil {
		return nil, false, err
	}
	if whole == nil {
		rows, err = t.Reader.Scan(kind, prefix, limit)
		return rows, true, err
	}
	for id, row := range whole.Rows {
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

func (t *transaction) Put(rows ...store.Row) {
	for _, r := range rows {
		t.check(r.Key)
		t.checkSize("the value of "+r.Kind, len(r.Value))
		r.Value = slices.Clone(r.Value)
		t.writes = append(t.writes, write{r.Key, &r})
	}
}

func (t *transaction) Delete(keys ...store.Key) {
	for _, k := range keys {
		t.check(k)
		t.writes = append(t.writes, write{k, nil})
	}
}

// check refuses a key that PostgreSQL cannot store. Kinds are never chosen by clients.
func (t *transaction) check(k store.Key) {
	switch size := len(k.Kind) + len(k.ID); {
	case !utf8.ValidString(k.Kind) || strings.IndexByte(k.Kind, 0) >= 0:
		t.bad = fmt.Errorf("%w: a row's kind is not text", store.ErrInvalid)
	case size > store.MaxKey:
		t.bad = fmt.Errorf("%w: a key of %s has %d bytes, at most %d fit", store.ErrInvalid, k.Kind, size, store.MaxKey)
	}
}

func (t *transaction) checkSize(what string, size int) {
	if size > store.MaxValue {
		t.bad = fmt.Errorf("%w: %s has %d bytes, at most %d fit", store.ErrInvalid, what, size, store.MaxValue)
	}
}

// checkNames refuses names that are too long for an index.
func (t *transaction) checkNames(of string, names ...string) {
	for _, n := range names {
		if len(n) > store.MaxKey {
			t.bad = fmt.Errorf("%w: a name of %s has %d bytes, at most %d fit", store.ErrInvalid, of, len(n), store.MaxKey)
		}
	}
}

func (t *transaction) Append(e store.Event, deliveries ...store.Delivery) {
	e.ID, e.Type, e.Upstream, e.Repository = Clean(e.ID), Clean(e.Type), Clean(e.Upstream), Clean(e.Repository)
	t.checkNames("event "+e.ID[:min(len(e.ID), 64)], e.ID, e.Type, e.Upstream, e.Repository)
	t.checkSize("the data of an event of type "+e.Type[:min(len(e.Type), 64)], len(e.Data))
	own := slices.Clone(deliveries)
	for i := range own {
		d := &own[i]
		d.Webhook, d.TagKey, d.RepoKey = Clean(d.Webhook), Clean(d.TagKey), Clean(d.RepoKey)
		t.checkNames("a delivery", d.Webhook, d.TagKey, d.RepoKey)
	}
	t.events = append(t.events, Appended{e, own})
}
