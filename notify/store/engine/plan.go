package engine

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const planAtOnce = 50 // events of a transaction

// Plan adds deliveries to events that are recorded already. It leaves out those that exist.
func (c *Core) Plan(ctx context.Context, planned []store.Planned) (added int, err error) {
	for len(planned) > 0 {
		some := planned[:min(planAtOnce, len(planned))]
		planned = planned[len(some):]
		n, err := c.planSome(ctx, some)
		if err != nil {
			return added, Naming("planning deliveries", err)
		}
		added += n
		if err := pause(ctx); err != nil {
			return added, Naming("planning deliveries", err)
		}
	}
	return added, nil
}

func (c *Core) planSome(ctx context.Context, some []store.Planned) (added int, err error) {
	err = c.Alone(ctx, func(s Session, g *Group) error {
		added = 0
		for i := range some {
			n, err := planOne(ctx, s, g, &some[i])
			if err != nil {
				return err
			}
			added += n
		}
		return nil
	})
	return added, err
}

// planOne adds the deliveries of one event. If the event is in a pack it gets a row of its own, to
// which deliveries refer.
func planOne(ctx context.Context, s Session, g *Group, p *store.Planned) (added int, err error) {
	e := &p.Event
	transient := int64(0)
	if e.Transient {
		transient = 1
	}
	_, err = s.Exec(ctx, "INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9) ON CONFLICT DO NOTHING",
		e.Seq, Clean(e.ID), Clean(e.Type), Micros(e.At), Clean(e.Upstream), Clean(e.Repository), transient, e.Data, Checksum(e.Data))
	if err != nil {
		return 0, err
	}
	if _, err := s.Exec(ctx, "UPDATE events SET matched = 1 WHERE seq = $1 AND matched = 0", e.Seq); err != nil {
		return 0, err
	}
	now := Micros(time.Now())
	for _, d := range p.Deliveries {
		webhook := Clean(d.Webhook)
		there := false
		err := s.Query(ctx, "SELECT 1 FROM deliveries WHERE event_seq = $1 AND webhook = $2 AND number = $3", []any{e.Seq, webhook, d.Number},
			func(Scanner) error { there = true; return ErrStop })
		if err != nil {
			return added, err
		}
		if there {
			continue
		}
		id, err := s.NextDelivery(ctx)
		if err != nil {
			return added, err
		}
		_, err = s.Exec(ctx, "INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, $9, 0, '', 0, 0, $10)",
			id, e.Seq, webhook, d.Number, Clean(d.TagKey), Clean(d.RepoKey), KeyHash(Clean(d.TagKey)), KeyHash(Clean(d.RepoKey)), now, transient)
		if err != nil {
			return added, err
		}
		g.Depth(webhook).Pending++
		g.Wakes[webhook] = true
		added++
	}
	return added, nil
}
