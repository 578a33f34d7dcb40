package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	Chunk      = 300 // rows that one transaction of a chore changes
	chunkPause = 2 * time.Millisecond
)

// pause waits between two chunks, so that other requests are served.
func pause(ctx context.Context) error {
	t := time.NewTimer(chunkPause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Redeliver makes deliveries due now. Their schedule begins again.
func (c *Core) Redeliver(ctx context.Context, q store.DeliveryQuery) (int, error) {
	n, err := c.redeliver(ctx, q)
	return n, Naming("redelivering", err)
}

func (c *Core) redeliver(ctx context.Context, q store.DeliveryQuery) (done int, err error) {
	if q.States = slices.DeleteFunc(slices.Clone(q.States), func(s store.State) bool { return s == store.Parked }); len(q.States) == 0 {
		q.States = []store.State{store.Pending, store.Delivered, store.Dead}
	}
	ids := q.IDs
	left := q.Limit
	for {
		q.Limit = Chunk
		if left > 0 {
			q.Limit = min(Chunk, left)
		}
		if len(ids) > Chunk {
			q.IDs, ids = ids[:Chunk], ids[Chunk:]
		} else {
			q.IDs, ids = ids, nil
		}
		found, err := deliveries(ctx, c.DB, q)
		if err != nil {
			return done, err
		}
		n, err := c.revive(ctx, found)
		done += n
		if left > 0 {
			if left -= len(found); left <= 0 {
				return done, err
			}
		}
		switch {
		case err != nil, len(q.IDs) > 0 && len(ids) == 0, len(q.IDs) == 0 && len(found) < q.Limit:
			return done, err
		case len(q.IDs) == 0:
			q.BeforeID = found[len(found)-1].ID
		}
		if err := pause(ctx); err != nil {
			return done, err
		}
	}
}

// revive makes deliveries due now, and begins their schedule again.
func (c *Core) revive(ctx context.Context, found []store.Delivery) (revived int, err error) {
	byWebhook := make(map[string][]int64)
	for _, d := range found {
		byWebhook[d.Webhook] = append(byWebhook[d.Webhook], d.ID)
	}
	if len(found) == 0 {
		return 0, nil
	}
	set := fmt.Sprintf("state = 0, attempts = 0, next_at = 0, reason = '', status = 0, finished_at = %d", Micros(time.Now()))
	err = c.Alone(ctx, func(s Session, g *Group) error {
		revived = 0
		for webhook, ids := range byWebhook {
			n, err := c.move(ctx, s, g, webhook, ids, []int64{Fresh, Waiting, Delivered, Dead}, set, Fresh)
			if err != nil {
				return err
			}
			if revived += n; n > 0 {
				g.Wakes[webhook] = true
			}
		}
		return nil
	})
	return revived, err
}

// move changes deliveries of a webhook that are in one of the states from, and updates the counts.
// to must be the state that set sets.
func (c *Core) move(ctx context.Context, s Session, g *Group, webhook string, ids, from []int64, set string, to int64) (moved int, err error) {
	for _, state := range from {
		args := []any{webhook, state}
		n, err := s.Exec(ctx, "UPDATE deliveries SET "+set+" WHERE webhook = $1 AND state = $2 AND "+c.DB.Among("id", ids, &args), args...)
		if err != nil {
			return moved, err
		}
		g.Depth(webhook).add(state, -n)
		g.Depth(webhook).add(to, n)
		moved += int(n)
	}
	return moved, nil
}

func (t *Tally) add(state, n int64) {
	switch state {
	case Fresh, Waiting:
		t.Pending += n
	case Dead:
		t.Dead += n
	case Parked:
		t.Parked += n
	}
}

// Park takes the pending deliveries of a webhook out of its lane.
func (c *Core) Park(ctx context.Context, webhook string) error {
	set := fmt.Sprintf("state = 4, finished_at = %d", Micros(time.Now()))
	return Naming("parking deliveries", c.moveAll(ctx, Clean(webhook), []int64{Fresh, Waiting}, set, Parked))
}

// Unpark puts parked deliveries back.
func (c *Core) Unpark(ctx context.Context, webhook string) error {
	set := fmt.Sprintf("state = CASE WHEN next_at > 0 THEN 1 ELSE 0 END, finished_at = %d", Micros(time.Now()))
	err := c.moveAll(ctx, Clean(webhook), []int64{Parked}, set, Fresh)
	if err == nil {
		c.Signals.WakeUp(webhook)
	}
	return Naming("unparking deliveries", err)
}

// Bury makes dead letters of what waits, or is parked, for a webhook that was deleted.
func (c *Core) Bury(ctx context.Context, webhook string) error {
	set := fmt.Sprintf("state = 3, reason = '%s', finished_at = %d", store.ReasonDeleted, Micros(time.Now()))
	return Naming("burying deliveries", c.moveAll(ctx, Clean(webhook), []int64{Fresh, Waiting, Parked}, set, Dead))
}

// moveAll moves all of a webhook's deliveries in the states from, chunk by chunk.
func (c *Core) moveAll(ctx context.Context, webhook string, from []int64, set string, to int64) error {
	for _, state := range from {
		for {
			ids, err := c.ids(ctx, "SELECT id FROM deliveries WHERE webhook = $1 AND state <> 2 AND state = $2 ORDER BY id LIMIT $3", webhook, state, int64(Chunk))
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
			err = c.Alone(ctx, func(s Session, g *Group) error {
				_, err := c.move(ctx, s, g, webhook, ids, []int64{state}, set, to)
				return err
			})
			if err != nil {
				return err
			}
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// ids reads a column of numbers.
func (c *Core) ids(ctx context.Context, sql string, args ...any) (ids []int64, err error) {
	err = c.DB.Query(ctx, sql, args, func(s Scanner) error {
		var id int64
		defer func() { ids = append(ids, id) }()
		return s.Scan(&id)
	})
	return ids, err
}

// MakeDue makes waiting deliveries due. If it takes all, it goes by id, so that the oldest are due
// first.
func (c *Core) MakeDue(ctx context.Context, webhook string, beyond time.Duration, except []int64) (made int, err error) {
	webhook = Clean(webhook)
	order := ""
	if beyond <= 0 {
		order = " ORDER BY id"
	}
	for last := int64(0); ; {
		args := []any{webhook, int64(Chunk), beyond.Microseconds(), last}
		sql := "SELECT id FROM deliveries WHERE webhook = $1 AND state <> 2 AND state = 1 AND next_at > " + c.DB.Now(&args, time.Now()) + " + $3 AND id > $4"
		if len(except) > 0 {
			sql += " AND NOT (" + c.DB.Among("id", except, &args) + ")"
		}
		ids, err := c.ids(ctx, sql+order+" LIMIT $2", args...)
		if err == nil && len(ids) > 0 {
			err = c.Alone(ctx, func(s Session, g *Group) error {
				_, err := c.move(ctx, s, g, webhook, ids, []int64{Waiting}, "state = 0, next_at = 0", Fresh)
				g.Wakes[webhook] = true
				return err
			})
		}
		if err != nil || len(ids) == 0 {
			return made, Naming("making deliveries due", err)
		}
		if made += len(ids); order != "" {
			last = ids[len(ids)-1]
		}
		if err := pause(ctx); err != nil {
			return made, Naming("making deliveries due", err)
		}
	}
}
