package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// core is the part of a Store that both engines share.
type core struct {
	engine
	updates  *writer
	finishes *writer // PostgreSQL: its own, so that lanes do not wait for pushes; SQLite: updates
	chores   *writer // PostgreSQL: its own; SQLite: updates
	signals  *signals

	life    context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
	closed  error
}

// start runs the writers and the minute's chore.
func (c *core) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.life, c.stop = ctx, cancel
	for _, w := range c.writers() {
		go w.run()
	}
	c.running.Go(func() { c.signals.run(ctx) })
}

// writers returns each once.
func (c *core) writers() []*writer {
	if c.finishes == c.updates {
		return []*writer{c.updates}
	}
	return []*writer{c.updates, c.finishes, c.chores}
}

// committed tells the world about a transaction.
func (c *core) committed(g *group) {
	if len(g.handed) > 0 {
		c.signals.handOver(g.handed)
	}
	for webhook := range g.wakes {
		c.signals.wakeUp(webhook)
	}
	if g.anyNew {
		c.signals.announce()
	}
}

func (c *core) Update(ctx context.Context, scopes []string, fn func(Tx) error) error {
	return c.UpdateOn(ctx, Terms{Scopes: scopes}, fn)
}

func (c *core) UpdateOn(ctx context.Context, t Terms, fn func(Tx) error) error {
	r := &request{scopes: t.Scopes, patience: t.Patience, fn: fn}
	if t.Ahead {
		r.class = urgent
	}
	return naming("updating the store", c.updates.do(ctx, r))
}

func naming(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}

func (c *core) View(ctx context.Context, fn func(Reader) error) error {
	return naming("reading the store", safely(func() error { return fn(c.reads(ctx)) }))
}

func (c *core) Due(ctx context.Context, kind string, now time.Time, limit int) ([]Row, error) {
	rows, err := c.reads(ctx).due(kind, now, limit)
	return rows, naming("reading rows that are due", err)
}

func (c *core) Finish(ctx context.Context, outcomes []Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	for i := range outcomes {
		if p := outcomes[i].Payload; p != nil && len(p.Body) > MaxValue {
			return fmt.Errorf("recording outcomes: %w: the payload of delivery %d has %d bytes, at most %d fit", ErrInvalid, outcomes[i].DeliveryID, len(p.Body), MaxValue)
		}
	}
	return naming("recording outcomes", c.finishes.do(ctx, &request{class: lanes, outcomes: outcomes}))
}

func (c *core) DueDeliveries(ctx context.Context, q DueQuery) ([]Delivery, time.Time, error) {
	due, next, err := c.due(ctx, q)
	return due, next, naming("reading due deliveries", err)
}

func (c *core) due(ctx context.Context, q DueQuery) (due []Delivery, next time.Time, err error) {
	q.Limit = orDefault(q.Limit, 100)
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	ids, cut, err := dueIDs(ctx, c.engine, q)
	if err != nil {
		return nil, next, err
	}
	due, corrupt, err := dueDeliveries(ctx, c.engine, ids)
	if err != nil {
		return nil, next, err
	}
	if len(corrupt) > 0 {
		if err := c.bury(ctx, corrupt); err != nil {
			return nil, next, err
		}
	}
	switch {
	case len(due) >= q.Limit:
		return due, next, nil
	case len(corrupt) > 0 || len(due) < len(ids)-len(corrupt):
		return due, q.Now, nil
	case cut:
		return due, q.Now.Add(time.Second), nil
	}
	next, err = nextDue(ctx, c.engine, q)
	return due, next, err
}

// ReasonCorrupt is the reason of a dead letter whose stored bytes do not match their checksum.
const ReasonCorrupt = "corrupt"

// bury makes dead letters of deliveries that cannot be sent because their bytes are damaged.
func (c *core) bury(ctx context.Context, corrupt []Delivery) error {
	return c.alone(ctx, func(s session, g *group) error {
		for _, d := range corrupt {
			n, err := s.exec(ctx, "UPDATE deliveries SET state = 3, reason = $2, finished_at = $3 WHERE id = $1 AND state < 2", d.ID, ReasonCorrupt, micros(time.Now()))
			if err != nil {
				return err
			}
			g.depth(d.Webhook).pending -= n
			g.depth(d.Webhook).dead += n
		}
		return nil
	})
}

// alone runs fn in a transaction of its own.
func (c *core) alone(ctx context.Context, fn func(session, *group) error) error {
	return c.chores.do(ctx, &request{class: chores, direct: fn})
}

// along runs fn in a transaction that it shares with outcomes of lanes.
func (c *core) along(ctx context.Context, fn func(session) error) error {
	return c.finishes.do(ctx, &request{class: lanes, direct: func(s session, _ *group) error { return fn(s) }})
}

func (c *core) NewerDelivered(ctx context.Context, d Delivery) (bool, error) {
	newer, err := newerDelivered(ctx, c.engine, d)
	return newer, naming("looking for a newer delivery", err)
}

func (c *core) Events(ctx context.Context, q EventQuery) ([]Event, error) {
	upTo := int64(math.MaxInt64 - 1)
	if q.ID == "" { // one event is no order
		var err error
		if upTo, err = c.settled(ctx); err != nil {
			return nil, naming("reading events", err)
		}
	}
	found, err := events(ctx, c.engine, upTo, q)
	return found, naming("reading events", err)
}

func (c *core) Deliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error) {
	found, err := deliveries(ctx, c.engine, q)
	return found, naming("reading deliveries", err)
}

func (c *core) Attempts(ctx context.Context, deliveryID int64) ([]Attempt, error) {
	tries, err := attempts(ctx, c.engine, deliveryID)
	return tries, naming("reading attempts", err)
}

func (c *core) Depths(ctx context.Context) ([]Depth, error) {
	all, err := depths(ctx, c.engine)
	return all, naming("reading depths", err)
}

func (c *core) LaneStates(ctx context.Context) (map[string][]byte, error) {
	states, err := laneStates(ctx, c.engine)
	return states, naming("reading lanes", err)
}

func (c *core) Wake() <-chan Wake              { return c.signals.wakes }
func (c *core) EventAppended() <-chan struct{} { return c.signals.appended() }

func (c *core) Healthy() error {
	for _, w := range c.writers() {
		if err := w.healthy(); err != nil {
			return naming("writing to the store", err)
		}
	}
	return nil
}

// Close writes what waits and closes the engine. The second call returns what the first did.
func (c *core) Close() error {
	c.closing.Do(func() {
		var errs []error
		for _, w := range c.writers() {
			errs = append(errs, w.close(closeWithin))
		}
		c.stop()
		c.running.Wait()
		errs = append(errs, c.engine.close())
		c.closed = naming("closing the store", errors.Join(errs...))
	})
	return c.closed
}

const closeWithin = 10 * time.Second
