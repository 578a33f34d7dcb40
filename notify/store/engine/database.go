package engine

import (
	"context"
	"fmt"
	"time"
)

// Scanner is one row of a result.
type Scanner interface{ Scan(dest ...any) error }

// Querier runs statements that read. They are written once for both databases: $1 placeholders,
// BIGINT microseconds, partial indexes. Those that run often say LIMIT CAST($1 AS BIGINT): SQLite
// looks at the value of a bare parameter, and plans anew whenever it is bound.
type Querier interface {
	// Query calls each for every row. each may return ErrStop, which ends the query without an
	// error.
	Query(ctx context.Context, sql string, args []any, each func(Scanner) error) error
}

// Session is one transaction of a database.
type Session interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// NextDelivery is the id of a new delivery.
	NextDelivery(ctx context.Context) (int64, error)
	// Apply writes what a group of callers want written, in a bounded number of round trips,
	// and fills in the group's results.
	Apply(ctx context.Context, g *Group) error
	// Rows reads rows of state.
	Rows() Reader
	// Commit makes it durable. Its error wraps ErrUnknown where the transaction may have
	// happened all the same.
	Commit() error
	Rollback()
}

// Database is what differs between SQLite and PostgreSQL: how transactions are made and read, what
// its errors mean, and how it says in SQL what the two say differently.
type Database interface {
	Connection
	Errors
	Dialect
	// CommittedUpTo is the highest sequence number that a follower may read up to: all below
	// are committed or never will be.
	CommittedUpTo(ctx context.Context) (int64, error)
	Size(ctx context.Context) (Sizes, error)
	Close() error
}

// Connection is how a database is read and written.
type Connection interface {
	Querier
	// Reads reads rows of state outside transactions.
	Reads(ctx context.Context) Reader
	// Begin starts a transaction that holds the locks of scopes, which are sorted and distinct.
	Begin(ctx context.Context, scopes []string) (Session, error)
	// Idle is called by the writer when nothing was written for a while.
	Idle()
}

// Errors is what a database's errors mean.
type Errors interface {
	// Failed is called when a transaction ended with err; the database may replace its
	// connections.
	Failed(err error)
	// Retriable reports whether a transaction that ended with err may succeed when it is run
	// again at once.
	Retriable(err error) bool
	// Invalid reports whether err says that the data cannot be stored, as opposed to the
	// database failing.
	Invalid(err error) bool
}

// Dialect is what the two databases say differently.
type Dialect interface {
	// Now is the SQL expression of the present in microseconds; it may append to args.
	Now(args *[]any, now time.Time) string
	// Among is the SQL condition "column is one of ids"; it appends to args.
	Among(column string, ids []int64, args *[]any) string
	// Using names the index of a table's pending deliveries that a search must take, where the
	// planner would take a worse one.
	Using(index string) string
}

// Sizes are bytes in use.
type Sizes struct {
	All int64
	// What a delivery with its event, and a pack, weigh on average; 0: All shows exactly what a
	// removal has freed.
	Delivery, Pack int64
}

// ErrVersion is the error for a database whose tables another version of bellbuoy has made.
func ErrVersion(version, known int64) error {
	return fmt.Errorf("its tables have version %d, this bellbuoy knows version %d: use the bellbuoy that wrote it", version, known)
}
