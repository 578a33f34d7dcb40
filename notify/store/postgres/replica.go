package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Store is the Store on a database that replicas share.
type Store struct {
	engine.Core
	e        *database
	remote   *remote
	warnings []string
	held     map[string]int64 // epochs of the lanes that this process holds; used by the writer of chores
}

const (
	replicaTTL   = 10 * time.Second // others take over the rows of a killed one within 15 s
	replicaRenew = 3 * time.Second
	replicaRetry = 500 * time.Millisecond
	sumUpEvery   = 10 * time.Second
)

func newStore(ctx context.Context, e *database, warnings []string) (*Store, error) {
	s := &Store{e: e, held: make(map[string]int64)}
	s.Core.DB, s.Signals, s.warnings = e, engine.NewSignals(), warnings
	s.remote = newRemote(e.pool, s.Signals)
	done := func(g *engine.Group) {
		s.Committed(g)
		s.remote.tell(g)
	}
	s.Updates, s.Finishes, s.Chores = engine.NewWriter(e, done), engine.NewWriter(e, done), engine.NewWriter(e, done)
	s.Start()
	if err := s.renew(ctx, replicaTTL); err != nil {
		s.Close()
		return nil, err
	}
	s.Running.Go(func() { s.remote.run(s.Life) })
	s.Running.Go(func() { s.beat(s.Life) })
	s.Running.Go(func() { s.regularly(s.Life, sumUpEvery, e.sumUp) })
	return s, nil
}

func (s *Store) Warnings() []string { return s.warnings }

// regularly calls fn until ctx ends. After an error it tries again the next time.
func (s *Store) regularly(ctx context.Context, every time.Duration, fn func(context.Context) error) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c, cancel := context.WithTimeout(ctx, pgAtMost)
			_ = fn(c)
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// beat renews the row of this replica from time to time. It does so through a writer, so that
// Healthy notices a database that is down even if nothing else is written.
func (s *Store) beat(ctx context.Context) {
	for every := replicaRenew; sleep(ctx, every); {
		c, cancel := context.WithTimeout(ctx, pgAtMost)
		err := s.renew(c, replicaTTL)
		cancel()
		if every = replicaRenew; err != nil {
			every = replicaRetry
		}
	}
}

// renew renews the row of this replica. If that is older than ttl, others take over its rows.
func (s *Store) renew(ctx context.Context, ttl time.Duration) error {
	return s.Alone(ctx, func(tx engine.Session, _ *engine.Group) error { return s.e.renewReplica(ctx, tx, ttl) })
}

func (e *database) renewReplica(ctx context.Context, tx engine.Session, ttl time.Duration) error {
	_, err := tx.Exec(ctx, "INSERT INTO replicas (name, lease_until) VALUES ($1, "+pgNow+" + $2::bigint)"+
		" ON CONFLICT (name) DO UPDATE SET lease_until = greatest(replicas.lease_until, excluded.lease_until)", e.replica, ttl.Microseconds())
	return err
}

// sumUp adds up the changes of counts into one row for each webhook, and deletes replicas that are
// long gone.
func (e *database) sumUp(ctx context.Context) error {
	if !e.busy.Swap(false) {
		return nil
	}
	return e.pool.with(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "WITH old AS (DELETE FROM depths RETURNING *) INSERT INTO depths SELECT webhook, sum(pending), sum(dead), sum(parked) FROM old GROUP BY webhook")
		if err != nil {
			return err
		}
		_, err = c.Exec(ctx, "DELETE FROM replicas WHERE lease_until < "+pgNow+" - 3600000000 AND NOT EXISTS (SELECT 1 FROM state_rows WHERE owner = replicas.name)")
		return err
	})
}

// Own takes over the rows of replicas that are gone. If another replica is doing that, it does not
// wait.
func (s *Store) Own(ctx context.Context, kind, after string, limit int) (rows []store.Row, err error) {
	limit = engine.OrDefault(limit, 1000)
	err = s.Alone(ctx, func(tx engine.Session, _ *engine.Group) error {
		_, err := tx.Exec(ctx, "UPDATE state_rows SET owner = $1 WHERE (kind, id) IN (SELECT kind, id FROM state_rows WHERE kind = $2 AND owner <> $1"+
			" AND owner NOT IN (SELECT name FROM replicas WHERE lease_until > "+pgNow+") ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)", s.e.replica, kind, limit)
		if err != nil {
			return err
		}
		rows, err = engine.CollectRows(ctx, tx, kind, "SELECT "+engine.RowColumns+" FROM state_rows WHERE kind = $1 AND owner = $2 AND id > $3 ORDER BY id LIMIT $4",
			[]any{kind, s.e.replica, []byte(after), limit})
		return err
	})
	if err != nil {
		return nil, engine.Naming("taking over rows", err)
	}
	return rows, nil
}

// Lease uses the clock of the database alone. A lane that this process does not hold gets a new
// epoch even if the owner has the same name, because that is an earlier process.
func (s *Store) Lease(ctx context.Context, webhooks []string, ttl time.Duration, fair int) ([]store.Lane, error) {
	names := make([]string, len(webhooks))
	for i, w := range webhooks {
		names[i] = engine.Clean(w)
	}
	var lanes []store.Lane
	err := s.Alone(ctx, func(tx engine.Session, _ *engine.Group) (err error) {
		if err := s.e.renewReplica(ctx, tx, max(ttl, replicaTTL)); err != nil {
			return err
		}
		lanes, err = s.lease(ctx, tx, names, ttl, fair)
		return err
	})
	if err != nil {
		return nil, engine.Naming("leasing lanes", err)
	}
	return lanes, nil
}

func (s *Store) lease(ctx context.Context, tx engine.Session, webhooks []string, ttl time.Duration, fair int) ([]store.Lane, error) {
	if len(webhooks) == 0 {
		return nil, nil
	}
	if err := addLanes(ctx, tx, webhooks); err != nil {
		return nil, err
	}
	renewed, err := s.renewLanes(ctx, tx, webhooks, ttl)
	if err != nil {
		return nil, err
	}
	if fair <= 0 {
		fair = len(webhooks)
	}
	taken, err := s.takeFree(ctx, tx, webhooks, renewed, ttl, fair)
	if err != nil {
		return nil, err
	}
	lanes := append(renewed, taken...)
	for _, w := range webhooks {
		delete(s.held, w)
	}
	for _, l := range lanes {
		s.held[l.Webhook] = l.Epoch
	}
	return lanes, nil
}

// addLanes adds the rows of lanes that have none yet.
func addLanes(ctx context.Context, tx engine.Session, webhooks []string) error {
	known := make(map[string]bool)
	err := tx.Query(ctx, "SELECT webhook FROM lanes WHERE webhook = ANY($1::text[])", []any{webhooks}, func(r engine.Scanner) error {
		var w string
		defer func() { known[w] = true }()
		return r.Scan(&w)
	})
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(webhooks), func(w string) bool { return known[w] })
	if len(missing) == 0 {
		return nil
	}
	_, err = tx.Exec(ctx, "INSERT INTO lanes (webhook, owner, epoch, lease_until, state) SELECT w, '', 0, 0, '' FROM unnest($1::text[]) w ORDER BY w ON CONFLICT (webhook) DO NOTHING", missing)
	return err
}

const returningLane = " RETURNING l.webhook, l.epoch, l.state, l.lease_until - " + pgNow

// renewLanes prolongs the leases that this replica still holds.
func (s *Store) renewLanes(ctx context.Context, tx engine.Session, webhooks []string, ttl time.Duration) ([]store.Lane, error) {
	var mine []string
	var epochs []int64
	for _, w := range webhooks {
		if epoch, ok := s.held[w]; ok {
			mine, epochs = append(mine, w), append(epochs, epoch)
		}
	}
	return s.lanes(ctx, tx, "UPDATE lanes l SET lease_until = "+pgNow+" + $4 FROM unnest($1::text[], $2::bigint[]) u(webhook, epoch) WHERE l.webhook = u.webhook AND l.epoch = u.epoch AND l.owner = $3"+returningLane,
		mine, epochs, s.e.replica, ttl.Microseconds())
}

// takeFree leases at most limit lanes that no other replica holds, besides those just renewed.
func (s *Store) takeFree(ctx context.Context, tx engine.Session, webhooks []string, renewed []store.Lane, ttl time.Duration, limit int) ([]store.Lane, error) {
	names := make([]string, 0, len(renewed))
	for _, l := range renewed {
		names = append(names, l.Webhook)
	}
	return s.lanes(ctx, tx, "UPDATE lanes l SET owner = $1, epoch = l.epoch + 1, lease_until = "+pgNow+" + $2 WHERE l.webhook IN"+
		" (SELECT webhook FROM lanes WHERE webhook = ANY($3::text[]) AND NOT webhook = ANY($4::text[]) AND (owner = $1 OR lease_until <= "+pgNow+") ORDER BY webhook LIMIT $5 FOR UPDATE SKIP LOCKED)"+returningLane,
		s.e.replica, ttl.Microseconds(), webhooks, names, limit)
}

func (s *Store) lanes(ctx context.Context, tx engine.Session, sql string, args ...any) (lanes []store.Lane, err error) {
	err = tx.Query(ctx, sql, args, func(r engine.Scanner) error {
		var l store.Lane
		var left int64
		if err := r.Scan(&l.Webhook, &l.Epoch, &l.State, &left); err != nil {
			return err
		}
		l.LeaseUntil = time.Now().Add(time.Duration(left) * time.Microsecond)
		lanes = append(lanes, l)
		return nil
	})
	return lanes, err
}

func (s *Store) Release(ctx context.Context, webhooks []string) error {
	return engine.Naming("releasing lanes", s.Alone(ctx, func(tx engine.Session, _ *engine.Group) error {
		for _, w := range webhooks {
			w = engine.Clean(w)
			epoch, ok := s.held[w]
			delete(s.held, w)
			if !ok {
				continue
			}
			if _, err := tx.Exec(ctx, "UPDATE lanes SET owner = '', lease_until = 0 WHERE webhook = $1 AND owner = $2 AND epoch = $3", w, s.e.replica, epoch); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (s *Store) SetLane(ctx context.Context, webhook string, epoch int64, state []byte) error {
	var fenced error
	err := s.Alone(ctx, func(tx engine.Session, _ *engine.Group) error {
		n, err := tx.Exec(ctx, "UPDATE lanes SET state = $4 WHERE webhook = $1 AND owner = $2 AND epoch = $3", engine.Clean(webhook), s.e.replica, epoch, state)
		fenced = nil
		if n == 0 {
			fenced = fmt.Errorf("%w: %s", store.ErrFenced, webhook)
		}
		return err
	})
	if err == nil {
		err = fenced
	}
	return engine.Naming("storing a lane's state", err)
}

// Close releases the lanes, so that another replica can lease them at once, and closes the store.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.Healthy() == nil {
		_ = s.Chores.Do(ctx, &engine.Request{Class: engine.Chores, Direct: func(tx engine.Session, _ *engine.Group) error {
			_, err := tx.Exec(ctx, "UPDATE replicas SET lease_until = 0 WHERE name = $1", s.e.replica)
			if err == nil {
				_, err = tx.Exec(ctx, "UPDATE lanes SET owner = '', lease_until = 0 WHERE owner = $1", s.e.replica)
			}
			return err
		}})
	}
	return s.Core.Close()
}
