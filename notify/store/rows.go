package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// errStop ends a query early; it is no error.
var errStop = errors.New("enough")

// reader reads rows of state.
type reader struct {
	q   querier
	ctx context.Context
	log *rowLog // what it holds lies over state_rows; nil: there is none
}

// over reads rows of a kind from state_rows, and lays what the log has over them. limit is how many are wanted; sort is true where they lost their order.
//
// What the log has after the table was read makes the rows those of that later moment, unless the log was folded meanwhile: then they may lack what
// it had. A fold that is committed and not yet shown does no harm: it put into the table just what still lies over it.
func (r reader) over(kind, prefix string, limit int, read func(limit int) ([]Row, error)) (rows []Row, sort bool, err error) {
	for {
		before := r.log.layers()
		newer := before.of(kind, prefix)
		most := limit + len(newer)
		if rows, err = read(most); err != nil {
			return nil, false, err
		}
		after := r.log.layers()
		if after != before {
			newer = after.of(kind, prefix)
		}
		if sameFold(before, after) && (len(rows) < most || limit+len(newer) <= most) {
			return lay(rows, newer), len(newer) > 0, nil
		}
	}
}

const rowColumns = "id, value, due, seen, owner"

func scanRow(kind string, s scanner) (Row, error) {
	var (
		id        []byte
		due, seen int64
		r         Row
	)
	if err := s.Scan(&id, &r.Value, &due, &seen, &r.Owner); err != nil {
		return r, err
	}
	r.Key = Key{Kind: kind, ID: string(id)}
	r.Due, r.Seen = fromMicros(due), fromMicros(seen)
	return r, nil
}

func (r reader) Get(k Key) (row Row, ok bool, err error) {
	for {
		before := r.log.layers()
		if it, known := before.row(k); known {
			return given(it)
		}
		if row, ok, err = r.getTable(k); err != nil {
			return row, ok, err
		}
		after := r.log.layers()
		if it, known := after.row(k); known {
			return given(it)
		}
		if sameFold(before, after) {
			return row, ok, nil
		}
	}
}

func (r reader) getTable(k Key) (row Row, ok bool, err error) {
	err = r.q.query(r.ctx, "SELECT "+rowColumns+" FROM state_rows WHERE kind = $1 AND id = $2", []any{k.Kind, []byte(k.ID)},
		func(s scanner) (err error) {
			row, err = scanRow(k.Kind, s)
			ok = err == nil
			return err
		})
	return row, ok, err
}

func (r reader) Scan(kind, prefix string, limit int) ([]Row, error) {
	limit = orDefault(limit, 1000)
	rows, sort, err := r.over(kind, prefix, limit, func(limit int) ([]Row, error) { return r.scanTable(kind, prefix, limit) })
	if sort {
		rows = firstByID(rows, limit)
	}
	return rows, err
}

func (r reader) scanTable(kind, prefix string, limit int) ([]Row, error) {
	sql, args := "SELECT "+rowColumns+" FROM state_rows WHERE kind = $1 AND id >= $2 ORDER BY id LIMIT CAST($3 AS BIGINT)", []any{kind, []byte(prefix), limit}
	if end := after(prefix); end != nil {
		sql = "SELECT " + rowColumns + " FROM state_rows WHERE kind = $1 AND id >= $2 AND id < $4 ORDER BY id LIMIT CAST($3 AS BIGINT)"
		args = append(args, end)
	}
	return collectRows(r.ctx, r.q, kind, sql, args)
}

func collectRows(ctx context.Context, q querier, kind, sql string, args []any) (rows []Row, err error) {
	err = q.query(ctx, sql, args, func(s scanner) error {
		r, err := scanRow(kind, s)
		rows = append(rows, r)
		return err
	})
	return rows, err
}

// after is the first string behind all that start with prefix; nil: there is none.
func after(prefix string) []byte {
	b := []byte(prefix)
	for len(b) > 0 {
		if last := len(b) - 1; b[last] < 0xFF {
			b[last]++
			return b
		}
		b = b[:len(b)-1]
	}
	return nil
}

func orDefault(limit, def int) int {
	if limit <= 0 {
		return def
	}
	return limit
}

// page returns the rows of a kind whose ID is behind after, in order of ID.
func (r reader) page(kind, after string, limit int) ([]Row, error) {
	limit = orDefault(limit, 1000)
	rows, sort, err := r.over(kind, "", limit, func(limit int) ([]Row, error) {
		return collectRows(r.ctx, r.q, kind, "SELECT "+rowColumns+" FROM state_rows WHERE kind = $1 AND id > $2 ORDER BY id LIMIT CAST($3 AS BIGINT)",
			[]any{kind, []byte(after), limit})
	})
	if sort {
		rows = firstByID(slices.DeleteFunc(rows, func(r Row) bool { return r.ID <= after }), limit)
	}
	return rows, err
}

// due returns rows that are due, oldest first.
func (r reader) due(kind string, now time.Time, limit int) ([]Row, error) {
	limit = orDefault(limit, 1000)
	rows, sort, err := r.over(kind, "", limit, func(limit int) ([]Row, error) {
		return collectRows(r.ctx, r.q, kind, "SELECT "+rowColumns+" FROM state_rows WHERE kind = $1 AND due > 0 AND due <= $2 ORDER BY due LIMIT CAST($3 AS BIGINT)",
			[]any{kind, micros(now), limit})
	})
	if sort {
		rows = firstDue(rows, now, limit)
	}
	return rows, err
}

func firstDue(rows []Row, now time.Time, limit int) []Row {
	rows = slices.DeleteFunc(rows, func(r Row) bool { return r.Due.IsZero() || r.Due.After(now) })
	slices.SortFunc(rows, func(a, b Row) int { return a.Due.Compare(b.Due) })
	return rows[:min(limit, len(rows))]
}

func firstByID(rows []Row, limit int) []Row {
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return rows[:min(limit, len(rows))]
}
