package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Own returns all rows: only one process uses the file.
func (s *Store) Own(ctx context.Context, kind, after string, limit int) ([]store.Row, error) {
	rows, err := s.e.Reads(ctx).Page(kind, after, limit)
	return rows, engine.Naming("taking over rows", err)
}

// Lease gives a lane a new epoch whenever this process takes it, so that outcomes from before its
// release are fenced.
func (s *Store) Lease(ctx context.Context, webhooks []string, ttl time.Duration, _ int) ([]store.Lane, error) {
	lanes := make([]store.Lane, 0, len(webhooks))
	err := s.Alone(ctx, func(tx engine.Session, _ *engine.Group) error {
		lanes = lanes[:0]
		for _, w := range webhooks {
			lane, err := s.e.lease(ctx, tx, engine.Clean(w))
			if err != nil {
				return err
			}
			lane.LeaseUntil = time.Now().Add(ttl)
			lanes = append(lanes, lane)
		}
		return nil
	})
	if err != nil {
		return nil, engine.Naming("leasing lanes", err)
	}
	return slices.Clone(lanes), nil
}

func (e *database) lease(ctx context.Context, tx engine.Session, webhook string) (store.Lane, error) {
	if _, held := e.leases[webhook]; !held {
		_, err := tx.Exec(ctx, "INSERT INTO lanes (webhook, owner, epoch, lease_until, state) VALUES ($1, $2, 1, 0, x'') ON CONFLICT (webhook) DO UPDATE SET epoch = epoch + 1", webhook, engine.Local)
		if err != nil {
			return store.Lane{}, err
		}
	}
	lane := store.Lane{Webhook: webhook}
	err := tx.Query(ctx, "SELECT epoch, state FROM lanes WHERE webhook = $1", []any{webhook}, func(r engine.Scanner) error { return r.Scan(&lane.Epoch, &lane.State) })
	// If the commit fails, the file keeps the lower epoch, and the next lease gives this
	// process the same number again.
	e.leases[webhook] = lane.Epoch
	return lane, err
}

func (s *Store) Release(ctx context.Context, webhooks []string) error {
	return engine.Naming("releasing lanes", s.Alone(ctx, func(engine.Session, *engine.Group) error {
		for _, w := range webhooks {
			delete(s.e.leases, engine.Clean(w))
		}
		return nil
	}))
}

func (s *Store) SetLane(ctx context.Context, webhook string, epoch int64, state []byte) error {
	webhook = engine.Clean(webhook)
	var fenced error
	err := s.Along(ctx, func(tx engine.Session) error {
		if held, ok := s.e.leases[webhook]; !ok || held != epoch {
			fenced = fmt.Errorf("%w: %s", store.ErrFenced, webhook)
			return nil
		}
		_, err := tx.Exec(ctx, "UPDATE lanes SET state = $2 WHERE webhook = $1", webhook, state)
		return err
	})
	if err == nil {
		err = fenced
	}
	return engine.Naming("storing a lane's state", err)
}
