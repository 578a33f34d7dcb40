package notify

import (
	"cmp"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Deriver derives changes from others in the same transaction; quotas do. Its methods may be called
// concurrently and keep no state.
type Deriver interface {
	// Scope returns a further scope that commits of the given scope (an upstream's repository)
	// lock, so that they exclude each other there too; "": none.
	Scope(scope string) string
	// Derive returns further rows and events, which are committed with c. v shows the rows
	// after c. It may be called several times for the same c. If it fails, c is committed
	// without them, because a derived event is less important than its cause. If reading v
	// fails, nothing is committed.
	Derive(c *detect.Changes, v detect.View) (detect.Changes, error)
}

// Derive sets the derivers of later commits. Each sees the changes of those before it. They do not
// see the pulls of Record.
func (o *Outbox) Derive(ds ...Deriver) { o.derivers.Store(&ds) }

// scopes returns the scopes of a commit; none if scope is "".
func (o *Outbox) scopes(scope string) (all []string) {
	if scope == "" {
		return nil
	}
	all = append(all, scope)
	for _, d := range *o.derivers.Load() {
		if s := d.Scope(scope); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// derive adds the derived changes.
func (o *Outbox) derive(tx store.Tx, c detect.Changes) (detect.Changes, error) {
	if len(c.Events)+len(c.Manifests) == 0 {
		return c, nil
	}
	for _, d := range *o.derivers.Load() {
		v := &viewAfter{view: view{tx}, changes: &c}
		more, err := deriveSafely(d, &c, v)
		if v.failed != nil {
			return c, v.failed
		}
		if err != nil {
			o.metrics.underived.Inc()
			o.log.Error("events not derived from a commit", zap.Error(err))
			continue
		}
		c.Events = append(slices.Clip(c.Events), more.Events...)
		c.Put = append(slices.Clip(c.Put), more.Put...)
		c.Delete = append(slices.Clip(c.Delete), more.Delete...)
	}
	return c, nil
}

// deriveSafely calls Derive and turns a panic into an error.
func deriveSafely(d Deriver, c *detect.Changes, v detect.View) (more detect.Changes, err error) {
	defer func() {
		if r := recover(); r != nil {
			more, err = detect.Changes{}, fmt.Errorf("deriving panicked: %v", r)
		}
	}()
	return d.Derive(c, v)
}

// viewAfter is a View of the rows after some changes. It records the store's first failure.
type viewAfter struct {
	view    detect.View
	changes *detect.Changes
	rows    map[detect.Key]*detect.Row // of the changes, made at the first use; nil: deleted
	failed  error
}

// Get implements detect.View.
func (v *viewAfter) Get(k detect.Key) (detect.Row, bool, error) {
	if row, ok := v.changed()[k]; ok {
		if row == nil {
			return detect.Row{}, false, nil
		}
		return *row, true, nil
	}
	row, ok, err := v.view.Get(k)
	return row, ok, v.note(err)
}

// Scan implements detect.View.
func (v *viewAfter) Scan(kind detect.RowKind, prefix string, limit int) ([]detect.Row, error) {
	limit = cmp.Or(limit, scanMost)
	rows, err := v.view.Scan(kind, prefix, limit+len(v.changes.Delete))
	if err != nil {
		return nil, v.note(err)
	}
	rows = slices.DeleteFunc(rows, func(r detect.Row) bool { _, ok := v.changed()[r.Key]; return ok })
	for k, row := range v.changed() {
		if row != nil && k.Kind == kind && len(k.ID) >= len(prefix) && k.ID[:len(prefix)] == prefix {
			rows = append(rows, *row)
		}
	}
	slices.SortFunc(rows, func(a, b detect.Row) int { return cmp.Compare(a.ID, b.ID) })
	return rows[:min(limit, len(rows))], nil
}

// scanMost bounds the rows of a Scan without a limit.
const scanMost = 1000

func (v *viewAfter) changed() map[detect.Key]*detect.Row {
	if v.rows == nil {
		v.rows = make(map[detect.Key]*detect.Row, len(v.changes.Put)+len(v.changes.Delete))
		for i := range v.changes.Put {
			v.rows[v.changes.Put[i].Key] = &v.changes.Put[i]
		}
		for _, k := range v.changes.Delete {
			v.rows[k] = nil
		}
	}
	return v.rows
}

func (v *viewAfter) note(err error) error {
	if v.failed == nil {
		v.failed = err
	}
	return err
}
