package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Own: there is one process for a file, so all rows are its own.
func (s *sqliteStore) Own(ctx context.Context, kind, after string, limit int) ([]Row, error) {
	rows, err := s.e.reads(ctx).page(kind, after, limit)
	return rows, naming("taking over rows", err)
}

// Lease: a lane's epoch grows when this process takes it, so that what it sent before it gave it back is fenced.
func (s *sqliteStore) Lease(ctx context.Context, webhooks []string, ttl time.Duration, _ int) ([]Lane, error) {
	lanes := make([]Lane, 0, len(webhooks))
	err := s.alone(ctx, func(tx session, _ *group) error {
		lanes = lanes[:0]
		for _, w := range webhooks {
			lane, err := s.e.lease(ctx, tx, clean(w))
			if err != nil {
				return err
			}
			lane.LeaseUntil = time.Now().Add(ttl)
			lanes = append(lanes, lane)
		}
		return nil
	})
	if err != nil {
		return nil, naming("leasing lanes", err)
	}
	return slices.Clone(lanes), nil
}

func (e *sqliteEngine) lease(ctx context.Context, tx session, webhook string) (Lane, error) {
	if _, held := e.leases[webhook]; !held {
		_, err := tx.exec(ctx, "INSERT INTO lanes (webhook, owner, epoch, lease_until, state) VALUES ($1, $2, 1, 0, x'') ON CONFLICT (webhook) DO UPDATE SET epoch = epoch + 1", webhook, local)
		if err != nil {
			return Lane{}, err
		}
	}
	lane := Lane{Webhook: webhook}
	err := tx.query(ctx, "SELECT epoch, state FROM lanes WHERE webhook = $1", []any{webhook}, func(r scanner) error { return r.Scan(&lane.Epoch, &lane.State) })
	// Should the commit fail, the epoch in the file is the lower one: the next lease of it gives the same number to the same process.
	e.leases[webhook] = lane.Epoch
	return lane, err
}

func (s *sqliteStore) Release(ctx context.Context, webhooks []string) error {
	return naming("releasing lanes", s.alone(ctx, func(session, *group) error {
		for _, w := range webhooks {
			delete(s.e.leases, clean(w))
		}
		return nil
	}))
}

func (s *sqliteStore) SetLane(ctx context.Context, webhook string, epoch int64, state []byte) error {
	webhook = clean(webhook)
	var fenced error
	err := s.along(ctx, func(tx session) error {
		if held, ok := s.e.leases[webhook]; !ok || held != epoch {
			fenced = fmt.Errorf("%w: %s", ErrFenced, webhook)
			return nil
		}
		_, err := tx.exec(ctx, "UPDATE lanes SET state = $2 WHERE webhook = $1", webhook, state)
		return err
	})
	if err == nil {
		err = fenced
	}
	return naming("storing a lane's state", err)
}
