package notify

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Store is the store as this package uses it, by role. All methods may be called concurrently.
// Every error names the operation.
type Store interface {
	Rows
	Lanes
	Deliveries
	History
}

// Rows is the store as the Outbox uses it: rows, and transactions that commit them with events and
// deliveries.
type Rows interface {
	// Update runs fn inside the writer's next transaction and returns when it is durable.
	// scopes are locked against other replicas for the transaction, in sorted order so that no
	// two deadlock; within one process the writer already excludes others.
	//
	// If fn returns an error, Update returns it and discards fn's writes; other callers of the
	// same transaction are not affected. fn may run again after a failed transaction and must
	// not keep results of an earlier run. It runs on the writer's goroutine: after ErrUnknown
	// it may still be running, so the caller must not touch what fn writes to.
	//
	// If ctx ends before fn ran, fn never runs. If it ends later, the error wraps ErrUnknown.
	// If others were served meanwhile, the error also wraps ErrBusy.
	Update(ctx context.Context, scopes []string, fn func(store.Tx) error) error
	// UpdateOn is Update with terms other than the default ones.
	UpdateOn(ctx context.Context, t store.Terms, fn func(store.Tx) error) error
	// View runs fn outside the writer and never waits for it. Each call of the Reader sees one
	// snapshot; two calls may see different ones.
	View(ctx context.Context, fn func(store.Reader) error) error
	// Due returns rows of a kind whose Due has passed, oldest first.
	Due(ctx context.Context, kind string, now time.Time, limit int) ([]store.Row, error)
	// Own returns the rows of a kind that this replica owns, ordered by ID, beginning behind
	// after, at most limit (0: 1,000). Before that it takes over rows whose owner's lease has
	// ended, at most limit.
	Own(ctx context.Context, kind, after string, limit int) ([]store.Row, error)
	// Page returns the rows of a kind, whoever owns them, ordered by ID, beginning behind
	// after, at most limit (0: 1,000).
	Page(ctx context.Context, kind, after string, limit int) ([]store.Row, error)
	// Healthy returns nil while the last commit succeeded and none hangs.
	Healthy() error
}

// Lanes divides the webhooks' lanes among replicas.
type Lanes interface {
	// Lease acquires lanes that nobody owns, renews those that this replica owns, and returns
	// all that it owns now. fair > 0 bounds how many it acquires, so that replicas share.
	// SQLite acquires all. It also renews the replica's own lease.
	Lease(ctx context.Context, webhooks []string, ttl time.Duration, fair int) ([]store.Lane, error)
	// Release releases lanes at once: when bellbuoy stops, or when a webhook is removed.
	Release(ctx context.Context, webhooks []string) error
	// SetLane stores the dispatcher's state of a lane. The epoch fences it.
	SetLane(ctx context.Context, webhook string, epoch int64, state []byte) error
	// LaneStates returns the stored state of every lane, whoever owns it.
	LaneStates(ctx context.Context) (map[string][]byte, error)
	// Wake receives notices of new deliveries for a webhook, from any replica.
	Wake() <-chan store.Wake
}

// Deliveries holds the pending deliveries and records their outcomes.
type Deliveries interface {
	// DueDeliveries returns the deliveries that a lane may send now, oldest first. If they are
	// fewer than Limit, it also returns when the next one is due (zero: none is pending).
	DueDeliveries(ctx context.Context, q store.DueQuery) ([]store.Delivery, time.Time, error)
	// Finish records outcomes. It skips those of a lost lane, and its error then wraps
	// ErrFenced.
	Finish(ctx context.Context, outcomes []store.Outcome) error
	// NewerDelivered reports whether a delivery of the same webhook and TagKey with a higher
	// EventSeq was delivered.
	NewerDelivered(ctx context.Context, d store.Delivery) (bool, error)
	// MakeDue makes pending deliveries due now that would wait for longer than beyond. Their
	// schedules continue where they are. It leaves out the deliveries in except, and returns
	// how many it made due.
	MakeDue(ctx context.Context, webhook string, beyond time.Duration, except []int64) (int, error)
	// Park takes the pending deliveries of a webhook out of its lane; Unpark puts them back.
	Park(ctx context.Context, webhook string) error
	Unpark(ctx context.Context, webhook string) error
	// Bury makes dead letters of the pending and parked deliveries of a webhook that was
	// deleted.
	Bury(ctx context.Context, webhook string) error
	Depths(ctx context.Context) ([]store.Depth, error)
}

// History reads recorded events and deliveries, repeats deliveries, and removes old records.
type History interface {
	Events(ctx context.Context, q store.EventQuery) ([]store.Event, error)
	Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error)
	// SearchEvents and SearchDeliveries return a page, newest first, and test a bounded number
	// of rows for it.
	SearchEvents(ctx context.Context, q store.EventSearch) (store.FoundEvents, error)
	SearchDeliveries(ctx context.Context, q store.DeliverySearch) (store.FoundDeliveries, error)
	Attempts(ctx context.Context, deliveryID int64) ([]store.Attempt, error)
	// Redeliver makes deliveries due now, with a new schedule: delivered and dead ones become
	// pending, pending ones stop waiting. Parked ones stay parked. Payloads are not changed. It
	// returns how many. An empty q.States means all three.
	Redeliver(ctx context.Context, q store.DeliveryQuery) (int, error)
	// Plan adds deliveries of recorded events, pending and due now, except those that exist in
	// any state. It returns how many it added. It uses several transactions for many of them,
	// so some may be added when it fails.
	Plan(ctx context.Context, planned []store.Planned) (int, error)
	// Purge removes what exceeds the retention and expires parked deliveries. It works in
	// chunks so small that writers do not notice, until nothing is left to do or ctx ends.
	Purge(ctx context.Context, r store.Retention, trims []store.Trim, now time.Time) (removed int, err error)
	// EventAppended returns a channel that is closed when an event is appended, here or (with
	// PostgreSQL) by any replica.
	EventAppended() <-chan struct{}
}
