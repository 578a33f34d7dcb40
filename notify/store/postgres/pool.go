package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// pgPool is a handful of connections. After one could not be made, no other is tried for a moment that grows, so that a
// database that comes back is not met by a storm; callers get the last error meanwhile.
type pgPool struct {
	config *pgx.ConnConfig
	slots  chan slot
	closed chan struct{}

	mu      sync.Mutex
	wait    time.Duration
	retryAt time.Time
	last    error
}

// slot is one connection's place.
type slot struct {
	c    *pgx.Conn // nil: not connected
	used time.Time
}

const (
	pgConnections = 10
	pgTrusted     = 200 * time.Millisecond // a connection that was idle for longer is asked whether it lives
	pgFirstWait   = 50 * time.Millisecond
	pgLongestWait = 2 * time.Second
	pgConnectTime = 5 * time.Second
)

func newPGPool(url string) (*pgPool, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "default_query_exec_mode") {
		// Needs no prepared statement on the server, so it works behind poolers that change the server connection with each transaction.
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = pgConnectTime
	}
	p := &pgPool{config: config, slots: make(chan slot, pgConnections), closed: make(chan struct{})}
	for range pgConnections {
		p.slots <- slot{}
	}
	return p, nil
}

// acquire takes a connection; release gives it back.
func (p *pgPool) acquire(ctx context.Context) (*pgx.Conn, error) {
	var s slot
	select {
	case s = <-p.slots:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, store.ErrClosed
	}
	if c := s.c; c != nil {
		if time.Since(s.used) < pgTrusted || c.Ping(ctx) == nil {
			return c, nil
		}
		closeQuickly(c) // the server has gone meanwhile
	}
	c, err := p.connect(ctx)
	if err != nil {
		p.slots <- slot{}
		return nil, err
	}
	return c, nil
}

func (p *pgPool) connect(ctx context.Context) (*pgx.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && time.Now().Before(p.retryAt) {
		return nil, p.last
	}
	c, err := pgx.ConnectConfig(ctx, p.config.Copy())
	if err == nil {
		p.last, p.wait = nil, 0
		return c, nil
	}
	if ctx.Err() == nil { // the database's failure, not the caller's
		p.last = fmt.Errorf("connecting to PostgreSQL: %w", err)
		p.wait = min(max(2*p.wait, pgFirstWait), pgLongestWait)
		p.retryAt = time.Now().Add(p.wait)
	}
	return nil, err
}

func (p *pgPool) release(c *pgx.Conn) {
	if c.IsClosed() || c.PgConn().TxStatus() != 'I' {
		closeQuickly(c)
		c = nil
	}
	p.slots <- slot{c, time.Now()}
}

func closeQuickly(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Close(ctx)
}

func (p *pgPool) with(ctx context.Context, fn func(*pgx.Conn) error) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer p.release(c)
	return fn(c)
}

// Close waits a little for connections in use.
func (p *pgPool) Close() {
	close(p.closed)
	late := time.After(5 * time.Second)
	for range cap(p.slots) {
		select {
		case s := <-p.slots:
			if s.c != nil {
				closeQuickly(s.c)
			}
		case <-late:
			return
		}
	}
}
