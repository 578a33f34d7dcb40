// Package engine is what the stores on SQLite and on PostgreSQL share: the writer that makes one transaction of many callers,
// and the statements, which are written once for both databases.
//
// A database package implements [Database] and [Session], embeds [Core], and adds what only it can do (leases, taking over
// rows). Where to read on: writer.go (requests become transactions), group.go (what a transaction is to write), rows.go and
// rowcache.go (rows of state), due.go (what a lane may send), events.go and pack.go (the event log), purge.go (retention).
package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Core is the part of a Store that both engines share.
type Core struct {
	Database
	Updates  *writer
	Finishes *writer // PostgreSQL: its own, so that lanes do not wait for pushes; SQLite: updates
	Chores   *writer // PostgreSQL: its own; SQLite: updates
	Signals  *Signals

	Life    context.Context // ends with Close
	Stop    context.CancelFunc
	Running sync.WaitGroup
	closing sync.Once
	closed  error
}

// Start runs the writers and the minute's chore.
func (c *Core) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.Life, c.Stop = ctx, cancel
	for _, w := range c.writers() {
		go w.run()
	}
	c.Running.Go(func() { c.Signals.run(ctx) })
}

// writers returns each once.
func (c *Core) writers() []*writer {
	if c.Finishes == c.Updates {
		return []*writer{c.Updates}
	}
	return []*writer{c.Updates, c.Finishes, c.Chores}
}

// Committed tells the world about a transaction.
func (c *Core) Committed(g *Group) {
	if len(g.Handed) > 0 {
		c.Signals.handOver(g.Handed)
	}
	for webhook := range g.Wakes {
		c.Signals.WakeUp(webhook)
	}
	if g.AnyNew {
		c.Signals.Announce()
	}
}

func (c *Core) Update(ctx context.Context, scopes []string, fn func(store.Tx) error) error {
	return c.UpdateOn(ctx, store.Terms{Scopes: scopes}, fn)
}

func (c *Core) UpdateOn(ctx context.Context, t store.Terms, fn func(store.Tx) error) error {
	r := &Request{scopes: t.Scopes, patience: t.Patience, fn: fn}
	if t.Ahead {
		r.Class = Urgent
	}
	return Naming("updating the store", c.Updates.Do(ctx, r))
}

func Naming(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}

func (c *Core) View(ctx context.Context, fn func(store.Reader) error) error {
	return Naming("reading the store", safely(func() error { return fn(c.Reads(ctx)) }))
}

func (c *Core) Due(ctx context.Context, kind string, now time.Time, limit int) ([]store.Row, error) {
	rows, err := c.Reads(ctx).due(kind, now, limit)
	return rows, Naming("reading rows that are due", err)
}

func (c *Core) Finish(ctx context.Context, outcomes []store.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	for i := range outcomes {
		if p := outcomes[i].Payload; p != nil && len(p.Body) > store.MaxValue {
			return fmt.Errorf("recording outcomes: %w: the payload of delivery %d has %d bytes, at most %d fit", store.ErrInvalid, outcomes[i].DeliveryID, len(p.Body), store.MaxValue)
		}
	}
	return Naming("recording outcomes", c.Finishes.Do(ctx, &Request{Class: lanes, outcomes: outcomes}))
}

func (c *Core) DueDeliveries(ctx context.Context, q store.DueQuery) ([]store.Delivery, time.Time, error) {
	due, next, err := c.due(ctx, q)
	return due, next, Naming("reading due deliveries", err)
}

func (c *Core) due(ctx context.Context, q store.DueQuery) (due []store.Delivery, next time.Time, err error) {
	q.Limit = OrDefault(q.Limit, 100)
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	ids, cut, err := dueIDs(ctx, c.Database, q)
	if err != nil {
		return nil, next, err
	}
	due, corrupt, err := dueDeliveries(ctx, c.Database, ids)
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
	next, err = nextDue(ctx, c.Database, q)
	return due, next, err
}

// bury makes dead letters of deliveries that cannot be sent because their bytes are damaged.
func (c *Core) bury(ctx context.Context, corrupt []store.Delivery) error {
	return c.Alone(ctx, func(s Session, g *Group) error {
		for _, d := range corrupt {
			n, err := s.Exec(ctx, "UPDATE deliveries SET state = 3, reason = $2, finished_at = $3 WHERE id = $1 AND state < 2", d.ID, store.ReasonCorrupt, Micros(time.Now()))
			if err != nil {
				return err
			}
			g.Depth(d.Webhook).Pending -= n
			g.Depth(d.Webhook).Dead += n
		}
		return nil
	})
}

// Alone runs fn in a transaction of its own.
func (c *Core) Alone(ctx context.Context, fn func(Session, *Group) error) error {
	return c.Chores.Do(ctx, &Request{Class: Chores, Direct: fn})
}

// Along runs fn in a transaction that it shares with outcomes of lanes.
func (c *Core) Along(ctx context.Context, fn func(Session) error) error {
	return c.Finishes.Do(ctx, &Request{Class: lanes, Direct: func(s Session, _ *Group) error { return fn(s) }})
}

func (c *Core) NewerDelivered(ctx context.Context, d store.Delivery) (bool, error) {
	newer, err := newerDelivered(ctx, c.Database, d)
	return newer, Naming("looking for a newer delivery", err)
}

func (c *Core) Events(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	upTo := int64(math.MaxInt64 - 1)
	if q.ID == "" { // one event is no order
		var err error
		if upTo, err = c.Settled(ctx); err != nil {
			return nil, Naming("reading events", err)
		}
	}
	found, err := events(ctx, c.Database, upTo, q)
	return found, Naming("reading events", err)
}

func (c *Core) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	found, err := deliveries(ctx, c.Database, q)
	return found, Naming("reading deliveries", err)
}

func (c *Core) Attempts(ctx context.Context, deliveryID int64) ([]store.Attempt, error) {
	tries, err := attempts(ctx, c.Database, deliveryID)
	return tries, Naming("reading attempts", err)
}

func (c *Core) Depths(ctx context.Context) ([]store.Depth, error) {
	all, err := depths(ctx, c.Database)
	return all, Naming("reading depths", err)
}

func (c *Core) LaneStates(ctx context.Context) (map[string][]byte, error) {
	states, err := laneStates(ctx, c.Database)
	return states, Naming("reading lanes", err)
}

func (c *Core) Wake() <-chan store.Wake { return c.Signals.wakes }

func (c *Core) EventAppended() <-chan struct{} { return c.Signals.appended() }

func (c *Core) Healthy() error {
	for _, w := range c.writers() {
		if err := w.healthy(); err != nil {
			return Naming("writing to the store", err)
		}
	}
	return nil
}

// Close writes what waits and closes the engine. The second call returns what the first did.
func (c *Core) Close() error {
	c.closing.Do(func() {
		var errs []error
		for _, w := range c.writers() {
			errs = append(errs, w.Close(CloseWithin))
		}
		c.Stop()
		c.Running.Wait()
		errs = append(errs, c.Database.Close())
		c.closed = Naming("closing the store", errors.Join(errs...))
	})
	return c.closed
}

const CloseWithin = 10 * time.Second
