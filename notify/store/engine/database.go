package engine

import (
	"context"
	"fmt"
	"time"
)

// Scanner is one row of a result.
type Scanner interface{ Scan(dest ...any) error }

// Querier asks. Statements are written once for both engines: $1 placeholders, BIGINT microseconds, ON CONFLICT, partial indexes. Those that run
// often say LIMIT CAST($1 AS BIGINT): of a bare parameter SQLite looks at the value, and plans anew whenever it is bound.
type Querier interface {
	// query calls each for every row. each may return errStop.
	Query(ctx context.Context, sql string, args []any, each func(Scanner) error) error
}

// Session is one transaction of an engine.
type Session interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// NextDelivery is the id of a new delivery.
	NextDelivery(ctx context.Context) (int64, error)
	// apply writes what a group of callers want written, in a bounded number of round trips, and fills in the group's results.
	Apply(ctx context.Context, g *Group) error
	// rows reads rows of state.
	Rows() Reader
	// commit makes it durable. Its error wraps ErrUnknown when the transaction may have happened all the same.
	Commit() error
	Rollback()
}

// Database is what differs between SQLite and PostgreSQL.
type Database interface {
	Querier
	// reads reads rows of state outside transactions.
	Reads(ctx context.Context) Reader
	// begin starts a transaction that holds the locks of scopes, which are sorted and distinct.
	Begin(ctx context.Context, scopes []string) (Session, error)
	// idle is called by the writer when nothing was written for a while.
	Idle()
	// failed tells the engine that a transaction ended with err; it may replace its connections.
	Failed(err error)
	// retriable tells whether a transaction that ended with err may succeed when it is run again at once.
	Retriable(err error) bool
	// invalid reports whether err says that the data cannot be stored, as opposed to the database failing.
	Invalid(err error) bool
	// now is the SQL expression of the present in microseconds; it may append to args.
	Now(args *[]any, now time.Time) string
	// among is the SQL condition "column is one of ids"; it appends to args.
	Among(column string, ids []int64, args *[]any) string
	// using names the index of a table's pending deliveries that a search must take, where the planner cannot be trusted with it.
	Using(index string) string
	// settled is the highest sequence number that a follower may read up to: all below are committed or never will be.
	Settled(ctx context.Context) (int64, error)
	Size(ctx context.Context) (Sizes, error)
	Close() error
}

// Sizes are bytes in use.
type Sizes struct {
	All int64
	// What a delivery with its event, and a pack, weigh on average; 0: all tells exactly what a removal has freed.
	Delivery, Pack int64
}

// ErrVersion is the error for a database whose tables another version of bellbuoy has made.
func ErrVersion(version, known int64) error {
	return fmt.Errorf("its tables have version %d, this bellbuoy knows version %d: use the bellbuoy that wrote it", version, known)
}
