package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// ErrStop ends a query early; it is no error.
var ErrStop = errors.New("enough")

// Reader reads rows of state.
type Reader struct {
	Q   Querier
	Ctx context.Context
}

// RowColumns are the columns that CollectRows reads.
const RowColumns = "id, value, due, seen, owner"

func scanRow(kind string, s Scanner) (store.Row, error) {
	var (
		id        []byte
		due, seen int64
		r         store.Row
	)
	if err := s.Scan(&id, &r.Value, &due, &seen, &r.Owner); err != nil {
		return r, err
	}
	r.Key = store.Key{Kind: kind, ID: string(id)}
	r.Due, r.Seen = FromMicros(due), FromMicros(seen)
	return r, nil
}

// Get implements store.Reader.
func (r Reader) Get(k store.Key) (row store.Row, ok bool, err error) {
	err = r.Q.Query(r.Ctx, "SELECT "+RowColumns+" FROM state_rows WHERE kind = $1 AND id = $2", []any{k.Kind, []byte(k.ID)},
		func(s Scanner) (err error) {
			row, err = scanRow(k.Kind, s)
			ok = err == nil
			return err
		})
	return row, ok, err
}

// Scan implements store.Reader.
func (r Reader) Scan(kind, prefix string, limit int) ([]store.Row, error) {
	limit = OrDefault(limit, 1000)
	sql, args := "SELECT "+RowColumns+" FROM state_rows WHERE kind = $1 AND id >= $2 ORDER BY id LIMIT CAST($3 AS BIGINT)", []any{kind, []byte(prefix), limit}
	if end := after(prefix); end != nil {
		sql = "SELECT " + RowColumns + " FROM state_rows WHERE kind = $1 AND id >= $2 AND id < $4 ORDER BY id LIMIT CAST($3 AS BIGINT)"
		args = append(args, end)
	}
	return CollectRows(r.Ctx, r.Q, kind, sql, args)
}

// CollectRows reads rows of a kind by a statement that selects RowColumns.
func CollectRows(ctx context.Context, q Querier, kind, sql string, args []any) (rows []store.Row, err error) {
	err = q.Query(ctx, sql, args, func(s Scanner) error {
		r, err := scanRow(kind, s)
		rows = append(rows, r)
		return err
	})
	return rows, err
}

// after returns the first string after all those that begin with prefix, or nil if there is none.
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

// OrDefault returns limit, or def if limit is not positive.
func OrDefault(limit, def int) int {
	if limit <= 0 {
		return def
	}
	return limit
}

// Page returns the rows of a kind whose ID is behind after, in order of ID.
func (r Reader) Page(kind, after string, limit int) ([]store.Row, error) {
	limit = OrDefault(limit, 1000)
	sql := "SELECT " + RowColumns + " FROM state_rows WHERE kind = $1 AND id > $2 ORDER BY id LIMIT CAST($3 AS BIGINT)"
	return CollectRows(r.Ctx, r.Q, kind, sql, []any{kind, []byte(after), limit})
}

// due returns the rows of a kind that are due, oldest first.
func (r Reader) due(kind string, now time.Time, limit int) ([]store.Row, error) {
	limit = OrDefault(limit, 1000)
	sql := "SELECT " + RowColumns + " FROM state_rows WHERE kind = $1 AND due > 0 AND due <= $2 ORDER BY due LIMIT CAST($3 AS BIGINT)"
	return CollectRows(r.Ctx, r.Q, kind, sql, []any{kind, Micros(now), limit})
}

// lay replaces rows of a table by newer ones. nil stands for a deleted row. The result has no
// order.
func lay(rows []store.Row, newer map[string]*store.Row) []store.Row {
	if len(newer) == 0 {
		return rows
	}
	rows = slices.DeleteFunc(rows, func(r store.Row) bool { _, ok := newer[r.ID]; return ok })
	for _, r := range newer {
		if r != nil {
			rows = append(rows, *r)
		}
	}
	return rows
}

func firstByID(rows []store.Row, limit int) []store.Row {
	slices.SortFunc(rows, func(a, b store.Row) int { return strings.Compare(a.ID, b.ID) })
	return rows[:min(limit, len(rows))]
}
