package engine

import (
	"context"
	"fmt"
	"time"
)

// Scanner is one row of a result.
type Scanner interface{ Scan(dest ...any) error }

// Querier runs statements that read. They are written once for both databases: with $1 as a
// placeholder, BIGINT microseconds and partial indexes. Frequent ones say LIMIT CAST($1 AS BIGINT),
// because SQLite plans a statement again whenever a bare parameter of LIMIT is bound.
type Querier interface {
	// Query calls each for every row. each may return ErrStop, which ends the query without an
	// error.
	Query(ctx context.Context, sql string, args []any, each func(Scanner) error) error
}

// Session is one transaction of a database.
type Session interface {
	Querier
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	// NextDelivery returns the id for a new delivery.
	NextDelivery(ctx context.Context) (int64, error)
	// Apply writes the changes of a group in a bounded number of round trips, and sets the
	// results of the group.
	Apply(ctx context.Context, g *Group) error
	// Rows reads rows of state.
	Rows() Reader
	// Commit makes it durable. The error wraps ErrUnknown if the transaction may have been
	// committed all the same.
	Commit() error
	Rollback()
}

// Database is what differs between SQLite and PostgreSQL: transactions, the meaning of errors, and
// some SQL.
type Database interface {
	Connection
	Errors
	Dialect
	// CommittedUpTo returns the sequence number up to which a follower may read: every number
	// up to it is committed or never will be.
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
	// Idle is called by the writer when nothing was written for some time.
	Idle()
}

// Errors says what the errors of a database mean.
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

// Dialect is the SQL in which the two databases differ.
type Dialect interface {
	// Now returns the SQL expression of the present time in microseconds. It may append to
	// args.
	Now(args *[]any, now time.Time) string
	// Among returns the SQL condition "column is one of ids". It appends to args.
	Among(column string, ids []int64, args *[]any) string
	// Using returns the SQL that makes a search use an index of pending deliveries, if the
	// planner would choose a worse one.
	Using(index string) string
}

// Sizes are bytes in use.
type Sizes struct {
	All int64
	// What a delivery with its event, and a pack, weigh on average; 0: All shows exactly what a
	// removal has freed.
	Delivery, Pack int64
}

// ErrVersion returns the error for a database that another version of bellbuoy has made.
func ErrVersion(version, known int64) error {
	return fmt.Errorf("its tables have version %d, this bellbuoy knows version %d: use the bellbuoy that wrote it", version, known)
}
