package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// SQLiteOptions say where the file is.
type SQLiteOptions struct {
	// Dir holds bellbuoy.db and its lock; it is made when it is missing. It must be on a local disk.
	Dir string
}

const (
	databaseFile = "bellbuoy.db"
	readers      = 3
	checkFirst   = 32 << 20         // a file of this size or more is not checked before it is used, …
	checkLater   = 10 * time.Second // … but so long after it was opened, …
	checkBelow   = 1 << 30          // … and one of this size or more not at all: damage is noticed when it is read
	walLimit     = 64 << 20
)

// sqliteEngine is one file: one connection that writes, used by the writer's goroutine alone, and a few that read.
type sqliteEngine struct {
	path     string
	lock     *os.File
	write    *conn // nil after a failure, until the next transaction
	read     chan *conn
	damaged  atomic.Bool // a reader met damage, and the writer has not looked yet
	look     func()      // lets the writer begin a transaction soon; nil until there is one
	closed   chan struct{}
	nextSeq  int64 // the writer's
	nextID   int64 // the writer's; of deliveries
	nextTry  atomic.Int64
	cache    *cache           // the writer's
	leases   map[string]int64 // the writer's: epochs of the lanes that are leased
	dirty    bool             // the writer's: something is in the WAL
	doubtful bool             // the last stop was none, and the file was too large to be checked at once
	healing  bool             // the writer's: the file is being replaced, and the readers are taken away
	replaced string           // the writer's: what to warn of once the new file is open

	mu       sync.Mutex
	warnings []string
}

// OpenSQLite opens or makes the file. While it is open no other process can; that one gets ErrLocked.
func OpenSQLite(ctx context.Context, o SQLiteOptions) (Store, error) {
	c, err := openSQLite(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", o.Dir, err)
	}
	return c, nil
}

func openSQLite(ctx context.Context, o SQLiteOptions) (*sqliteStore, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	e := &sqliteEngine{path: filepath.Join(o.Dir, databaseFile), lock: lock, cache: newCache(), read: make(chan *conn, readers), closed: make(chan struct{}), leases: make(map[string]int64)}
	e.nextTry.Store(time.Now().UnixNano())
	if err := e.open(ctx); err != nil {
		e.disconnect()
		lock.Close()
		return nil, err
	}
	return newSQLiteStore(ctx, e)
}

// sqliteStore is the Store on one file.
type sqliteStore struct {
	core
	e *sqliteEngine
}

func newSQLiteStore(ctx context.Context, e *sqliteEngine) (*sqliteStore, error) {
	s := &sqliteStore{e: e}
	s.core.engine, s.signals = e, newSignals()
	s.updates = newWriter(e, s.committed)
	s.updates.cache = e.cache
	s.finishes, s.chores = s.updates, s.updates
	e.look = func() { // who reads may not wait for the writer, which will wait for those who read
		go func() { _ = s.alone(context.Background(), func(session, *group) error { return nil }) }()
	}
	s.start()
	if e.doubtful {
		s.running.Go(func() { s.checkAfter(checkLater) })
	}
	return s, nil
}

// checkAfter checks the whole file some time after a start that had no time for it. What is damaged is salvaged, as when somebody reads it.
func (s *sqliteStore) checkAfter(rest time.Duration) {
	select {
	case <-s.life.Done():
	case <-time.After(rest):
		_ = s.e.reading(s.life, func(c *conn) error { return c.check(s.life) })
	}
}

// Warnings grow when a file is salvaged while it is in use.
func (s *sqliteStore) Warnings() []string { return s.e.warned() }

// open opens the file, salvages it when it is damaged, and brings its schema up to date.
func (e *sqliteEngine) open(ctx context.Context) error {
	err := e.connect(ctx)
	if err != nil && isCorrupt(err) {
		e.disconnect()
		err = e.salvage(ctx)
	}
	return err
}

func (e *sqliteEngine) connect(ctx context.Context) (err error) {
	e.cache.clear() // the file may be another one
	if err := e.finishSalvage(); err != nil {
		return err
	}
	unclean := size(e.path+"-wal") > 0
	f, err := os.OpenFile(e.path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite gives its other files the same mode
	if err != nil {
		return err
	}
	f.Close()
	if e.write, err = openConn(dsn(e.path, writerPragmas)); err != nil {
		return err
	}
	if unclean && size(e.path) < checkFirst {
		if err := e.write.check(ctx); err != nil {
			return err
		}
	}
	e.doubtful = unclean && size(e.path) >= checkFirst && size(e.path) < checkBelow
	if err := migrateSQLite(e.write); err != nil {
		return err
	}
	for range readers {
		r, err := openConn(dsn(e.path, readerPragmas))
		if err != nil {
			return err
		}
		e.read <- r
	}
	return e.count(ctx)
}

func size(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// journal_mode comes first: it decides how the others work. A WAL of 4,000 pages before each checkpoint lets one write
// of a busy page stand for many.
var (
	writerPragmas = []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-8192)", "wal_autocheckpoint(4000)", fmt.Sprintf("journal_size_limit(%d)", walLimit)}
	readerPragmas = []string{"busy_timeout(5000)", "query_only(1)", "cache_size(-2048)"}
)

// dsn uses the VFS that keeps the WAL's index in this process's memory: one process has the file anyway. In a file that is mapped, a page that cannot be
// written (a file system frozen for a snapshot, a disk that hangs) would stop the whole process, the Go runtime with it, instead of one commit.
func dsn(path string, pragmas []string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + url.Values{"_pragma": pragmas, "vfs": {"unix-excl"}}.Encode()
}

// count learns where the sequences stand.
func (e *sqliteEngine) count(ctx context.Context) error {
	for name, n := range map[string]*int64{"event_seq": &e.nextSeq, "delivery_id": &e.nextID} {
		*n = 1
		err := e.write.query(ctx, "SELECT value + 1 FROM counters WHERE name = $1", []any{name}, func(s scanner) error { return s.Scan(n) })
		if err != nil {
			return err
		}
	}
	return nil
}

// check reads the whole file; an answer other than ok is an error that isCorrupt knows.
func (c *conn) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkAtMost)
	defer cancel()
	var answer string
	err := c.query(ctx, "PRAGMA quick_check(1)", nil, func(s scanner) error { return s.Scan(&answer) })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil
	case err != nil:
		return err
	case answer != "ok":
		return fmt.Errorf("%w: %s", errDamaged, strings.TrimSpace(answer))
	}
	return nil
}

// checkAtMost bounds a check where the disk is slow.
const checkAtMost = 20 * time.Second

func (e *sqliteEngine) disconnect() {
	if e.write != nil {
		e.write.close()
		e.write = nil
	}
	for {
		select {
		case r := <-e.read:
			r.close()
		default:
			return
		}
	}
}

// query runs on a connection that reads, as of the moment it starts.
func (e *sqliteEngine) query(ctx context.Context, sql string, args []any, each func(scanner) error) error {
	return e.reading(ctx, func(c *conn) error { return c.query(ctx, sql, args, each) })
}

// reading lends a connection that reads.
func (e *sqliteEngine) reading(ctx context.Context, fn func(*conn) error) error {
	select {
	case c := <-e.read:
		defer func() { e.read <- c }()
		err := fn(c)
		if isCorrupt(err) && e.look != nil && !e.damaged.Swap(true) {
			e.look()
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closed:
		return ErrClosed
	}
}

func (e *sqliteEngine) reads(ctx context.Context) reader { return reader{e, ctx} }

func (e *sqliteEngine) begin(ctx context.Context, _ []string) (session, error) {
	if e.damaged.Load() || e.healing {
		if e.heal(); e.healing {
			return nil, errDamaged
		}
	}
	if e.write == nil {
		c, err := openConn(dsn(e.path, writerPragmas))
		if err != nil {
			return nil, err
		}
		e.write = c
	}
	if _, err := e.write.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	return &sqliteSession{conn: e.write, e: e}, nil
}

// failed drops the connection after an I/O error, so that no fsync is repeated on pages that the kernel has given up;
// those that read keep the WAL's index, where the failed transaction is not. A damaged file is salvaged at once.
func (e *sqliteEngine) failed(err error) {
	switch c := code(err); {
	case isCorrupt(err):
		e.heal()
	case c == sqlite3.SQLITE_IOERR, c == sqlite3.SQLITE_CANTOPEN, c == sqlite3.SQLITE_READONLY, c == sqlite3.SQLITE_PROTOCOL:
		if e.write != nil {
			e.write.close()
			e.write = nil
		}
	}
}

func (e *sqliteEngine) retriable(err error) bool { return code(err) == sqlite3.SQLITE_BUSY }

func (e *sqliteEngine) invalid(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}

// idle empties the WAL, so that the next start has nothing to replay and the disk gets its room back.
func (e *sqliteEngine) idle() {
	if !e.dirty || e.write == nil {
		return
	}
	e.dirty = false
	_, _ = e.write.exec("PRAGMA busy_timeout = 0") // who reads shall not hold up the writer
	defer func() { _, _ = e.write.exec("PRAGMA busy_timeout = 5000") }()
	if err := e.write.query(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)", nil, func(scanner) error { return nil }); err != nil {
		e.failed(err)
	}
}

func (e *sqliteEngine) now(args *[]any, now time.Time) string {
	*args = append(*args, micros(now))
	return fmt.Sprintf("$%d", len(*args))
}

func (e *sqliteEngine) among(column string, ids []int64, args *[]any) string {
	var b strings.Builder
	for i, id := range ids {
		b.WriteByte("[,"[min(i, 1)])
		fmt.Fprint(&b, id)
	}
	*args = append(*args, b.String()+"]")
	return fmt.Sprintf("%s IN (SELECT value FROM json_each($%d))", column, len(*args))
}

// using: without statistics SQLite prefers deliveries_lane, which would walk the whole lane.
func (e *sqliteEngine) using(index string) string { return " INDEXED BY " + index }

// settled: with one writer, what is committed is committed in order.
func (e *sqliteEngine) settled(context.Context) (int64, error) { return math.MaxInt64 - 1, nil }

func (e *sqliteEngine) size(ctx context.Context) (n sizes, err error) {
	err = e.query(ctx, "SELECT (c.page_count - f.freelist_count) * s.page_size FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s", nil,
		func(s scanner) error { return s.Scan(&n.all) })
	return n, err
}

// close gives the lock back last, when nothing of this process touches the file any more.
func (e *sqliteEngine) close() error {
	close(e.closed)
	var errs []error
	for range readers { // a reader that hangs loses its connection with the process
		select {
		case c := <-e.read:
			errs = append(errs, c.close())
		case <-time.After(closeWithin / readers):
		}
	}
	if e.write != nil {
		errs = append(errs, e.write.close())
		e.write = nil
	}
	return errors.Join(append(errs, e.lock.Close())...)
}
