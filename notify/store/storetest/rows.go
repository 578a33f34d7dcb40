package storetest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// MemoryRows is a store of rows in memory, which several replicas may share. It holds no events
// and no deliveries. The zero value is empty.
type MemoryRows struct {
	mu      sync.Mutex
	rows    map[store.Key]store.Row
	failure error
	updates int
}

// Fail makes every call return err, until Fail(nil).
func (m *MemoryRows) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Updates returns the number of calls of Update.
func (m *MemoryRows) Updates() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.updates
}

// All returns a copy of the rows.
func (m *MemoryRows) All() map[store.Key]store.Row {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.rows)
}

// Clear removes all rows.
func (m *MemoryRows) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.rows)
}

// Update runs fn, and applies its changes unless it fails.
func (m *MemoryRows) Update(_ context.Context, _ []string, fn func(store.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.updates++
	tx := &rowsTx{rowsReader: rowsReader{m}}
	if err := errors.Join(m.failure, fn(tx)); err != nil {
		return err
	}
	if m.rows == nil {
		m.rows = map[store.Key]store.Row{}
	}
	for _, change := range tx.changes {
		change(m.rows)
	}
	return nil
}

// View runs fn.
func (m *MemoryRows) View(_ context.Context, fn func(store.Reader) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn(rowsReader{m})
}

// Due returns the rows of a kind whose Due has passed.
func (m *MemoryRows) Due(_ context.Context, kind string, now time.Time, limit int) (due []store.Row, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, row := range m.rows {
		if k.Kind == kind && !row.Due.After(now) {
			due = append(due, row)
		}
	}
	slices.SortFunc(due, func(a, b store.Row) int { return a.Due.Compare(b.Due) })
	return due[:min(limit, len(due))], m.failure
}

// rowsReader reads MemoryRows whose lock is held.
type rowsReader struct{ store *MemoryRows }

// Get implements store.Reader.
func (r rowsReader) Get(k store.Key) (store.Row, bool, error) {
	row, ok := r.store.rows[k]
	return row, ok, r.store.failure
}

// Scan implements store.Reader.
func (r rowsReader) Scan(kind, prefix string, limit int) (found []store.Row, err error) {
	for k, row := range r.store.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b store.Row) int { return cmp.Compare(a.ID, b.ID) })
	if limit > 0 {
		found = found[:min(limit, len(found))]
	}
	return found, r.store.failure
}

// rowsTx collects changes until the transaction is committed.
type rowsTx struct {
	rowsReader
	changes []func(map[store.Key]store.Row)
}

// Put implements store.Tx.
func (t *rowsTx) Put(rows ...store.Row) {
	for _, r := range rows {
		t.changes = append(t.changes, func(all map[store.Key]store.Row) { all[r.Key] = r })
	}
}

// Delete implements store.Tx.
func (t *rowsTx) Delete(keys ...store.Key) {
	for _, k := range keys {
		t.changes = append(t.changes, func(all map[store.Key]store.Row) { delete(all, k) })
	}
}

// Append implements store.Tx.
func (t *rowsTx) Append(store.Event, ...store.Delivery) { panic("MemoryRows holds no events") }
