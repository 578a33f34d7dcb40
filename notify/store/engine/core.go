// Package engine is what the stores on SQLite and on PostgreSQL share: the writer that makes one
// transaction of many callers, and the statements, which are written once for both databases.
//
// A database package implements [Database] and [Session], embeds [Core], and adds what only it can
// do (leases, taking over rows). The other files: writer.go (requests become transactions),
// group.go (what a transaction is to write), rows.go and rowcache.go (rows of state), due.go (what
// a lane may send), events.go and pack.go (the event log), purge.go (retention).
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
	DB       Database
	Updates  *Writer
	Finishes *Writer // PostgreSQL: its own, so that lanes do not wait for pushes; SQLite: updates
	Chores   *Writer // PostgreSQL: its own; SQLite: updates
	Signals  *Signals

	Life    context.Context // ends with Close
	Stop    context.CancelFunc
	Running sync.WaitGroup
	closing sync.Once
	closed  error
}

// Start runs the writers, and a chore every minute.
func (c *Core) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.Life, c.Stop = ctx, cancel
	for _, w := range c.writers() {
		go w.run()
	}
	c.Running.Go(func() { c.Signals.run(ctx) })
}

// writers returns each writer once.
func (c *Core) writers() []*Writer {
	if c.Finishes == c.Updates {
		return []*Writer{c.Updates}
	}
	return []*Writer{c.Updates, c.Finishes, c.Chores}
}

// Committed signals the lanes and followers that a transaction concerns.
func (c *Core) Committed(g *Group) {
	if len(g.NewDue) > 0 {
		c.Signals.wakeWith(g.NewDue)
	}
	for webhook := range g.Wakes {
		c.Signals.WakeUp(webhook)
	}
	if g.AnyNew {
		c.Signals.Announce()
	}
}

// Update runs fn in the next transaction and returns when that is durable.
func (c *Core) Update(ctx context.Context, scopes []string, fn func(store.Tx) error) error {
	return c.UpdateOn(ctx, store.Terms{Scopes: scopes}, fn)
}

// UpdateOn does what Update does, on the given terms.
func (c *Core) UpdateOn(ctx context.Context, t store.Terms, fn func(store.Tx) error) error {
	r := &Request{scopes: t.Scopes, patience: t.Patience, fn: fn}
	if t.Ahead {
		r.Class = Urgent
	}
	return Naming("updating the store", c.Updates.Do(ctx, r))
}

// Naming puts the operation before an error; nil stays nil.
func Naming(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}

// View runs fn outside the writer.
func (c *Core) View(ctx context.Context, fn func(store.Reader) error) error {
	return Naming("reading the store", safely(func() error { return fn(c.DB.Reads(ctx)) }))
}

// Page returns the rows of a kind whose ID is behind after, in order of ID.
func (c *Core) Page(ctx context.Context, kind, after string, limit int) ([]store.Row, error) {
	rows, err := c.DB.Reads(ctx).Page(kind, after, limit)
	return rows, Naming("reading a page of rows", err)
}

// Due returns the rows of a kind whose Due has passed, oldest first.
func (c *Core) Due(ctx context.Context, kind string, now time.Time, limit int) ([]store.Row, error) {
	rows, err := c.DB.Reads(ctx).due(kind, now, limit)
	return rows, Naming("reading rows that are due", err)
}

// Finish records outcomes of a lane.
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

// DueDeliveries returns the deliveries that a lane may send now, and when the next one becomes due.
func (c *Core) DueDeliveries(ctx context.Context, q store.DueQuery) ([]store.Delivery, time.Time, error) {
	due, next, err := c.due(ctx, q)
	return due, next, Naming("reading due deliveries", err)
}

func (c *Core) due(ctx context.Context, q store.DueQuery) (due []store.Delivery, next time.Time, err error) {
	q.Limit = OrDefault(q.Limit, 100)
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	ids, cut, err := dueIDs(ctx, c.DB, q)
	if err != nil {
		return nil, next, err
	}
	due, corrupt, err := dueDeliveries(ctx, c.DB, ids)
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
	next, err = nextDue(ctx, c.DB, q)
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

// NewerDelivered reports whether a newer delivery of the webhook and tag was delivered.
func (c *Core) NewerDelivered(ctx context.Context, d store.Delivery) (bool, error) {
	newer, err := newerDelivered(ctx, c.DB, d)
	return newer, Naming("looking for a newer delivery", err)
}

// Events returns the events that q selects, as far as followers may see them.
func (c *Core) Events(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	upTo := int64(math.MaxInt64 - 1)
	if q.ID == "" { // one event is no order
		var err error
		if upTo, err = c.DB.CommittedUpTo(ctx); err != nil {
			return nil, Naming("reading events", err)
		}
	}
	found, err := events(ctx, c.DB, upTo, q)
	return found, Naming("reading events", err)
}

// Deliveries returns the deliveries that q selects, newest first.
func (c *Core) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	found, err := deliveries(ctx, c.DB, q)
	return found, Naming("reading deliveries", err)
}

// Attempts returns the attempts of a delivery, oldest first.
func (c *Core) Attempts(ctx context.Context, deliveryID int64) ([]store.Attempt, error) {
	tries, err := attempts(ctx, c.DB, deliveryID)
	return tries, Naming("reading attempts", err)
}

// Depths returns how many deliveries wait in each lane.
func (c *Core) Depths(ctx context.Context) ([]store.Depth, error) {
	all, err := depths(ctx, c.DB)
	return all, Naming("reading depths", err)
}

// LaneStates returns the states that SetLane has stored, by webhook.
func (c *Core) LaneStates(ctx context.Context) (map[string][]byte, error) {
	states, err := laneStates(ctx, c.DB)
	return states, Naming("reading lanes", err)
}

// Wake returns the channel of lanes that have something to do.
func (c *Core) Wake() <-chan store.Wake { return c.Signals.wakes }

// EventAppended returns a channel that is closed when an event is appended.
func (c *Core) EventAppended() <-chan struct{} { return c.Signals.appended() }

// Size returns how many bytes are in use.
func (c *Core) Size(ctx context.Context) (int64, error) {
	n, err := c.DB.Size(ctx)
	return n.All, Naming("measuring the store", err)
}

// Healthy returns nil while the last commit of each writer has succeeded and none hangs.
func (c *Core) Healthy() error {
	for _, w := range c.writers() {
		if err := w.healthy(); err != nil {
			return Naming("writing to the store", err)
		}
	}
	return nil
}

// Close writes what waits and closes the engine. A second call returns the same as the first.
func (c *Core) Close() error {
	c.closing.Do(func() {
		var errs []error
		for _, w := range c.writers() {
			errs = append(errs, w.Close(CloseWithin))
		}
		c.Stop()
		c.Running.Wait()
		errs = append(errs, c.DB.Close())
		c.closed = Naming("closing the store", errors.Join(errs...))
	})
	return c.closed
}

// CloseWithin is how long Close waits for a commit that hangs.
const CloseWithin = 10 * time.Second
