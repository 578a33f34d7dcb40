package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Rows of state live in two places of a SQLite file. A commit writes its rows as one line of row_log: bytes at the end of a table, where state_rows would take a
// page of its own for nearly every row, twice for a row that ends as soon as an intent does. What the log holds is in memory too, as layers, which those who read
// lay over the table. When the log is long it is folded: a commit that comes anyway brings state_rows up to date and empties it.

const (
	foldRows  = 1000      // writes in the log …
	foldBytes = 512 << 10 // … or bytes of them after which it is folded
)

// rowLog is what row_log holds. The writer changes it, after each commit that changed the table; anybody reads it.
type rowLog struct{ now atomic.Pointer[layers] }

// layers are rows that state_rows does not have yet, at one moment: they never change. nil: PostgreSQL's, which has no log.
type layers struct {
	top   *layer
	folds int // how often the log was emptied
	rows  int // writes since then
	bytes int // of them
}

// layer is what some commits in a row wrote. Those below it are older, and each has at least twice its rows: there are few.
type layer struct {
	kinds map[string]map[string]*Row // by kind and ID; nil: deleted
	rows  int
	below *layer
}

func newRowLog() *rowLog {
	l := new(rowLog)
	l.now.Store(new(layers))
	return l
}

// add lays what a commit wrote over the rest.
func (l *rowLog) add(rows map[Key]*Row) {
	now := *l.now.Load()
	top := &layer{kinds: make(map[string]map[string]*Row), below: now.top}
	for k, r := range rows {
		top.set(k.Kind, k.ID, committed(r))
		now.rows, now.bytes = now.rows+1, now.bytes+rowSize(k, r)
	}
	for top.below != nil && top.below.rows < 2*top.rows {
		top.swallow()
	}
	now.top = top
	l.now.Store(&now)
}

// empty forgets what state_rows has by now.
func (l *rowLog) empty() { l.now.Store(&layers{folds: l.now.Load().folds + 1}) }

// layers are what the log holds now; nil without a log.
func (l *rowLog) layers() *layers {
	if l == nil {
		return nil
	}
	return l.now.Load()
}

// sameFold tells whether the log was not emptied between two moments.
func sameFold(a, b *layers) bool { return a == b || a.folds == b.folds }

// long tells whether the log is to be folded.
func (l *layers) long() bool { return l.rows >= foldRows || l.bytes >= foldBytes }

func rowSize(k Key, r *Row) int {
	if r == nil {
		return len(k.ID) + 100
	}
	return len(k.ID) + len(r.Value) + 100
}

func (y *layer) set(kind, id string, r *Row) {
	of := y.kinds[kind]
	if of == nil {
		of = make(map[string]*Row)
		y.kinds[kind] = of
	}
	if _, there := of[id]; !there {
		y.rows++
	}
	of[id] = r
}

// swallow takes in the layer below. Only a layer that nobody else has yet may.
func (y *layer) swallow() {
	for kind, of := range y.below.kinds {
		mine := y.kinds[kind]
		for id, r := range of {
			if _, newer := mine[id]; !newer {
				y.set(kind, id, r)
			}
		}
	}
	y.below = y.below.below
}

// flat is all layers in one.
func (l *layers) flat() *layer {
	all := &layer{kinds: make(map[string]map[string]*Row), below: l.top}
	for all.below != nil {
		all.swallow()
	}
	return all
}

// row is what the log says of a row; nil: that it was deleted.
func (l *layers) row(k Key) (row *Row, known bool) {
	if l == nil {
		return nil, false
	}
	for y := l.top; y != nil; y = y.below {
		if row, known := y.kinds[k.Kind][k.ID]; known {
			return row, true
		}
	}
	return nil, false
}

// of is what the log says of a kind's rows whose IDs start with prefix.
func (l *layers) of(kind, prefix string) map[string]*Row {
	if l == nil || l.top == nil {
		return nil
	}
	found := make(map[string]*Row)
	for y := l.top; y != nil; y = y.below {
		for id, r := range y.kinds[kind] {
			if _, newer := found[id]; !newer && strings.HasPrefix(id, prefix) {
				found[id] = r
			}
		}
	}
	return found
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

// logRows writes a group's rows as a line of the log, which it folds first when that is long.
func (s *sqliteSession) logRows(g *group) error {
	if len(g.rows) == 0 {
		return nil
	}
	if s.e.rows.layers().long() {
		if err := s.fold(); err != nil {
			return err
		}
	}
	line := encodeRows(g.rows)
	if _, err := s.conn.exec("INSERT INTO row_log (data, crc) VALUES ($1, $2)", line, checksum(line)); err != nil {
		return err
	}
	s.logged = g.rows
	return nil
}

// fold brings state_rows up to date and empties the log. Neighbours are written together.
func (s *sqliteSession) fold() error {
	now := s.e.rows.layers()
	if s.folded || now.top == nil {
		return nil
	}
	changes := now.flat()
	for _, kind := range slices.Sorted(maps.Keys(changes.kinds)) {
		of := changes.kinds[kind]
		for _, id := range slices.Sorted(maps.Keys(of)) {
			if err := s.putRow(Key{kind, id}, of[id]); err != nil {
				return err
			}
		}
	}
	_, err := s.conn.exec("DELETE FROM row_log")
	s.folded = err == nil
	return err
}

func (s *sqliteSession) putRow(k Key, r *Row) (err error) {
	if r == nil {
		_, err = s.conn.exec("DELETE FROM state_rows WHERE kind = $1 AND id = $2", k.Kind, []byte(k.ID))
		return err
	}
	_, err = s.conn.exec("INSERT INTO state_rows (kind, id, value, due, seen, owner) VALUES ($1, $2, $3, $4, $5, $6)"+
		" ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value, due = excluded.due, seen = excluded.seen, owner = excluded.owner",
		k.Kind, []byte(k.ID), r.Value, micros(r.Due), micros(r.Seen), local)
	return err
}

// published shows everybody what the transaction has done to the log, now that it is committed.
func (s *sqliteSession) published() {
	if s.folded {
		s.e.rows.empty()
	}
	if s.logged != nil {
		s.e.rows.add(s.logged)
	}
}

// readLog fills the layers from the table. A damaged line is left out, and warned of.
func (e *sqliteEngine) readLog(ctx context.Context) error {
	e.rows.empty()
	lost := 0
	err := e.write.query(ctx, "SELECT data, crc FROM row_log ORDER BY n", nil, func(s scanner) error {
		var line []byte
		var crc int64
		if err := s.Scan(&line, &crc); err != nil {
			return err
		}
		rows, err := decodeRows(line, crc)
		if err != nil {
			lost++
			return nil
		}
		e.rows.add(rows)
		return nil
	})
	if lost > 0 {
		e.warn(fmt.Sprintf("%d commits' rows of state are damaged and left out", lost))
	}
	return err
}

// encodeRows makes a line of the log: of each row its kind and ID, and whether it is there; then its value, due and seen.
func encodeRows(rows map[Key]*Row) []byte {
	size := 0
	for k, r := range rows {
		size += rowSize(k, r)
	}
	b := make([]byte, 0, size)
	for k, r := range rows {
		b = appendBytes(appendBytes(b, k.Kind), k.ID)
		if r == nil {
			b = append(b, 0)
			continue
		}
		b = appendBytes(append(b, 1), r.Value)
		b = binary.AppendVarint(binary.AppendVarint(b, micros(r.Due)), micros(r.Seen))
	}
	return b
}

func decodeRows(line []byte, crc int64) (map[Key]*Row, error) {
	if checksum(line) != crc {
		return nil, errCorrupt
	}
	rows := make(map[Key]*Row)
	for f := (fields{rest: line}); len(f.rest) > 0; {
		k := Key{string(f.bytes()), string(f.bytes())}
		rows[k] = nil
		if f.byte() == 1 {
			rows[k] = &Row{Key: k, Value: f.bytes(), Due: fromMicros(f.varint()), Seen: fromMicros(f.varint())}
		}
		if f.bad {
			return nil, errCorrupt
		}
	}
	return rows, nil
}
