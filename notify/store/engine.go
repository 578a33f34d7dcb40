package store

import (
	"context"
	"fmt"
	"time"
)

// scanner is one row of a result.
type scanner interface{ Scan(dest ...any) error }

// querier asks. Statements are written once for both engines: $1 placeholders, BIGINT microseconds, ON CONFLICT, partial indexes. Those that run
// often say LIMIT CAST($1 AS BIGINT): of a bare parameter SQLite looks at the value, and plans anew whenever it is bound.
type querier interface {
	// query calls each for every row. each may return errStop.
	query(ctx context.Context, sql string, args []any, each func(scanner) error) error
}

// session is one transaction of an engine.
type session interface {
	querier
	exec(ctx context.Context, sql string, args ...any) (int64, error)
	// apply writes what a group of callers want written, in a bounded number of round trips, and fills in the group's results.
	apply(ctx context.Context, g *group) error
	// rows reads rows of state.
	rows() reader
	// commit makes it durable. Its error wraps ErrUnknown when the transaction may have happened all the same.
	commit() error
	rollback()
}

// engine is what differs between SQLite and PostgreSQL.
type engine interface {
	querier
	// reads reads rows of state outside transactions.
	reads(ctx context.Context) reader
	// begin starts a transaction that holds the locks of scopes, which are sorted and distinct.
	begin(ctx context.Context, scopes []string) (session, error)
	// idle is called by the writer when nothing was written for a while.
	idle()
	// failed tells the engine that a transaction ended with err; it may replace its connections.
	failed(err error)
	// retriable tells whether a transaction that ended with err may succeed when it is run again at once.
	retriable(err error) bool
	// invalid reports whether err says that the data cannot be stored, as opposed to the database failing.
	invalid(err error) bool
	// now is the SQL expression of the present in microseconds; it may append to args.
	now(args *[]any, now time.Time) string
	// among is the SQL condition "column is one of ids"; it appends to args.
	among(column string, ids []int64, args *[]any) string
	// using names the index of a table's pending deliveries that a search must take, where the planner cannot be trusted with it.
	using(index string) string
	// settled is the highest sequence number that a follower may read up to: all below are committed or never will be.
	settled(ctx context.Context) (int64, error)
	size(ctx context.Context) (sizes, error)
	close() error
}

// sizes are bytes in use.
type sizes struct {
	all int64
	// What a delivery with its event, and a pack, weigh on average; 0: all tells exactly what a removal has freed.
	delivery, pack int64
}

// errVersion is the error for a database whose tables another version of bellbuoy has made.
func errVersion(version, known int64) error {
	return fmt.Errorf("its tables have version %d, this bellbuoy knows version %d: use the bellbuoy that wrote it", version, known)
}
