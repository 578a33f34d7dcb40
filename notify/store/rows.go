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
	sql := "SELECT " + rowColumns + " FROM state_rows WHERE kind = $1 AND id > $2 ORDER BY id LIMIT CAST($3 AS BIGINT)"
	return collectRows(r.ctx, r.q, kind, sql, []any{kind, []byte(after), limit})
}

// due returns rows that are due, oldest first.
func (r reader) due(kind string, now time.Time, limit int) ([]Row, error) {
	limit = orDefault(limit, 1000)
	sql := "SELECT " + rowColumns + " FROM state_rows WHERE kind = $1 AND due > 0 AND due <= $2 ORDER BY due LIMIT CAST($3 AS BIGINT)"
	return collectRows(r.ctx, r.q, kind, sql, []any{kind, micros(now), limit})
}

// lay puts newer rows over those of a table; nil stands for a deleted one. The result has no order.
func lay(rows []Row, newer map[string]*Row) []Row {
	if len(newer) == 0 {
		return rows
	}
	rows = slices.DeleteFunc(rows, func(r Row) bool { _, ok := newer[r.ID]; return ok })
	for _, r := range newer {
		if r != nil {
			rows = append(rows, *r)
		}
	}
	return rows
}

func firstByID(rows []Row, limit int) []Row {
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return rows[:min(limit, len(rows))]
}
