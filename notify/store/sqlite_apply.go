package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteSession is a transaction on the connection that writes.
type sqliteSession struct {
	*conn
	e *sqliteEngine
}

// local is the owner of every row of a SQLite file.
const local = "local"

func (s *sqliteSession) exec(_ context.Context, sql string, args ...any) (int64, error) {
	return s.conn.exec(sql, args...)
}

func (s *sqliteSession) rows() reader {
	return reader{s, context.Background()}
}

func (s *sqliteSession) commit() error {
	_, err := s.conn.exec("COMMIT")
	if err == nil {
		s.e.dirty = true
		return nil
	}
	s.rollback()
	if code(err) == sqlite3.SQLITE_IOERR {
		// The frames may have reached the disk although the call failed.
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

func (s *sqliteSession) rollback() { _, _ = s.conn.exec("ROLLBACK") }

func (s *sqliteSession) apply(_ context.Context, g *group) error {
	seq, id := s.e.nextSeq, s.e.nextID
	for _, step := range []func(*group) error{s.putRows, s.insertEvents, s.insertPacks, s.finish, s.addDepths} {
		if err := step(g); err != nil {
			return err
		}
	}
	if seq != s.e.nextSeq || id != s.e.nextID {
		_, err := s.conn.exec("INSERT INTO counters (name, value) VALUES ('event_seq', $1), ('delivery_id', $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", s.e.nextSeq-1, s.e.nextID-1)
		return err
	}
	return nil
}

// putRows writes the group's rows in the order of their keys, so that neighbours share a page.
func (s *sqliteSession) putRows(g *group) error {
	for _, k := range slices.SortedFunc(maps.Keys(g.rows), compareKeys) {
		if err := s.putRow(k, g.rows[k]); err != nil {
			return err
		}
	}
	return nil
}

func compareKeys(a, b Key) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID))
}

// putRow writes a row, or deletes it where r is nil.
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

func (s *sqliteSession) insertEvents(g *group) error {
	for i := range g.events {
		a := &g.events[i]
		matched := len(a.deliveries) > 0
		n, err := s.conn.exec("INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
			s.e.nextSeq, a.ID, a.Type, micros(a.At), a.Upstream, a.Repository, a.Transient, matched, a.Data, checksum(a.Data))
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		if err := s.insertDeliveries(g, a, s.e.nextSeq); err != nil {
			return err
		}
		s.e.nextSeq++
		g.anyNew = true
	}
	return nil
}

func (s *sqliteSession) insertDeliveries(g *group, a *appended, seq int64) error {
	now := time.Now()
	event := a.Event
	event.Seq = seq
	for i := range a.deliveries {
		d := &a.deliveries[i]
		state, next := sFresh, int64(0)
		if d.NextAt.After(now) {
			state, next = sWaiting, micros(d.NextAt)
		}
		_, err := s.conn.exec("INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, '', 0, 0, $12)",
			s.e.nextID, seq, d.Webhook, d.Number, d.TagKey, d.RepoKey, keyHash(d.TagKey), keyHash(d.RepoKey), state, micros(now), next, a.Transient)
		if err != nil {
			return err
		}
		g.depth(d.Webhook).pending++
		if state == sFresh {
			own := Delivery{ID: s.e.nextID, EventSeq: seq, EventID: event.ID, Webhook: d.Webhook, Number: d.Number, TagKey: d.TagKey, RepoKey: d.RepoKey, CreatedAt: fromMicros(micros(now)), Event: &event}
			own.PendingSince, own.NextAt = own.CreatedAt, own.CreatedAt
			g.handed = append(g.handed, own)
		} else {
			g.wakes[d.Webhook] = true
		}
		s.e.nextID++
	}
	return nil
}

func (s *sqliteSession) insertPacks(g *group) error {
	if len(g.packed) == 0 {
		return nil
	}
	g.anyNew = true
	for range g.packed {
		g.packedSeqs = append(g.packedSeqs, s.e.nextSeq)
		s.e.nextSeq++
	}
	now := micros(time.Now())
	for _, p := range packUp(g.packed, g.packedSeqs) {
		_, err := s.conn.exec("INSERT INTO packs (first, last, at_min, at_max, made, data, crc) VALUES ($1, $2, $3, $4, $5, $6, $7)", p.first, p.last, p.atMin, p.atMax, now, p.data, checksum(p.data))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sqliteSession) finish(g *group) error {
	g.fence(s.e.leases)
	for _, f := range g.finishes {
		if err := s.finishOne(g, f.Outcome); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqliteSession) finishOne(g *group, o *Outcome) error {
	to := newOutcome(o, time.Now())
	n, err := s.conn.exec("UPDATE deliveries SET state = $3, attempts = attempts + $4, next_at = $5, reason = $6, status = $7, finished_at = CASE WHEN $8 > 0 THEN $8 ELSE finished_at END WHERE id = $1 AND webhook = $2 AND state < 2",
		o.DeliveryID, o.Webhook, to.state, o.Burnt, to.next, to.reason, o.Status, to.finished)
	if err != nil {
		return err
	}
	if n == 0 {
		if n, err = s.finishParked(g, o, to); err != nil || n == 0 {
			return err
		}
	} else {
		to.count(g.depth(o.Webhook))
	}
	if p := o.Payload; p != nil {
		data, err := encodePayload(p)
		if err != nil {
			return err
		}
		if _, err := s.conn.exec("INSERT INTO payloads (delivery, data, crc) VALUES ($1, $2, $3) ON CONFLICT (delivery) DO NOTHING", o.DeliveryID, data, checksum(data)); err != nil {
			return err
		}
	}
	if a := o.Attempt; a != nil {
		_, err := s.conn.exec("INSERT INTO attempts (delivery, at, n, status, latency, reason, error, response, replica) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
			o.DeliveryID, micros(a.At), s.e.nextTry.Add(1), a.Status, a.Latency.Microseconds(), clean(a.Reason), clean(a.Error), a.Response, clean(a.Replica))
		return err
	}
	return nil
}

// finishParked records the end of a POST whose webhook was parked meanwhile. A retry leaves it parked.
func (s *sqliteSession) finishParked(g *group, o *Outcome, to outcome) (int64, error) {
	state := to.state
	if o.State == Pending {
		state = sParked
	}
	n, err := s.conn.exec("UPDATE deliveries SET state = $3, attempts = attempts + $4, next_at = $5, reason = $6, status = $7, finished_at = CASE WHEN $8 > 0 THEN $8 ELSE finished_at END WHERE id = $1 AND webhook = $2 AND state = 4",
		o.DeliveryID, o.Webhook, state, o.Burnt, to.next, to.reason, o.Status, to.finished)
	if n > 0 && state != sParked {
		g.depth(o.Webhook).parked--
		to.countEnd(g.depth(o.Webhook))
	}
	return n, err
}

func (s *sqliteSession) addDepths(g *group) error {
	for webhook, t := range g.depths {
		if *t == (tally{}) {
			continue
		}
		_, err := s.conn.exec("INSERT INTO depths (webhook, pending, dead, parked) VALUES ($1, $2, $3, $4) ON CONFLICT (webhook) DO UPDATE SET"+
			" pending = pending + excluded.pending, dead = dead + excluded.dead, parked = parked + excluded.parked", webhook, t.pending, t.dead, t.parked)
		if err != nil {
			return err
		}
	}
	return nil
}
