package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const deliveryColumns = "d.id, d.event_seq, e.id, d.webhook, d.number, d.tag_key, d.repo_key, d.state, d.attempts, d.created_at, d.next_at, d.reason, d.status, d.finished_at"

func deliveryFields(d *store.Delivery, state, created, next, finished *int64) []any {
	return []any{&d.ID, &d.EventSeq, &d.EventID, &d.Webhook, &d.Number, &d.TagKey, &d.RepoKey, state, &d.Attempts, created, next, &d.Reason, &d.Status, finished}
}

// scanDelivery reads deliveryColumns, and the further columns into more.
func scanDelivery(s Scanner, more ...any) (d store.Delivery, err error) {
	var state, created, next, finished int64
	if err := s.Scan(append(deliveryFields(&d, &state, &created, &next, &finished), more...)...); err != nil {
		return d, err
	}
	d.State, d.CreatedAt, d.FinishedAt = outward(state), FromMicros(created), FromMicros(finished)
	if d.PendingSince = d.CreatedAt; d.State == store.Pending && finished != 0 { // the end before Redeliver or Unpark
		d.PendingSince, d.FinishedAt = d.FinishedAt, time.Time{}
	}
	if d.NextAt = FromMicros(next); next == 0 {
		d.NextAt = d.PendingSince
	}
	return d, nil
}

// dueDeliveries reads the deliveries with these ids, each with its payload or else its event.
// corrupt are those whose bytes do not match their checksum.
func dueDeliveries(ctx context.Context, e Database, ids []int64) (due, corrupt []store.Delivery, err error) {
	if len(ids) == 0 {
		return nil, nil, nil
	}
	var args []any
	sql := "SELECT " + deliveryColumns + ", p.data, coalesce(p.crc, 0), CASE WHEN p.delivery IS NULL THEN e.data END, e.crc, e.type, e.at, e.upstream, e.repository, e.transient" +
		" FROM deliveries d JOIN events e ON e.seq = d.event_seq LEFT JOIN payloads p ON p.delivery = d.id WHERE d.state < 2 AND " + e.Among("d.id", ids, &args) + " ORDER BY d.id"
	size := 0
	err = e.Query(ctx, sql, args, func(s Scanner) error {
		d, sound, err := scanDue(s)
		if err != nil {
			return err
		}
		if !sound {
			corrupt = append(corrupt, d)
			return nil
		}
		due = append(due, d)
		if size += sizeOf(&d); size > dueBytes {
			return ErrStop
		}
		return nil
	})
	return due, corrupt, err
}

func sizeOf(d *store.Delivery) int {
	if d.Payload != nil {
		return len(d.Payload.Body)
	}
	return len(d.Event.Data)
}

func scanDue(s Scanner) (d store.Delivery, sound bool, err error) {
	var (
		payload, data                    []byte
		payloadCRC, crc, at, isTransient int64
		e                                store.Event
	)
	d, err = scanDelivery(s, &payload, &payloadCRC, &data, &crc, &e.Type, &at, &e.Upstream, &e.Repository, &isTransient)
	if err != nil {
		return d, false, err
	}
	if payload != nil {
		d.Payload, err = decodePayload(payload, payloadCRC)
		return d, err == nil, nil
	}
	e.Seq, e.ID, e.At, e.Transient, e.Data = d.EventSeq, d.EventID, FromMicros(at), isTransient != 0, data
	d.Event = &e
	return d, Checksum(data) == crc, nil
}

func newerDelivered(ctx context.Context, q Querier, d store.Delivery) (newer bool, err error) {
	if d.TagKey == "" {
		return false, nil
	}
	// The search begins at the event: an index of finished deliveries by tag would make every
	// delivery slower.
	err = q.Query(ctx, "SELECT 1 FROM events e CROSS JOIN deliveries d WHERE e.repository = (SELECT repository FROM events WHERE seq = $1) AND e.seq > $1"+
		" AND d.event_seq = e.seq AND d.webhook = $2 AND d.tag_key = $3 AND d.state = 2 LIMIT 1", []any{d.EventSeq, d.Webhook, d.TagKey},
		func(Scanner) error { newer = true; return nil })
	return newer, err
}

// deliveries finds what q selects, newest first. Each state of each webhook is a range of one
// index; the newest of each range are merged. On SQLite that index lacks delivered ones, which are
// read in the order of their ids.
func deliveries(ctx context.Context, e Database, q store.DeliveryQuery) ([]store.Delivery, error) {
	q.Limit = OrDefault(q.Limit, 100)
	if len(q.IDs) > 0 || q.EventID != "" || q.Webhook == "" && len(q.States) == 0 {
		return selectDeliveries(ctx, e, q, nil)
	}
	webhooks := []string{q.Webhook}
	if q.Webhook == "" {
		var err error
		if webhooks, err = knownWebhooks(ctx, e); err != nil {
			return nil, err
		}
	}
	var found []store.Delivery
	for _, state := range innerStates(q.States) {
		ranges := webhooks
		if state == Delivered {
			ranges = []string{q.Webhook}
		}
		for _, webhook := range ranges {
			of := q
			of.Webhook = webhook
			some, err := selectDeliveries(ctx, e, of, []int64{state})
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
			slices.SortFunc(found, func(a, b store.Delivery) int { return int(b.ID - a.ID) })
			found = found[:min(len(found), q.Limit)]
		}
	}
	return found, nil
}

func innerStates(states []store.State) (inner []int64) {
	if len(states) == 0 {
		return []int64{Fresh, Waiting, Delivered, Dead, Parked}
	}
	for _, s := range states {
		inner = append(inner, inward(s)...)
	}
	slices.Sort(inner)
	return slices.Compact(inner)
}

func knownWebhooks(ctx context.Context, q Querier) (webhooks []string, err error) {
	err = q.Query(ctx, "SELECT DISTINCT webhook FROM depths ORDER BY webhook", nil, func(s Scanner) error {
		var webhook string
		defer func() { webhooks = append(webhooks, webhook) }()
		return s.Scan(&webhook)
	})
	return webhooks, err
}

func selectDeliveries(ctx context.Context, e Database, q store.DeliveryQuery, inner []int64) (found []store.Delivery, err error) {
	w, err := deliveryConditions(ctx, e, q, inner)
	if err != nil {
		return nil, err
	}
	payload := ", NULL, 0"
	join := ""
	if len(q.IDs) > 0 {
		payload, join = ", p.data, coalesce(p.crc, 0)", " LEFT JOIN payloads p ON p.delivery = d.id"
	}
	sql := fmt.Sprintf("SELECT %s%s FROM deliveries d JOIN events e ON e.seq = d.event_seq%s%s ORDER BY d.id DESC LIMIT %d", deliveryColumns, payload, join, w.String(), q.Limit)
	err = e.Query(ctx, sql, w.args, func(s Scanner) error {
		var data []byte
		var crc int64
		d, err := scanDelivery(s, &data, &crc)
		if err == nil && data != nil {
			d.Payload, _ = decodePayload(data, crc) // a corrupt one is not shown
		}
		found = append(found, d)
		return err
	})
	return found, err
}

func deliveryConditions(ctx context.Context, e Database, q store.DeliveryQuery, inner []int64) (*where, error) {
	w := new(where)
	if len(q.IDs) > 0 {
		w.conditions = append(w.conditions, e.Among("d.id", q.IDs, &w.args))
	}
	if q.EventID != "" {
		w.add("e.id = ?", q.EventID)
	}
	if q.Webhook != "" {
		w.add("d.webhook = ?", q.Webhook)
	}
	switch {
	case len(inner) == 1:
		w.add("d.state = ?", inner[0])
		if inner[0] != Delivered {
			w.conditions = append(w.conditions, "d.state <> 2")
		}
	case len(q.States) > 0:
		w.conditions = append(w.conditions, e.Among("d.state", innerStates(q.States), &w.args))
	}
	if !q.Since.IsZero() {
		first, err := firstSince(ctx, e, q.Since.Add(-clockSkew))
		if err != nil {
			return nil, err
		}
		w.add("d.id >= ? AND d.created_at >= ?", first, Micros(q.Since))
	}
	if !q.Until.IsZero() {
		w.add("d.created_at < ?", Micros(q.Until))
	}
	if q.BeforeID > 0 {
		w.add("d.id < ?", q.BeforeID)
	}
	return w, nil
}

// clockSkew is how far the clocks of replicas may be apart: so much may creation times differ from
// the order of ids.
const clockSkew = 5 * time.Minute

// firstSince finds the first delivery that was created at or after t, by halving: ids grow with
// time.
func firstSince(ctx context.Context, q Querier, t time.Time) (int64, error) {
	var low, high int64
	err := q.Query(ctx, "SELECT coalesce((SELECT min(id) FROM deliveries), 0), coalesce((SELECT max(id) FROM deliveries), 0) + 1", nil, func(s Scanner) error { return s.Scan(&low, &high) })
	if err != nil {
		return 0, err
	}
	for low < high {
		mid := low + (high-low)/2
		at := high
		var created int64
		err := q.Query(ctx, "SELECT id, created_at FROM deliveries WHERE id >= $1 ORDER BY id LIMIT 1", []any{mid}, func(s Scanner) error { return s.Scan(&at, &created) })
		switch {
		case err != nil:
			return 0, err
		case at >= high || created >= Micros(t):
			high = mid
		default:
			low = at + 1
		}
	}
	return low, nil
}

func attempts(ctx context.Context, q Querier, delivery int64) (tries []store.Attempt, err error) {
	err = q.Query(ctx, "SELECT at, status, latency, reason, error, response, replica FROM attempts WHERE delivery = $1 ORDER BY at, n", []any{delivery}, func(s Scanner) error {
		a := store.Attempt{DeliveryID: delivery}
		var at, latency int64
		if err := s.Scan(&at, &a.Status, &latency, &a.Reason, &a.Error, &a.Response, &a.Replica); err != nil {
			return err
		}
		a.At, a.Latency = FromMicros(at), time.Duration(latency)*time.Microsecond
		tries = append(tries, a)
		return nil
	})
	return tries, err
}

func depths(ctx context.Context, q Querier) (all []store.Depth, err error) {
	oldest := "(SELECT created_at FROM deliveries WHERE webhook = w.webhook AND state <> 2 AND state = %d ORDER BY id LIMIT 1)"
	sql := "SELECT webhook, pending, dead, parked, coalesce(" + fmt.Sprintf(oldest, Fresh) + ", 0), coalesce(" + fmt.Sprintf(oldest, Waiting) + ", 0) FROM " +
		"(SELECT webhook, CAST(sum(pending) AS BIGINT) AS pending, CAST(sum(dead) AS BIGINT) AS dead, CAST(sum(parked) AS BIGINT) AS parked FROM depths GROUP BY webhook) w ORDER BY webhook"
	err = q.Query(ctx, sql, nil, func(s Scanner) error {
		var d store.Depth
		var fresh, waiting int64
		if err := s.Scan(&d.Webhook, &d.Pending, &d.Dead, &d.Parked, &fresh, &waiting); err != nil {
			return err
		}
		if d.Oldest = FromMicros(fresh); fresh == 0 || waiting != 0 && waiting < fresh {
			d.Oldest = FromMicros(waiting)
		}
		all = append(all, d)
		return nil
	})
	return all, err
}

// laneStates returns what SetLane stored.
func laneStates(ctx context.Context, q Querier) (map[string][]byte, error) {
	states := make(map[string][]byte)
	err := q.Query(ctx, "SELECT webhook, state FROM lanes", nil, func(s Scanner) error {
		var webhook string
		var state []byte
		if err := s.Scan(&webhook, &state); err != nil {
			return err
		}
		states[webhook] = state
		return nil
	})
	return states, err
}
