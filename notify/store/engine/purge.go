package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Purge removes what retention no longer keeps. It searches on a connection that reads, and removes
// in small transactions with pauses, so that other callers of the writer wait for one chunk at
// most.
func (c *Core) Purge(ctx context.Context, r store.Retention, trims []store.Trim, now time.Time) (int, error) {
	p := &purge{Core: c, retention: r, now: now}
	for _, step := range []func(context.Context) error{p.delivered, p.dead, p.parked, p.attempts, p.packs, p.unmatched, p.oversize} {
		if err := step(ctx); err != nil {
			return p.removed, Naming("purging", err)
		}
	}
	for _, t := range trims {
		if err := p.trim(ctx, t); err != nil {
			return p.removed, Naming("trimming "+t.Kind, err)
		}
	}
	return p.removed, nil
}

type purge struct {
	*Core
	retention store.Retention
	now       time.Time
	removed   int
}

// before returns the time that is age ago. ok is false if age is zero, which means for ever.
func (p *purge) before(age time.Duration) (us int64, ok bool) {
	return Micros(p.now.Add(-age)), age > 0
}

// walk calls remove for chunks of the ids that sql selects. $1 is the id after which the chunk
// begins, $2 the size of the chunk, and args follow.
func (p *purge) walk(ctx context.Context, sql string, args []any, remove func(context.Context, []int64) error) error {
	after := int64(0)
	for {
		ids, err := p.ids(ctx, sql, append([]any{after, int64(Chunk)}, args...)...)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := remove(ctx, ids); err != nil {
			return err
		}
		p.removed += len(ids)
		after = ids[len(ids)-1]
		if len(ids) < Chunk {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// delivered removes deliveries in the order of their numbers, up to the first that is too young:
// later ones are too young as well.
func (p *purge) delivered(ctx context.Context) error {
	for transient, age := range []time.Duration{p.retention.Delivered, p.retention.Pulls} {
		if transient == 1 && (age <= 0 || p.retention.Delivered > 0 && p.retention.Delivered < age) {
			age = p.retention.Delivered
		}
		limit, ok := p.before(age)
		if !ok {
			continue
		}
		end, err := firstSince(ctx, p.DB, p.now.Add(clockSkew-age))
		if err != nil {
			return err
		}
		sql := fmt.Sprintf("SELECT id FROM deliveries WHERE id > $1 AND id < $3 AND state = 2 AND finished_at < $4 AND transient = %d ORDER BY id LIMIT $2", transient)
		if err := p.walk(ctx, sql, []any{end, limit}, p.removeDeliveries(Delivered)); err != nil {
			return err
		}
	}
	return nil
}

func (p *purge) dead(ctx context.Context) error {
	return p.eachLane(ctx, Dead, p.removeDeliveries(Dead))
}

func (p *purge) parked(ctx context.Context) error {
	return p.eachLane(ctx, Parked, func(ctx context.Context, ids []int64) error {
		return p.Alone(ctx, func(s Session, g *Group) error {
			byWebhook, err := p.webhooksOf(ctx, s, ids, Parked)
			if err != nil {
				return err
			}
			set := fmt.Sprintf("state = 3, reason = '%s', finished_at = %d", store.ReasonExpired, Micros(p.now))
			for webhook, own := range byWebhook {
				if _, err := p.move(ctx, s, g, webhook, own, []int64{Parked}, set, Dead); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// eachLane walks the deliveries that have been in a state for longer than retention.dead.
func (p *purge) eachLane(ctx context.Context, state int64, remove func(context.Context, []int64) error) error {
	limit, ok := p.before(p.retention.Dead)
	if !ok {
		return nil
	}
	webhooks, err := knownWebhooks(ctx, p.DB)
	if err != nil {
		return err
	}
	for _, w := range webhooks {
		sql := "SELECT id FROM deliveries WHERE webhook = $3 AND state <> 2 AND state = $4 AND id > $1 AND finished_at < $5 ORDER BY id LIMIT $2"
		if err := p.walk(ctx, sql, []any{w, state, limit}, remove); err != nil {
			return err
		}
	}
	return nil
}

func (p *purge) webhooksOf(ctx context.Context, s Session, ids []int64, state int64) (map[string][]int64, error) {
	byWebhook := make(map[string][]int64)
	args := []any{state}
	err := s.Query(ctx, "SELECT id, webhook FROM deliveries WHERE state = $1 AND "+p.DB.Among("id", ids, &args), args, func(r Scanner) error {
		var id int64
		var webhook string
		if err := r.Scan(&id, &webhook); err != nil {
			return err
		}
		byWebhook[webhook] = append(byWebhook[webhook], id)
		return nil
	})
	return byWebhook, err
}

// removeDeliveries removes deliveries that are still in the state, with their attempts and
// payloads, and events that have no delivery left.
func (p *purge) removeDeliveries(state int64) func(context.Context, []int64) error {
	return func(ctx context.Context, ids []int64) error {
		return p.Alone(ctx, func(s Session, g *Group) error { return p.removeChunk(ctx, s, g, ids, state) })
	}
}

func (p *purge) removeChunk(ctx context.Context, s Session, g *Group, ids []int64, state int64) error {
	var gone, seqs []int64
	args := []any{state}
	sql := "DELETE FROM deliveries WHERE state = $1 AND " + p.DB.Among("id", ids, &args) + " RETURNING id, event_seq, webhook"
	err := s.Query(ctx, sql, args, func(r Scanner) error {
		var id, seq int64
		var webhook string
		if err := r.Scan(&id, &seq, &webhook); err != nil {
			return err
		}
		gone, seqs = append(gone, id), append(seqs, seq)
		g.Depth(webhook).add(state, -1)
		return nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	for _, sql := range []string{"DELETE FROM payloads WHERE ", "DELETE FROM attempts WHERE "} {
		var args []any
		if _, err := s.Exec(ctx, sql+p.DB.Among("delivery", gone, &args), args...); err != nil {
			return err
		}
	}
	args = nil
	_, err = s.Exec(ctx, "DELETE FROM events WHERE "+p.DB.Among("seq", seqs, &args)+" AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = events.seq)", args...)
	return err
}

// attempts removes attempts by their deliveries, because the attempts of a delivery that is too
// young are too young as well.
func (p *purge) attempts(ctx context.Context) error {
	limit, ok := p.before(p.retention.Attempts)
	if !ok {
		return nil
	}
	end, err := firstSince(ctx, p.DB, p.now.Add(clockSkew-p.retention.Attempts))
	if err != nil {
		return err
	}
	sql := "SELECT DISTINCT delivery FROM attempts WHERE delivery > $1 AND delivery < $3 AND at < $4 ORDER BY delivery LIMIT $2"
	return p.walk(ctx, sql, []any{end, limit}, func(ctx context.Context, ids []int64) error {
		return p.Alone(ctx, func(s Session, _ *Group) error {
			args := []any{limit}
			_, err := s.Exec(ctx, "DELETE FROM attempts WHERE at < $1 AND "+p.DB.Among("delivery", ids, &args), args...)
			return err
		})
	})
}

// packs removes packs. They are in the order of time: the first that is too young ends the walk.
func (p *purge) packs(ctx context.Context) error {
	limit, ok := p.before(p.retention.Pulls)
	if !ok {
		return nil
	}
	sql := "SELECT first FROM (SELECT first, at_max FROM packs WHERE first > $1 ORDER BY first LIMIT $2) p WHERE at_max < $3 ORDER BY first"
	return p.walk(ctx, sql, []any{limit}, p.removeFrom("packs", "first"))
}

func (p *purge) unmatched(ctx context.Context) error {
	limit, ok := p.before(p.retention.Unmatched)
	if !ok {
		return nil
	}
	sql := "SELECT seq FROM events WHERE matched = 0 AND seq > $1 AND at < $3 ORDER BY seq LIMIT $2"
	return p.walk(ctx, sql, []any{limit}, p.removeFrom("events", "seq"))
}

func (p *purge) removeFrom(table, column string) func(context.Context, []int64) error {
	return func(ctx context.Context, ids []int64) error {
		return p.Alone(ctx, func(s Session, _ *Group) error {
			var args []any
			_, err := s.Exec(ctx, "DELETE FROM "+table+" WHERE "+p.DB.Among(column, ids, &args), args...)
			return err
		})
	}
}

// oversize removes the oldest delivered deliveries and packs until the size is within its bound.
// Pending deliveries are never removed.
func (p *purge) oversize(ctx context.Context) error {
	if p.retention.MaxSize <= 0 {
		return nil
	}
	n, err := p.DB.Size(ctx)
	if err != nil {
		return err
	}
	delivered := source{sql: "SELECT id, created_at FROM deliveries WHERE id > $1 AND state = 2 ORDER BY id LIMIT $2", weight: n.Delivery, remove: p.removeDeliveries(Delivered)}
	packs := source{sql: "SELECT first, made FROM packs WHERE first > $1 ORDER BY first LIMIT $2", weight: n.Pack, remove: p.removeFrom("packs", "first")}
	for over := n.All - p.retention.MaxSize; over > 0; {
		for _, s := range []*source{&delivered, &packs} {
			if err := s.fill(ctx, p.DB); err != nil {
				return err
			}
		}
		older := &delivered
		if len(older.ids) == 0 || len(packs.ids) > 0 && packs.oldest < older.oldest {
			older = &packs
		}
		if len(older.ids) == 0 {
			return nil
		}
		if err := older.remove(ctx, older.ids); err != nil {
			return err
		}
		p.removed += len(older.ids)
		over -= older.weight * int64(len(older.ids))
		older.ids = nil
		if older.weight == 0 {
			if n, err = p.DB.Size(ctx); err != nil {
				return err
			}
			over = n.All - p.retention.MaxSize
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// source is one of the two things that are removed when the store is too large.
type source struct {
	sql    string
	weight int64
	remove func(context.Context, []int64) error

	after  int64
	ids    []int64 // the next chunk
	oldest int64
}

func (s *source) fill(ctx context.Context, q Querier) error {
	if len(s.ids) > 0 {
		return nil
	}
	return q.Query(ctx, s.sql, []any{s.after, int64(Chunk)}, func(r Scanner) error {
		var at int64
		if err := r.Scan(&s.after, &at); err != nil {
			return err
		}
		if len(s.ids) == 0 {
			s.oldest = at
		}
		s.ids = append(s.ids, s.after)
		return nil
	})
}

// trim removes the least recently seen rows of a kind beyond its bound. Rows without Seen do not
// count.
func (p *purge) trim(ctx context.Context, t store.Trim) error {
	for {
		surplus, err := p.ids(ctx, "SELECT count(*) FROM state_rows WHERE kind = $1 AND seen > 0", t.Kind)
		if err != nil {
			return err
		}
		over := surplus[0] - max(t.Max, 0)
		if over <= 0 {
			return nil
		}
		for over > 0 {
			n, err := p.trimChunk(ctx, t.Kind, min(over, Chunk))
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			over -= n
			p.removed += int(n)
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
}

func (p *purge) trimChunk(ctx context.Context, kind string, most int64) (n int64, err error) {
	err = p.Alone(ctx, func(s Session, _ *Group) error {
		n, err = s.Exec(ctx, "DELETE FROM state_rows WHERE kind = $1 AND id IN (SELECT id FROM state_rows WHERE kind = $1 AND seen > 0 ORDER BY seen LIMIT $2)", kind, most)
		return err
	})
	return n, err
}
