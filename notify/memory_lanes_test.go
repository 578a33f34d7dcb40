package notify

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

func (r *replica) Lease(_ context.Context, webhooks []string, ttl time.Duration, fair int) ([]store.Lane, error) {
	if err := r.fault(); err != nil {
		return nil, fmt.Errorf("leasing: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []store.Lane
	anew := 0
	for _, w := range webhooks {
		l := r.lanes[w]
		if l == nil {
			l = &memoryLane{}
			r.lanes[w] = l
		}
		mine := l.owner == r && time.Now().Before(l.until)
		free := l.owner == nil || !time.Now().Before(l.until)
		if !mine && (!free || fair > 0 && anew >= fair) {
			continue
		}
		if !mine {
			anew++
			l.epoch++
			l.owner = r
		}
		l.until = time.Now().Add(ttl)
		out = append(out, store.Lane{Webhook: w, Epoch: l.epoch, State: l.state, LeaseUntil: l.until})
	}
	return out, nil
}

func (r *replica) Release(_ context.Context, webhooks []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	for _, w := range webhooks {
		if l := r.lanes[w]; l != nil && l.owner == r {
			l.owner = nil
		}
	}
	return nil
}

func (r *replica) holds(webhook string, epoch int64) bool {
	l := r.lanes[webhook]
	return l != nil && l.owner == r && l.epoch == epoch
}

func (r *replica) SetLane(_ context.Context, webhook string, epoch int64, state []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	if !r.holds(webhook, epoch) {
		return fmt.Errorf("setting lane: %w", store.ErrFenced)
	}
	r.lanes[webhook].state = state
	return nil
}

func (r *replica) LaneStates(context.Context) (map[string][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string][]byte{}
	for w, l := range r.lanes {
		out[w] = l.state
	}
	return out, nil
}

func (r *replica) DueDeliveries(_ context.Context, q store.DueQuery) ([]store.Delivery, time.Time, error) {
	if err := r.fault(); err != nil {
		return nil, time.Time{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries++
	taken := map[string]bool{}
	var out []store.Delivery
	var next time.Time
	for _, d := range r.deliveries {
		if d.Webhook != q.Webhook || d.State != store.Pending {
			continue
		}
		key := map[store.Order]string{store.ByTag: d.TagKey, store.ByRepository: d.RepoKey, store.Unordered: ""}[q.Order]
		later := d.NextAt.After(q.Now)
		if later && (next.IsZero() || d.NextAt.Before(next)) {
			next = d.NextAt
		}
		if key != "" && (q.Busy[key] || taken[key]) || q.Except[d.ID] {
			continue
		}
		if key != "" && (!later || q.Order == store.ByRepository) {
			taken[key] = true
		}
		if !later {
			due := *d
			if due.Payload == nil {
				due.Event = &r.events[d.EventSeq-1]
			}
			out = append(out, due)
		}
	}
	if len(out) >= q.Limit {
		return out[:q.Limit], time.Time{}, nil
	}
	return out, next, nil
}

func (r *replica) Finish(_ context.Context, outcomes []store.Outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	if err := cmp.Or(r.refuse, r.refuseEnd); err != nil {
		return err
	}
	if r.invalidEnd != nil && slices.ContainsFunc(outcomes, r.invalidEnd) {
		return fmt.Errorf("finishing: %w", store.ErrInvalid)
	}
	var fenced error
	for _, o := range outcomes {
		if !r.holds(o.Webhook, o.Epoch) {
			fenced = fmt.Errorf("finishing: %w", store.ErrFenced)
			continue
		}
		r.finish(o)
	}
	return fenced
}

func (r *replica) finish(o store.Outcome) {
	d := r.deliveries[o.DeliveryID-1]
	if d.State == store.Delivered || d.State == store.Dead {
		r.t.Errorf("delivery %d finished twice", d.ID)
	}
	if o.Payload != nil && d.Payload != nil && !bytes.Equal(o.Payload.Body, d.Payload.Body) {
		r.t.Errorf("payload of delivery %d changed from %s to %s", d.ID, d.Payload.Body, o.Payload.Body)
	}
	if o.Payload != nil {
		d.Payload = o.Payload
	}
	if o.State != store.Pending || d.State == store.Pending {
		d.State = o.State
	}
	d.Reason, d.Status = o.Reason, o.Status
	if o.State == store.Pending {
		d.NextAt = o.NextAt
	} else {
		d.FinishedAt = time.Now()
	}
	if o.Burnt {
		d.Attempts++
	}
	if o.Attempt != nil {
		r.attempts[d.ID] = append(r.attempts[d.ID], *o.Attempt)
	}
}

func (r *replica) NewerDelivered(_ context.Context, d store.Delivery) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.deliveries, func(x *store.Delivery) bool {
		return x.Webhook == d.Webhook && x.TagKey == d.TagKey && x.EventSeq > d.EventSeq && x.State == store.Delivered
	}), nil
}
