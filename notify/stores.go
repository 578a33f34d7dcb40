package notify

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Store is what this package needs of a store, by role. All methods may be called at once; every error names the operation.
type Store interface {
	Rows
	Lanes
	Deliveries
	History
}

// Rows is the store as the Outbox uses it: rows of state, and what is committed together with them.
type Rows interface {
	// Update runs fn inside the writer's next transaction and returns when that is durable. scopes are locked against other
	// replicas for the transaction, sorted, so that no two deadlock; within one process the writer excludes by itself. When fn
	// returns an error, nothing of its writes happens, Update returns that error, and the others of the transaction are not
	// touched. fn may run again after a failed transaction and must not keep what it learned from an earlier run. It runs on
	// the writer's goroutine: after ErrUnknown it may still be running, so that the caller must not touch what fn writes to.
	// When ctx ends before fn ran it never runs; when it ends later the error wraps ErrUnknown. Where others were served
	// meanwhile, the error wraps ErrBusy as well.
	Update(ctx context.Context, scopes []string, fn func(store.Tx) error) error
	// UpdateOn is Update on other terms than the usual ones.
	UpdateOn(ctx context.Context, t store.Terms, fn func(store.Tx) error) error
	// View runs fn outside the writer and never waits for it. Each call of the Reader sees one moment; two calls may see two.
	View(ctx context.Context, fn func(store.Reader) error) error
	// Due returns rows of a kind whose Due has passed, oldest first.
	Due(ctx context.Context, kind string, now time.Time, limit int) ([]store.Row, error)
	// Own returns rows of a kind whose owner is this replica, in order of ID, from the first behind after; at most limit
	// (0: 1,000). Before that it makes rows whose owner's lease has ended this replica's, at most limit.
	Own(ctx context.Context, kind, after string, limit int) ([]store.Row, error)
	// Healthy is nil while the last commit succeeded and none hangs.
	Healthy() error
}

// Lanes shares the webhooks' lanes out among replicas.
type Lanes interface {
	// Lease makes this replica the owner of lanes that nobody owns, renews those that it owns, and returns the ones that it owns
	// now. fair > 0 bounds how many it takes anew, so that replicas share. On SQLite it owns all at once. It also renews the
	// replica's own lease.
	Lease(ctx context.Context, webhooks []string, ttl time.Duration, fair int) ([]store.Lane, error)
	// Release gives lanes back at once (graceful stop, webhook gone).
	Release(ctx context.Context, webhooks []string) error
	// SetLane stores the dispatcher's state of a lane, fenced by epoch.
	SetLane(ctx context.Context, webhook string, epoch int64, state []byte) error
	// LaneStates returns the stored state of every webhook ever leased, whoever owns it.
	LaneStates(ctx context.Context) (map[string][]byte, error)
	// Wake receives what there is to do for a webhook, from any replica.
	Wake() <-chan store.Wake
}

// Deliveries is what waits to be sent, and what became of it.
type Deliveries interface {
	// DueDeliveries returns what a lane may send now, oldest first, and when the next one becomes due where it returns fewer
	// than Limit (zero: nothing waits).
	DueDeliveries(ctx context.Context, q store.DueQuery) ([]store.Delivery, time.Time, error)
	// Finish records outcomes. Those of a lost lane are skipped and the error wraps ErrFenced.
	Finish(ctx context.Context, outcomes []store.Outcome) error
	// NewerDelivered reports whether a delivery of the same webhook and TagKey with a higher EventSeq was delivered.
	NewerDelivered(ctx context.Context, d store.Delivery) (bool, error)
	// MakeDue makes those pending deliveries of a webhook due now that wait for a time later than beyond from now; their schedule
	// goes on where it is. It leaves out the deliveries of except, and returns how many it made due.
	MakeDue(ctx context.Context, webhook string, beyond time.Duration, except []int64) (int, error)
	// Park takes the pending deliveries of a webhook out of its lane; Unpark puts them back.
	Park(ctx context.Context, webhook string) error
	Unpark(ctx context.Context, webhook string) error
	Depths(ctx context.Context) ([]store.Depth, error)
}

// History is what happened, for those who look it up, send it again, or let it go.
type History interface {
	Events(ctx context.Context, q store.EventQuery) ([]store.Event, error)
	Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error)
	Attempts(ctx context.Context, deliveryID int64) ([]store.Attempt, error)
	// Redeliver makes deliveries due now, with a fresh schedule: delivered and dead ones are pending again, pending ones wait no
	// longer. Parked ones stay parked. The payload's bytes stay. It returns how many. q.States empty means all three.
	Redeliver(ctx context.Context, q store.DeliveryQuery) (int, error)
	// Plan makes deliveries of events that are recorded already, pending and due now; those that are there, in whatever state, are
	// left out. It returns how many it made. Many are many transactions: where it fails some may be made.
	Plan(ctx context.Context, planned []store.Planned) (int, error)
	// Purge removes what retention lets go and expires parked deliveries, in chunks small enough that writers do not feel it,
	// until nothing is left to do or ctx ends.
	Purge(ctx context.Context, r store.Retention, trims []store.Trim, now time.Time) (removed int, err error)
	// EventAppended is closed and replaced whenever an event was appended here or, with PostgreSQL, anywhere.
	EventAppended() <-chan struct{}
}
