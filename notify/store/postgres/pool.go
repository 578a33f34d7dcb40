package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	connections = 10
	trusted     = 200 * time.Millisecond // a connection idle for longer is pinged first
	connectTime = 5 * time.Second
	firstWait   = 50 * time.Millisecond // after the listener's connection broke
)

// pool is pgx's pool with this package's settings and errors.
type pool struct {
	*pgxpool.Pool
	closed atomic.Bool
}

func newPool(ctx context.Context, url string) (*pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "default_query_exec_mode") {
		// Needs no prepared statement on the server, so it works behind poolers that change
		// the server connection with each transaction.
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTime
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = connections
	}
	config.PingTimeout = connectTime
	config.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > trusted }
	p, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &pool{Pool: p}, nil
}

// acquire takes a connection, which the caller must Release.
func (p *pool) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	c, err := p.Acquire(ctx)
	switch {
	case err == nil:
		return c, nil
	case p.closed.Load():
		return nil, store.ErrClosed
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
}

func (p *pool) with(ctx context.Context, fn func(*pgx.Conn) error) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	return fn(c.Conn())
}

// close waits a little for connections in use.
func (p *pool) close() {
	p.closed.Store(true)
	done := make(chan struct{})
	go func() {
		p.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(connectTime):
	}
}

func closeQuickly(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.Close(ctx)
}
