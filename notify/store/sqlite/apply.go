package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// session is a transaction on the connection that writes.
type session struct {
	*conn
	e *database
}

func (s *session) Exec(_ context.Context, sql string, args ...any) (int64, error) {
	n, err := s.conn.Exec(sql, args...)
	return n, nameDamage(err)
}

func (s *session) Query(ctx context.Context, sql string, args []any, each func(engine.Scanner) error) error {
	return nameDamage(s.conn.Query(ctx, sql, args, each))
}

// NextDelivery stores the counter of ids at once, because Apply does that only for its own ids.
func (s *session) NextDelivery(context.Context) (int64, error) {
	id := s.e.nextID
	s.e.nextID++
	_, err := s.conn.Exec("INSERT INTO counters (name, value) VALUES ('delivery_id', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value", id)
	return id, err
}

func (s *session) Rows() engine.Reader {
	return engine.Reader{Q: s, Ctx: context.Background()}
}

func (s *session) Commit() error {
	_, err := s.conn.Exec("COMMIT")
	if err == nil {
		s.e.dirty = true
		return nil
	}
	s.Rollback()
	if code(err) == sqlite3.SQLITE_IOERR {
		// The frames may have reached the disk although the call failed.
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return nameDamage(err)
}

func (s *session) Rollback() { _, _ = s.conn.Exec("ROLLBACK") }

func (s *session) Apply(_ context.Context, g *engine.Group) error {
	seq, id := s.e.nextSeq, s.e.nextID
	for _, step := range []func(*engine.Group) error{s.putRows, s.insertEvents, s.insertPacks, s.finish, s.addDepths} {
		if err := step(g); err != nil {
			return nameDamage(err)
		}
	}
	if seq != s.e.nextSeq || id != s.e.nextID {
		_, err := s.conn.Exec("INSERT INTO counters (name, value) VALUES ('event_seq', $1), ('delivery_id', $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", s.e.nextSeq-1, s.e.nextID-1)
		return err
	}
	return nil
}

// putRows writes the rows of the group in the order of their keys, so that rows of one page are
// written together.
func (s *session) putRows(g *engine.Group) error {
	for _, k := range slices.SortedFunc(maps.Keys(g.Rows), compareKeys) {
		if err := s.putRow(k, g.Rows[k]); err != nil {
			return err
		}
	}
	return nil
}

func compareKeys(a, b store.Key) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.ID, b.ID))
}

// putRow writes a row, or deletes it if r is nil.
func (s *session) putRow(k store.Key, r *store.Row) (err error) {
	if r == nil {
		_, err = s.conn.Exec("DELETE FROM state_rows WHERE kind = $1 AND id = $2", k.Kind, []byte(k.ID))
		return err
	}
	_, err = s.conn.Exec("INSERT INTO state_rows (kind, id, value, due, seen, owner) VALUES ($1, $2, $3, $4, $5, $6)"+
		" ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value, due = excluded.due, seen = excluded.seen, owner = excluded.owner",
		k.Kind, []byte(k.ID), r.Value, engine.Micros(r.Due), engine.Micros(r.Seen), engine.Local)
	return err
}

func (s *session) insertEvents(g *engine.Group) error {
	for i := range g.Events {
		a := &g.Events[i]
		matched := len(a.Deliveries) > 0
		n, err := s.conn.Exec("INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
			s.e.nextSeq, a.ID, a.Type, engine.Micros(a.At), a.Upstream, a.Repository, a.Transient, matched, a.Data, engine.Checksum(a.Data))
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
		g.AnyNew = true
	}
	return nil
}

func (s *session) insertDeliveries(g *engine.Group, a *engine.Appended, seq int64) error {
	now := time.Now()
	event := a.Event
	event.Seq = seq
	for i := range a.Deliveries {
		d := &a.Deliveries[i]
		state, next := engine.Fresh, int64(0)
		if d.NextAt.After(now) {
			state, next = engine.Waiting, engine.Micros(d.NextAt)
		}
		_, err := s.conn.Exec("INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, '', 0, 0, $12)",
			s.e.nextID, seq, d.Webhook, d.Number, d.TagKey, d.RepoKey, engine.KeyHash(d.TagKey), engine.KeyHash(d.RepoKey), state, engine.Micros(now), next, a.Transient)
		if err != nil {
			return err
		}
		g.Depth(d.Webhook).Pending++
		if state == engine.Fresh {
			own := store.Delivery{ID: s.e.nextID, EventSeq: seq, EventID: event.ID, Webhook: d.Webhook, Number: d.Number, TagKey: d.TagKey, RepoKey: d.RepoKey, CreatedAt: engine.FromMicros(engine.Micros(now)), Event: &event}
			own.PendingSince, own.NextAt = own.CreatedAt, own.CreatedAt
			g.NewDue = append(g.NewDue, own)
		} else {
			g.Wakes[d.Webhook] = true
		}
		s.e.nextID++
	}
	return nil
}

func (s *session) insertPacks(g *engine.Group) error {
	if len(g.Packed) == 0 {
		return nil
	}
	g.AnyNew = true
	for range g.Packed {
		g.PackedSeqs = append(g.PackedSeqs, s.e.nextSeq)
		s.e.nextSeq++
	}
	now := engine.Micros(time.Now())
	for _, p := range engine.PackUp(g.Packed, g.PackedSeqs) {
		_, err := s.conn.Exec("INSERT INTO packs (first, last, at_min, at_max, made, data, crc) VALUES ($1, $2, $3, $4, $5, $6, $7)", p.First, p.Last, p.AtMin, p.AtMax, now, p.Data, engine.Checksum(p.Data))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) finish(g *engine.Group) error {
	g.Fence(s.e.leases)
	for _, f := range g.Finishes {
		if err := s.finishOne(g, f.Outcome); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) finishOne(g *engine.Group, o *store.Outcome) error {
	to := engine.NewEnding(o, time.Now())
	n, err := s.conn.Exec("UPDATE deliveries SET state = $3, attempts = attempts + $4, next_at = $5, reason = $6, status = $7, finished_at = CASE WHEN $8 > 0 THEN $8 ELSE finished_at END WHERE id = $1 AND webhook = $2 AND state < 2",
		o.DeliveryID, o.Webhook, to.State, o.Burnt, to.Next, to.Reason, o.Status, to.Finished)
	if err != nil {
		return err
	}
	if n == 0 {
		if n, err = s.finishParked(g, o, to); err != nil || n == 0 {
			return err
		}
	} else {
		to.Count(g.Depth(o.Webhook))
	}
	if p := o.Payload; p != nil {
		data, err := engine.EncodePayload(p)
		if err != nil {
			return err
		}
		if _, err := s.conn.Exec("INSERT INTO payloads (delivery, data, crc) VALUES ($1, $2, $3) ON CONFLICT (delivery) DO NOTHING", o.DeliveryID, data, engine.Checksum(data)); err != nil {
			return err
		}
	}
	if a := o.Attempt; a != nil {
		_, err := s.conn.Exec("INSERT INTO attempts (delivery, at, n, status, latency, reason, error, response, replica) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
			o.DeliveryID, engine.Micros(a.At), s.e.nextTry.Add(1), a.Status, a.Latency.Microseconds(), engine.Clean(a.Reason), engine.Clean(a.Error), a.Response, engine.Clean(a.Replica))
		return err
	}
	return nil
}

// finishParked records the end of a POST whose webhook was parked meanwhile. A retry leaves it
// parked.
func (s *session) finishParked(g *engine.Group, o *store.Outcome, to engine.Ending) (int64, error) {
	state := to.State
	if o.State == store.Pending {
		state = engine.Parked
	}
	n, err := s.conn.Exec("UPDATE deliveries SET state = $3, attempts = attempts + $4, next_at = $5, reason = $6, status = $7, finished_at = CASE WHEN $8 > 0 THEN $8 ELSE finished_at END WHERE id = $1 AND webhook = $2 AND state = 4",
		o.DeliveryID, o.Webhook, state, o.Burnt, to.Next, to.Reason, o.Status, to.Finished)
	if n > 0 && state != engine.Parked {
		g.Depth(o.Webhook).Parked--
		to.CountEnd(g.Depth(o.Webhook))
	}
	return n, err
}

func (s *session) addDepths(g *engine.Group) error {
	for webhook, t := range g.Depths {
		if *t == (engine.Tally{}) {
			continue
		}
		_, err := s.conn.Exec("INSERT INTO depths (webhook, pending, dead, parked) VALUES ($1, $2, $3, $4) ON CONFLICT (webhook) DO UPDATE SET"+
			" pending = pending + excluded.pending, dead = dead + excluded.dead, parked = parked + excluded.parked", webhook, t.Pending, t.Dead, t.Parked)
		if err != nil {
			return err
		}
	}
	return nil
}
