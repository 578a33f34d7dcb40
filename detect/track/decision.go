package track

import (
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// decision is one run of a decide function. It depends on its View and on what was fixed before, so that it can run again.
// It reads what it has itself changed.
type decision struct {
	view detect.View
	detect.Changes
	dropped     map[detect.Key]bool // what Delete holds
	cfg         Config
	now         time.Time
	w           write
	out         outcome
	learning    bool             // what is put is what a read has shown
	handed      bool             // the client has got the answer to its last push of the same
	subjectSeen bool             // the upstream has lately shown the manifest that an accessory belongs to
	sizes       map[string]int64 // of an index's children, as far as memory knows them
}

// put stores a row.
func (d *decision) put(row detect.Row) {
	for i := range d.Put {
		if d.Put[i].Key == row.Key {
			d.Put[i] = row
			return
		}
	}
	d.Put = append(d.Put, row)
}

// drop deletes a row.
func (d *decision) drop(k detect.Key) {
	d.Put = slices.DeleteFunc(d.Put, func(r detect.Row) bool { return r.Key == k })
	if !d.dropped[k] {
		if d.dropped == nil {
			d.dropped = map[detect.Key]bool{}
		}
		d.dropped[k] = true
		d.Delete = append(d.Delete, k)
	}
}

// Get reads a row as it will be after this decision.
func (d *decision) Get(k detect.Key) (detect.Row, bool, error) {
	for i := range d.Put {
		if d.Put[i].Key == k {
			return d.Put[i], true, nil
		}
	}
	if d.dropped[k] {
		return detect.Row{}, false, nil
	}
	return d.view.Get(k)
}

// Scan reads rows by prefix as they will be after this decision.
func (d *decision) Scan(kind detect.RowKind, prefix string, limit int) ([]detect.Row, error) {
	rows, err := d.view.Scan(kind, prefix, limit)
	if err != nil || len(d.Put)+len(d.Delete) == 0 {
		return rows, err
	}
	found := make([]detect.Row, 0, len(rows))
	for _, r := range rows {
		if !d.dropped[r.Key] && !slices.ContainsFunc(d.Put, func(p detect.Row) bool { return p.Key == r.Key }) {
			found = append(found, r)
		}
	}
	for _, r := range d.Put {
		if r.Kind == kind && strings.HasPrefix(r.ID, prefix) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return found, nil
}

// emit adds an event, unless its kind is muted.
func (d *decision) emit(e detect.Event) {
	if !d.cfg.Accessories && e.Artifact != nil && e.Artifact.Kind.Accessory() {
		return
	}
	d.Events = append(d.Events, e)
}

// event is the write's event, without what its type adds. It notes the repository where it is new.
func (d *decision) event(typ detect.Type) (detect.Event, error) {
	first, ok, err := read[repositoryRow](d, d.w.repositoryKey())
	if err != nil {
		return detect.Event{}, err
	}
	if !ok {
		first.First = d.w.At
		d.put(newRow(d.w.repositoryKey(), first, d.now))
	}
	return detect.Event{
		ID: d.w.Event, Type: typ, At: d.w.At, Upstream: d.w.Upstream, External: d.w.External,
		Repository: d.w.Repository, FirstSeen: first.First, Visibility: d.w.Visibility, Hint: d.w.Hint,
		Client: d.w.Client, RequestID: d.w.RequestID, Inferred: d.out.inferred,
	}, nil
}
