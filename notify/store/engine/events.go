package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// where gathers conditions and their arguments.
type where struct {
	conditions []string
	args       []any
}

// add appends a condition in which each ? stands for the next argument.
func (w *where) add(condition string, args ...any) {
	for _, a := range args {
		w.args = append(w.args, a)
		condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(w.args)), 1)
	}
	w.conditions = append(w.conditions, condition)
}

func (w *where) oneOf(column string, values []string) { oneOf(w, column, values) }

// oneOf adds the condition that a column has one of the values. Without values it adds none.
func oneOf[T any](w *where, column string, values []T) {
	if len(values) == 0 {
		return
	}
	var b strings.Builder
	for i, v := range values {
		w.args = append(w.args, v)
		fmt.Fprintf(&b, "%s$%d", ", "[:2*min(i, 1)], len(w.args))
	}
	w.conditions = append(w.conditions, column+" IN ("+b.String()+")")
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// events merges the events that have rows of their own with those in packs.
func events(ctx context.Context, q Querier, upTo int64, eq store.EventQuery) ([]store.Event, error) {
	eq.Limit = OrDefault(eq.Limit, 100)
	if eq.Before == 0 || eq.Before > upTo+1 {
		eq.Before = upTo + 1
	}
	found, err := plainEvents(ctx, q, eq)
	if err != nil || eq.ID != "" && len(found) > 0 || len(eq.Seqs) > 0 {
		return found, err
	}
	packed, err := packedEvents(ctx, q, eq)
	if err != nil || len(packed) == 0 {
		return found, err
	}
	found = append(found, packed...)
	sortEvents(found, eq.Ascending)
	found = slices.CompactFunc(found, func(a, b store.Event) bool { return a.Seq == b.Seq }) // see planOne
	return found[:min(len(found), eq.Limit)], nil
}

func direction(ascending bool) string {
	if ascending {
		return ""
	}
	return " DESC"
}

func plainEvents(ctx context.Context, q Querier, eq store.EventQuery) (found []store.Event, err error) {
	var w where
	w.add("seq > ? AND seq < ?", eq.After, eq.Before)
	if eq.ID != "" {
		w.add("id = ?", eq.ID)
	}
	oneOf(&w, "seq", eq.Seqs)
	w.aboutEvents("", nil, eq.Repositories, eq.Projects)
	w.oneOf("type", eq.Types)
	if eq.Upstream != "" {
		w.add("upstream = ?", eq.Upstream)
	}
	if eq.Repository != "" {
		w.add("repository = ?", eq.Repository)
	}
	if !eq.Since.IsZero() {
		w.add("at >= ?", Micros(eq.Since))
	}
	if !eq.Until.IsZero() {
		w.add("at < ?", Micros(eq.Until))
	}
	sql := fmt.Sprintf("SELECT seq, id, type, at, upstream, repository, transient, data, crc FROM events%s ORDER BY seq%s LIMIT %d", w.String(), direction(eq.Ascending), eq.Limit)
	err = q.Query(ctx, sql, w.args, func(s Scanner) error {
		e, err := scanEvent(s)
		found = append(found, e)
		return err
	})
	return found, err
}

func scanEvent(s Scanner) (e store.Event, err error) {
	var at, transient, crc int64
	if err := s.Scan(&e.Seq, &e.ID, &e.Type, &at, &e.Upstream, &e.Repository, &transient, &e.Data, &crc); err != nil {
		return e, err
	}
	e.At, e.Transient = FromMicros(at), transient != 0
	if Checksum(e.Data) != crc {
		e.Data, e.Corrupt = nil, true
	}
	return e, nil
}

// packedEvents reads the packs in the direction of the query until the limit is reached, because
// the events in packs are not indexed.
func packedEvents(ctx context.Context, q Querier, eq store.EventQuery) (found []store.Event, err error) {
	var w where
	w.add("last > ? AND first < ?", eq.After, eq.Before)
	if !eq.Since.IsZero() {
		w.add("at_max >= ?", Micros(eq.Since))
	}
	if !eq.Until.IsZero() {
		w.add("at_min < ?", Micros(eq.Until))
	}
	if at, ok := uuidTime(eq.ID); ok {
		// The id was made at most an hour before it was appended.
		w.add("made >= ? AND made < ?", Micros(at.Add(-time.Minute)), Micros(at.Add(time.Hour)))
	}
	order := "last DESC"
	if eq.Ascending {
		order = "first"
	}
	err = q.Query(ctx, "SELECT first, last, data, crc FROM packs"+w.String()+" ORDER BY "+order, w.args, func(s Scanner) error {
		var first, last, crc int64
		var data []byte
		if err := s.Scan(&first, &last, &data, &crc); err != nil {
			return err
		}
		if enough(found, eq, first, last) {
			return ErrStop
		}
		found = fromPack(found, eq, first, last, data, crc)
		return nil
	})
	return found, err
}

// enough reports whether a pack and those after it hold no event that comes before those found.
// Packs of two replicas may overlap.
func enough(found []store.Event, eq store.EventQuery, first, last int64) bool {
	if len(found) < eq.Limit {
		return false
	}
	sortEvents(found, eq.Ascending)
	if eq.Ascending {
		return first > found[eq.Limit-1].Seq
	}
	return last < found[eq.Limit-1].Seq
}

func sortEvents(found []store.Event, ascending bool) {
	slices.SortFunc(found, func(a, b store.Event) int {
		if ascending {
			return cmp.Compare(a.Seq, b.Seq)
		}
		return cmp.Compare(b.Seq, a.Seq)
	})
}

// fromPack appends the events of a pack that eq selects. For a corrupt pack it appends one corrupt
// event.
func fromPack(found []store.Event, eq store.EventQuery, first, last int64, data []byte, crc int64) []store.Event {
	if Checksum(data) != crc {
		if eq.ID != "" {
			return found
		}
		return append(found, store.Event{Seq: last, Transient: true, Corrupt: true})
	}
	err := unpack(first, data, func(e store.Event) {
		if selects(&eq, &e) {
			found = append(found, e)
		}
	})
	if err != nil && eq.ID == "" {
		found = append(found, store.Event{Seq: last, Transient: true, Corrupt: true})
	}
	return found
}

func selects(q *store.EventQuery, e *store.Event) bool {
	switch {
	case e.Seq <= q.After, e.Seq >= q.Before:
	case q.ID != "" && q.ID != e.ID:
	case len(q.Types) > 0 && !slices.Contains(q.Types, e.Type):
	case len(q.Repositories) > 0 && !slices.Contains(q.Repositories, e.Repository):
	case len(q.Projects) > 0 && !mayBeOf(e.Repository, q.Projects):
	case q.Upstream != "" && q.Upstream != e.Upstream:
	case q.Repository != "" && q.Repository != e.Repository:
	case !q.Since.IsZero() && e.At.Before(q.Since):
	case !q.Until.IsZero() && !e.At.Before(q.Until):
	default:
		return true
	}
	return false
}

// mayBeOf reports what where.aboutEvents selects by projects.
func mayBeOf(repository string, projects []string) bool {
	project, _, ok := strings.Cut(repository, "/")
	return !ok || slices.Contains(projects, project)
}

// packHolds reports whether the event that would have got seq is stored under it.
func packHolds(ctx context.Context, q Querier, seq int64, id string) (there bool, err error) {
	err = q.Query(ctx, "SELECT first, data FROM packs WHERE first <= $1 AND last >= $1", []any{seq}, func(s Scanner) error {
		var first int64
		var data []byte
		if err := s.Scan(&first, &data); err != nil {
			return err
		}
		return unpack(first, data, func(e store.Event) { there = there || e.ID == id })
	})
	return there, err
}
