// Package postgres keeps the store in a PostgreSQL database that any number of replicas share.
//
// apply.go writes a transaction's changes, replica.go has what replicas share out among them
// (leases of lanes, rows of replicas that are gone), remote.go carries signals between them.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Options say which database replicas share.
type Options struct {
	// URL is postgres://…. If there is no pooler in between, it may contain
	// default_query_exec_mode=cache_statement, which is faster.
	URL string
	// Replica names this process among those that share the database. A process that starts
	// anew under the name of one that has died takes over its rows at once.
	Replica string
}

// database is one database, shared by any number of replicas.
type database struct {
	pool    *pool
	replica string
	nextTry atomic.Int64
	busy    atomic.Bool // counts have changed since the last sumUp
}

// pgNow is the clock of the database. It is constant during a statement, so that an index can be
// searched by it.
const pgNow = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"

// pgAtMost is how long one step of a transaction may take before its connection is given up.
const pgAtMost = 30 * time.Second

// Open connects to the database and brings its schema up to date. The database must be reachable
// now; later it may be down at times.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening the store in PostgreSQL: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, o Options) (*Store, error) {
	if o.Replica == "" {
		return nil, errors.New("the replica has no name")
	}
	pool, err := newPool(ctx, o.URL)
	if err != nil {
		return nil, err
	}
	e := &database{pool: pool, replica: engine.Clean(o.Replica)}
	e.nextTry.Store(time.Now().UnixNano())
	warnings, err := e.prepare(ctx)
	if err != nil {
		pool.close()
		return nil, err
	}
	return newStore(ctx, e, warnings)
}

// prepare migrates, and checks the settings on which durability depends.
func (e *database) prepare(ctx context.Context) (warnings []string, err error) {
	err = e.pool.with(ctx, func(c *pgx.Conn) error {
		if err := migrate(ctx, c); err != nil {
			return err
		}
		for _, name := range []string{"synchronous_commit", "fsync", "full_page_writes"} {
			var value string
			if err := c.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
				return err
			}
			if value == "off" {
				warnings = append(warnings, fmt.Sprintf("PostgreSQL runs with %s=off: acknowledged events may be lost when it crashes", name))
			}
		}
		return nil
	})
	return warnings, err
}

func migrate(ctx context.Context, c *pgx.Conn) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	// One replica migrates, the others wait for it.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", scopeLock("migration")); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)"); err != nil {
		return err
	}
	var version int64
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version); err != nil {
		return err
	}
	if version != 0 && version != tablesVersion {
		return engine.ErrVersion(version, tablesVersion)
	}
	if version == 0 {
		script := tables + fmt.Sprintf("\nINSERT INTO schema_version (version) VALUES (%d);", tablesVersion)
		if err := c.PgConn().Exec(ctx, script).Close(); err != nil {
			return fmt.Errorf("making the tables: %w", err)
		}
	}
	return tx.Commit(ctx)
}

// scopeLock is the advisory lock of a scope: not negative, because the negative ones are
// appendLock's.
func scopeLock(scope string) int64 {
	h := fnv.New64a()
	h.Write([]byte("bellbuoy\x00" + scope))
	return int64(h.Sum64() >> 1)
}

func (e *database) Query(ctx context.Context, sql string, args []any, each func(engine.Scanner) error) error {
	return e.pool.with(ctx, func(c *pgx.Conn) error { return pgQuery(ctx, c, sql, args, each) })
}

// pgQuerier is a connection or a transaction of pgx.
type pgQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func pgQuery(ctx context.Context, q pgQuerier, sql string, args []any, each func(engine.Scanner) error) error {
	rows, err := q.Query(ctx, sql, pgArgs(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			if errors.Is(err, engine.ErrStop) {
				return nil
			}
			return err
		}
	}
	return rows.Err()
}

// pgArgs converts arguments to types that every query mode can encode.
func pgArgs(args []any) []any {
	for i, a := range args {
		switch a := a.(type) {
		case bool:
			args[i] = bit(a)
		case int:
			args[i] = int64(a)
		case []byte:
			if a == nil {
				args[i] = []byte{}
			}
		}
	}
	return args
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (e *database) Reads(ctx context.Context) engine.Reader { return engine.Reader{Q: e, Ctx: ctx} }

// Begin starts a transaction and locks its scopes in one round trip. The numbers of the locks are
// sorted, so that replicas do not deadlock. The timeouts end transactions of replicas that have
// vanished, and waits for such transactions.
func (e *database) Begin(ctx context.Context, scopes []string) (engine.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, pgAtMost)
	defer cancel()
	c, err := e.pool.acquire(ctx)
	if err != nil {
		return nil, err
	}
	b := new(pgx.Batch)
	b.Queue("BEGIN")
	b.Queue("SET LOCAL idle_in_transaction_session_timeout = '10s'")
	b.Queue("SET LOCAL lock_timeout = '12s'")
	if len(scopes) > 0 {
		locks := make([]int64, len(scopes))
		for i, s := range scopes {
			locks[i] = scopeLock(s)
		}
		slices.Sort(locks)
		b.Queue("SELECT pg_advisory_xact_lock(l) FROM unnest($1::bigint[]) WITH ORDINALITY AS t(l, n)", locks)
	}
	if err := c.SendBatch(ctx, b).Close(); err != nil {
		c.Release()
		return nil, err
	}
	return &session{c: c, e: e}, nil
}

func (e *database) Idle() {}

func (e *database) Failed(err error) {}

// Retriable reports true for conflicts, and for a connection that broke before the COMMIT was sent.
func (e *database) Retriable(err error) bool {
	if errors.Is(err, store.ErrUnknown) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "40") || strings.HasPrefix(pg.Code, "57P") || pg.Code == "25P03"
	}
	var connect *pgconn.ConnectError
	return !errors.As(err, &connect)
}

// Invalid reports true for data exceptions (22), violated constraints (23) and exceeded limits of a
// row or an index (54).
func (e *database) Invalid(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23") || strings.HasPrefix(pg.Code, "54"))
}

func (e *database) Now(*[]any, time.Time) string { return pgNow }

func (e *database) Among(column string, ids []int64, args *[]any) string {
	*args = append(*args, ids)
	return fmt.Sprintf("%s = ANY($%d::bigint[])", column, len(*args))
}

func (e *database) Using(string) string { return "" }

// CommittedUpTo finds the bound by locks. A transaction that appends holds a shared lock; the
// number of the lock is a sequence number below all that the transaction will use. CommittedUpTo
// reads the sequence first and then the locks. A transaction that got a number before and holds no
// lock any more has ended, and every later statement sees what it wrote.
func (e *database) CommittedUpTo(ctx context.Context) (upTo int64, err error) {
	err = e.pool.with(ctx, func(c *pgx.Conn) error {
		var bound int64
		b := new(pgx.Batch)
		b.Queue("SELECT last_value FROM event_seq").QueryRow(func(r pgx.Row) error { return r.Scan(&upTo) })
		b.Queue("SELECT coalesce(min(-1 - (classid::bigint << 32 | objid::bigint)), 9223372036854775806) FROM pg_locks" +
			" WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND classid::bigint >= 2147483648" +
			" AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").QueryRow(func(r pgx.Row) error { return r.Scan(&bound) })
		err := c.SendBatch(ctx, b).Close()
		upTo = min(upTo, bound)
		return err
	})
	return upTo, err
}

// Size estimates the bytes of the rows, not of the files: PostgreSQL keeps the space of removed
// rows for new ones, so that pg_total_relation_size would never fall below a bound again. The
// number of rows comes from the statistics, and their size from the oldest of them, with additions
// for indexes and row headers.
func (e *database) Size(ctx context.Context) (n engine.Sizes, err error) {
	weight := func(table, column, order string, extra int) string {
		return fmt.Sprintf("%d + coalesce((SELECT avg(pg_column_size(%s)) FROM (SELECT %s FROM %s ORDER BY %s LIMIT 300) t), 0)", extra, column, column, table, order)
	}
	rows := func(table string) string {
		return "coalesce((SELECT n_live_tup FROM pg_stat_all_tables WHERE relid = '" + table + "'::regclass), 0)"
	}
	sql := "SELECT least(o.bytes, r.events * w.event + r.payloads * w.payload + r.attempts * w.attempt + r.packs * w.pack + r.deliveries * 500)::bigint, (w.event + w.payload + w.attempt + 500)::bigint, w.pack::bigint FROM" +
		" (SELECT " + weight("events", "data", "seq", 350) + " AS event, " + weight("payloads", "data", "delivery", 80) + " AS payload, " + weight("attempts", "response", "delivery", 150) + " AS attempt, " + weight("packs", "data", "first", 150) + " AS pack) w," +
		" (SELECT " + rows("events") + " AS events, " + rows("payloads") + " AS payloads, " + rows("attempts") + " AS attempts, " + rows("packs") + " AS packs, " + rows("deliveries") + " AS deliveries) r," +
		" (SELECT sum(pg_total_relation_size(t::regclass)) AS bytes FROM unnest(ARRAY['events', 'packs', 'deliveries', 'payloads', 'attempts']) t) o"
	err = e.Query(ctx, sql, nil, func(s engine.Scanner) error { return s.Scan(&n.All, &n.Delivery, &n.Pack) })
	return n, err
}

func (e *database) Close() error {
	e.pool.close()
	return nil
}
