// Package sqlite keeps the store in one SQLite file, for one process at a time.
//
// One connection writes, used by the writer's goroutine alone, and a few read. apply.go writes a
// transaction's changes, lanes.go leases lanes within the process, lock.go keeps other processes
// out, salvage.go is for a damaged file.
package sqlite

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

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Options say where the file is.
type Options struct {
	// Dir holds bellbuoy.db and its lock. Open makes it if it is missing. It must be on a local
	// disk.
	Dir string
}

const (
	databaseFile = "bellbuoy.db"
	readers      = 3
	checkFirst   = 32 << 20         // a file of this size or more is not checked before it is used, …
	checkLater   = 10 * time.Second // … but so long after it was opened, …
	checkBelow   = 1 << 30          // … and one of this size or more not at all
	walLimit     = 64 << 20
)

// database is one file: one connection that writes, used by the writer's goroutine alone, and a few
// that read.
type database struct {
	path     string
	lock     *os.File
	write    *conn // nil after a failure, until the next transaction
	read     chan *conn
	damaged  atomic.Bool // damage was found, and the operator was warned; see ErrDamaged
	closed   chan struct{}
	nextSeq  int64 // used by the writer alone
	nextID   int64 // of deliveries; used by the writer alone
	nextTry  atomic.Int64
	cache    *engine.RowCache // the writer's
	leases   map[string]int64 // epochs of the leased lanes; used by the writer alone
	dirty    bool             // the WAL is not empty; used by the writer alone
	doubtful bool             // the file was not closed, and was too large to be checked at once

	mu       sync.Mutex
	warnings []string
}

// ErrDamaged means that SQLite cannot read the file, or parts of it. Nothing is repaired while the
// store is open.
var ErrDamaged = errors.New("the database file is damaged: stop bellbuoy, run `bellbuoy salvage`, and start it again")

// Open opens or makes the file. While it is open, Open of another process returns ErrLocked. A file
// that was not closed is checked first, unless it is large. If it is damaged the error wraps
// ErrDamaged.
func Open(ctx context.Context, o Options) (*Store, error) {
	c, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", o.Dir, err)
	}
	return c, nil
}

func open(ctx context.Context, o Options) (*Store, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	e := &database{path: filepath.Join(o.Dir, databaseFile), lock: lock, cache: engine.NewRowCache(), read: make(chan *conn, readers), closed: make(chan struct{}), leases: make(map[string]int64)}
	e.nextTry.Store(time.Now().UnixNano())
	if err := e.connect(ctx); err != nil {
		e.disconnect()
		lock.Close()
		return nil, nameDamage(err)
	}
	return newStore(ctx, e)
}

// Store is the Store on one file.
type Store struct {
	engine.Core
	e       *database
	copying sync.Mutex // held while Backup makes a copy
}

func newStore(ctx context.Context, e *database) (*Store, error) {
	s := &Store{e: e}
	s.Core.DB, s.Signals = e, engine.NewSignals()
	s.Updates = engine.NewWriter(e, s.Committed)
	s.Updates.Cache = e.cache
	s.Finishes, s.Chores = s.Updates, s.Updates
	s.Start()
	if e.doubtful {
		s.Running.Go(func() { s.checkAfter(checkLater) })
	}
	return s, nil
}

// checkAfter checks the whole file some time after the start, if it was too large to be checked
// then.
func (s *Store) checkAfter(rest time.Duration) {
	select {
	case <-s.Life.Done():
	case <-time.After(rest):
		_ = s.e.reading(s.Life, func(c *conn) error { return c.quickCheck(s.Life) })
	}
}

// Warnings returns the warnings so far. One is added if damage is found while the file is in use.
func (s *Store) Warnings() []string { return s.e.warned() }

// Healthy returns an error for good once damage was found, whatever still works.
func (s *Store) Healthy() error {
	if s.e.damaged.Load() {
		return ErrDamaged
	}
	return s.Core.Healthy()
}

func (e *database) connect(ctx context.Context) (err error) {
	if salvageBegun(e.path) {
		return errors.New("a salvage of the database file was interrupted: run `bellbuoy salvage` again")
	}
	if err := os.Remove(e.path + copyFile); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a killed process
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
		if err := e.write.quickCheck(ctx); err != nil {
			return err
		}
	}
	e.doubtful = unclean && size(e.path) >= checkFirst && size(e.path) < checkBelow
	if err := migrate(e.write); err != nil {
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

// journal_mode comes first: it decides how the others work. A WAL of 4,000 pages before each
// checkpoint lets one write of a busy page stand for many.
var (
	writerPragmas = []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-8192)", "wal_autocheckpoint(4000)", fmt.Sprintf("journal_size_limit(%d)", walLimit)}
	readerPragmas = []string{"busy_timeout(5000)", "query_only(1)", "cache_size(-2048)"}
)

// dsn uses the VFS that keeps the WAL's index in this process's memory: one process has the file
// anyway. In a file that is mapped, a page that cannot be written (a file system frozen for a
// snapshot, a disk that hangs) would stop the whole process, the Go runtime with it, instead of one
// commit.
func dsn(path string, pragmas []string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + url.Values{"_pragma": pragmas, "vfs": {"unix-excl"}}.Encode()
}

// count reads the last numbers of the sequences.
func (e *database) count(ctx context.Context) error {
	for name, n := range map[string]*int64{"event_seq": &e.nextSeq, "delivery_id": &e.nextID} {
		*n = 1
		err := e.write.Query(ctx, "SELECT value + 1 FROM counters WHERE name = $1", []any{name}, func(s engine.Scanner) error { return s.Scan(n) })
		if err != nil {
			return err
		}
	}
	return nil
}

// quickCheck reads the whole file, as far as checkAtMost allows.
func (c *conn) quickCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkAtMost)
	defer cancel()
	err := c.check(ctx, "PRAGMA quick_check(1)")
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// check runs one of SQLite's own checks. An answer other than ok is an error that isCorrupt
// recognizes.
func (c *conn) check(ctx context.Context, pragma string) error {
	var answer string
	err := c.Query(ctx, pragma, nil, func(s engine.Scanner) error { return s.Scan(&answer) })
	if err == nil && answer != "ok" {
		err = fmt.Errorf("%w: %s", errCheck, strings.TrimSpace(answer))
	}
	return err
}

var errCheck = errors.New("SQLite's check")

// checkAtMost bounds the time of a check on a slow disk.
const checkAtMost = 20 * time.Second

func (e *database) disconnect() {
	if e.write != nil {
		e.write.Close()
		e.write = nil
	}
	for {
		select {
		case r := <-e.read:
			r.Close()
		default:
			return
		}
	}
}

// Query runs on a connection that reads. It sees the state at its start.
func (e *database) Query(ctx context.Context, sql string, args []any, each func(engine.Scanner) error) error {
	return e.reading(ctx, func(c *conn) error { return c.Query(ctx, sql, args, each) })
}

// reading lends a connection that reads.
func (e *database) reading(ctx context.Context, fn func(*conn) error) error {
	select {
	case c := <-e.read:
		defer func() { e.read <- c }()
		err := fn(c)
		e.note(err)
		return nameDamage(err)
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closed:
		return store.ErrClosed
	}
}

func (e *database) Reads(ctx context.Context) engine.Reader { return engine.Reader{Q: e, Ctx: ctx} }

func (e *database) Begin(ctx context.Context, _ []string) (engine.Session, error) {
	if e.write == nil {
		c, err := openConn(dsn(e.path, writerPragmas))
		if err != nil {
			return nil, err
		}
		e.write = c
	}
	if _, err := e.write.Exec("BEGIN IMMEDIATE"); err != nil {
		return nil, nameDamage(err)
	}
	return &session{conn: e.write, e: e}, nil
}

// Failed drops the connection after an I/O error, so that no fsync is repeated on pages that the
// kernel has given up; those that read keep the WAL's index, where the failed transaction is not.
func (e *database) Failed(err error) {
	e.note(err)
	switch code(err) {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL:
		if e.write != nil {
			e.write.Close()
			e.write = nil
		}
	}
}

// note warns the operator, once, if err says that the file is damaged.
func (e *database) note(err error) {
	if isCorrupt(err) && !e.damaged.Swap(true) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.warnings = append(e.warnings, nameDamage(err).Error())
	}
}

// nameDamage adds what to do to an error that says that the file is damaged.
func nameDamage(err error) error {
	if isCorrupt(err) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return err
}

func (e *database) warned() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.warnings...)
}

func (e *database) Retriable(err error) bool { return code(err) == sqlite3.SQLITE_BUSY }

func (e *database) Invalid(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}

// Idle empties the WAL, so that the next start has nothing to replay and disk space is freed.
func (e *database) Idle() {
	if !e.dirty || e.write == nil {
		return
	}
	e.dirty = false
	_, _ = e.write.Exec("PRAGMA busy_timeout = 0") // a reader must not delay the writer
	defer func() { _, _ = e.write.Exec("PRAGMA busy_timeout = 5000") }()
	if err := e.write.Query(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)", nil, func(engine.Scanner) error { return nil }); err != nil {
		e.Failed(err)
	}
}

func (e *database) Now(args *[]any, now time.Time) string {
	*args = append(*args, engine.Micros(now))
	return fmt.Sprintf("$%d", len(*args))
}

func (e *database) Among(column string, ids []int64, args *[]any) string {
	var b strings.Builder
	for i, id := range ids {
		b.WriteByte("[,"[min(i, 1)])
		fmt.Fprint(&b, id)
	}
	*args = append(*args, b.String()+"]")
	return fmt.Sprintf("%s IN (SELECT value FROM json_each($%d))", column, len(*args))
}

// Using names the index: without statistics SQLite would choose deliveries_lane and read the whole
// lane.
func (e *database) Using(index string) string { return " INDEXED BY " + index }

// CommittedUpTo sets no bound: one writer commits the numbers in order.
func (e *database) CommittedUpTo(context.Context) (int64, error) { return math.MaxInt64 - 1, nil }

func (e *database) Size(ctx context.Context) (n engine.Sizes, err error) {
	err = e.Query(ctx, "SELECT (c.page_count - f.freelist_count) * s.page_size FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s", nil,
		func(s engine.Scanner) error { return s.Scan(&n.All) })
	return n, err
}

// Close releases the lock last, when this process no longer uses the file.
func (e *database) Close() error {
	close(e.closed)
	var errs []error
	for range readers { // a reader that hangs loses its connection with the process
		select {
		case c := <-e.read:
			errs = append(errs, c.Close())
		case <-time.After(engine.CloseWithin / readers):
		}
	}
	if e.write != nil {
		errs = append(errs, e.write.Close())
		e.write = nil
	}
	return errors.Join(append(errs, e.lock.Close())...)
}
