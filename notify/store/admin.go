package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	chunk      = 300 // rows that one transaction of a chore changes
	chunkPause = 2 * time.Millisecond
)

// pause lets writers in between two chunks.
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

func (c *core) Redeliver(ctx context.Context, q DeliveryQuery) (int, error) {
	n, err := c.redeliver(ctx, q)
	return n, naming("redelivering", err)
}

func (c *core) redeliver(ctx context.Context, q DeliveryQuery) (done int, err error) {
	if q.States = slices.DeleteFunc(slices.Clone(q.States), func(s State) bool { return s == Parked }); len(q.States) == 0 {
		q.States = []State{Pending, Delivered, Dead}
	}
	ids := q.IDs
	left := q.Limit
	for {
		q.Limit = chunk
		if left > 0 {
			q.Limit = min(chunk, left)
		}
		if len(ids) > chunk {
			q.IDs, ids = ids[:chunk], ids[chunk:]
		} else {
			q.IDs, ids = ids, nil
		}
		found, err := deliveries(ctx, c.engine, q)
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

// revive makes deliveries due now, with all attempts of the schedule before them.
func (c *core) revive(ctx context.Context, found []Delivery) (revived int, err error) {
	byWebhook := make(map[string][]int64)
	for _, d := range found {
		byWebhook[d.Webhook] = append(byWebhook[d.Webhook], d.ID)
	}
	if len(found) == 0 {
		return 0, nil
	}
	set := fmt.Sprintf("state = 0, attempts = 0, next_at = 0, reason = '', status = 0, finished_at = %d", micros(time.Now()))
	err = c.alone(ctx, func(s session, g *group) error {
		revived = 0
		for webhook, ids := range byWebhook {
			n, err := c.move(ctx, s, g, webhook, ids, []int64{sFresh, sWaiting, sDelivered, sDead}, set, sFresh)
			if err != nil {
				return err
			}
			if revived += n; n > 0 {
				g.wakes[webhook] = true
			}
		}
		return nil
	})
	return revived, err
}

// move changes deliveries of a webhook that are in one of the states from, and keeps its counts. to is the state that set gives, for the counts.
func (c *core) move(ctx context.Context, s session, g *group, webhook string, ids, from []int64, set string, to int64) (moved int, err error) {
	for _, state := range from {
		args := []any{webhook, state}
		n, err := s.exec(ctx, "UPDATE deliveries SET "+set+" WHERE webhook = $1 AND state = $2 AND "+c.among("id", ids, &args), args...)
		if err != nil {
			return moved, err
		}
		g.depth(webhook).add(state, -n)
		g.depth(webhook).add(to, n)
		moved += int(n)
	}
	return moved, nil
}

func (t *tally) add(state, n int64) {
	switch state {
	case sFresh, sWaiting:
		t.pending += n
	case sDead:
		t.dead += n
	case sParked:
		t.parked += n
	}
}

func (c *core) Park(ctx context.Context, webhook string) error {
	set := fmt.Sprintf("state = 4, finished_at = %d", micros(time.Now()))
	return naming("parking deliveries", c.moveAll(ctx, clean(webhook), []int64{sFresh, sWaiting}, set, sParked))
}

func (c *core) Unpark(ctx context.Context, webhook string) error {
	set := fmt.Sprintf("state = CASE WHEN next_at > 0 THEN 1 ELSE 0 END, finished_at = %d", micros(time.Now()))
	err := c.moveAll(ctx, clean(webhook), []int64{sParked}, set, sFresh)
	if err == nil {
		c.signals.wakeUp(webhook)
	}
	return naming("unparking deliveries", err)
}

// moveAll moves all of a webhook's deliveries in the states from, chunk by chunk.
func (c *core) moveAll(ctx context.Context, webhook string, from []int64, set string, to int64) error {
	for _, state := range from {
		for {
			ids, err := c.ids(ctx, "SELECT id FROM deliveries WHERE webhook = $1 AND state <> 2 AND state = $2 ORDER BY id LIMIT $3", webhook, state, int64(chunk))
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
			err = c.alone(ctx, func(s session, g *group) error {
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
func (c *core) ids(ctx context.Context, sql string, args ...any) (ids []int64, err error) {
	err = c.query(ctx, sql, args, func(s scanner) error {
		var id int64
		defer func() { ids = append(ids, id) }()
		return s.Scan(&id)
	})
	return ids, err
}

// MakeDue goes by id where it takes all, so that the oldest are due first.
func (c *core) MakeDue(ctx context.Context, webhook string, beyond time.Duration, except []int64) (made int, err error) {
	webhook = clean(webhook)
	order := ""
	if beyond <= 0 {
		order = " ORDER BY id"
	}
	for last := int64(0); ; {
		args := []any{webhook, int64(chunk), beyond.Microseconds(), last}
		sql := "SELECT id FROM deliveries WHERE webhook = $1 AND state <> 2 AND state = 1 AND next_at > " + c.now(&args, time.Now()) + " + $3 AND id > $4"
		if len(except) > 0 {
			sql += " AND NOT (" + c.among("id", except, &args) + ")"
		}
		ids, err := c.ids(ctx, sql+order+" LIMIT $2", args...)
		if err == nil && len(ids) > 0 {
			err = c.alone(ctx, func(s session, g *group) error {
				_, err := c.move(ctx, s, g, webhook, ids, []int64{sWaiting}, "state = 0, next_at = 0", sFresh)
				g.wakes[webhook] = true
				return err
			})
		}
		if err != nil || len(ids) == 0 {
			return made, naming("making deliveries due", err)
		}
		if made += len(ids); order != "" {
			last = ids[len(ids)-1]
		}
		if err := pause(ctx); err != nil {
			return made, naming("making deliveries due", err)
		}
	}
}
