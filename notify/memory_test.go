package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// memory is a store in memory that several replicas can share. It fails the test when a caller
// breaks the store's contract.
type memory struct {
	wakesCarry bool // wakes carry the new deliveries
	queries    int  // calls of DueDeliveries

	t testing.TB

	mu         sync.Mutex
	writer     sync.Mutex
	rows       map[store.Key]store.Row
	events     []store.Event
	deliveries []*store.Delivery
	attempts   map[int64][]store.Attempt
	lanes      map[string]*memoryLane
	appended   chan struct{}
	replicas   []*replica
	slow       time.Duration            // each Update takes this long
	refuse     error                    // Updates fail with it
	refuseEnd  error                    // Finish fails with it
	invalid    func(store.Event) bool   // events that cannot be stored
	invalidEnd func(store.Outcome) bool // outcomes that cannot be stored
	purges     []purge
}

type purge struct {
	retention store.Retention
	trims     []store.Trim
	now       time.Time
}

type memoryLane struct {
	owner *replica
	epoch int64
	until time.Time
	state []byte
}

// replica is one process's store.
type replica struct {
	*memory
	id   string
	wake chan store.Wake
	down bool // killed: all its calls fail
}

var _ Store = (*replica)(nil)

func newMemory(t testing.TB) *memory {
	return &memory{t: t, rows: map[store.Key]store.Row{}, attempts: map[int64][]store.Attempt{},
		lanes: map[string]*memoryLane{}, appended: make(chan struct{})}
}

func newStore(t testing.TB) *replica { return newMemory(t).replica("one") }

func (m *memory) replica(id string) *replica {
	r := &replica{memory: m, id: id, wake: make(chan store.Wake, 4096)}
	m.mu.Lock()
	m.replicas = append(m.replicas, r)
	m.mu.Unlock()
	return r
}

var errDown = errors.New("down")

func (r *replica) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	return r.refuse
}

func (m *memory) setRefuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

func (m *memory) setSlow(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slow = d
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

func (m *memory) event(i int) store.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events[i]
}

type memoryTx struct {
	*memory
	puts       []store.Row
	deletes    []store.Key
	events     []store.Event
	deliveries [][]store.Delivery
}

func (tx *memoryTx) Put(rows ...store.Row)    { tx.puts = append(tx.puts, rows...) }
func (tx *memoryTx) Delete(keys ...store.Key) { tx.deletes = append(tx.deletes, keys...) }
func (tx *memoryTx) Append(e store.Event, ds ...store.Delivery) {
	tx.events = append(tx.events, e)
	tx.deliveries = append(tx.deliveries, ds)
}

func (m *memory) Get(k store.Key) (store.Row, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[k]
	return r, ok, nil
}

func (m *memory) Scan(kind, prefix string, limit int) ([]store.Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.Row
	for k, r := range m.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b store.Row) int { return cmp.Compare(a.ID, b.ID) })
	return out[:min(len(out), cmp.Or(limit, 1000))], nil
}

func (r *replica) UpdateOn(ctx context.Context, t store.Terms, fn func(store.Tx) error) error {
	if t.Patience > 0 {
		bounded, cancel := context.WithTimeout(ctx, t.Patience)
		defer cancel()
		ctx = bounded
	}
	return r.Update(ctx, t.Scopes, fn)
}

func (r *replica) Update(ctx context.Context, _ []string, fn func(store.Tx) error) error {
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	sleep(ctx, slow)
	if ctx.Err() != nil {
		return fmt.Errorf("updating: %w", ctx.Err())
	}
	r.writer.Lock()
	defer r.writer.Unlock()
	tx := &memoryTx{memory: r.memory}
	if err := fn(tx); err != nil {
		return err
	}
	if err := r.fault(); err != nil {
		return fmt.Errorf("updating: %w", err)
	}
	if r.invalid != nil && slices.ContainsFunc(tx.events, r.invalid) {
		return fmt.Errorf("updating: %w", store.ErrInvalid)
	}
	r.apply(tx)
	return nil
}

func (r *replica) apply(tx *memoryTx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range tx.deletes {
		delete(r.rows, k)
	}
	for _, row := range tx.puts {
		row.Owner = r.id
		r.rows[row.Key] = row
	}
	for i, e := range tx.events {
		r.append(e, tx.deliveries[i])
	}
}

func (m *memory) append(e store.Event, ds []store.Delivery) {
	if slices.ContainsFunc(m.events, func(x store.Event) bool { return x.ID == e.ID }) {
		return
	}
	e.Seq = int64(len(m.events) + 1)
	m.events = append(m.events, e)
	for _, d := range ds {
		d.ID, d.EventSeq, d.EventID, d.CreatedAt = int64(len(m.deliveries)+1), e.Seq, e.ID, time.Now()
		d.PendingSince = d.CreatedAt
		m.deliveries = append(m.deliveries, &d)
		w := store.Wake{Webhook: d.Webhook}
		if m.wakesCarry && !d.NextAt.After(d.CreatedAt) {
			own := d
			own.NextAt, own.Event = own.CreatedAt, &e
			w.New = []store.Delivery{own}
		}
		m.sendWake(w)
	}
	close(m.appended)
	m.appended = make(chan struct{})
}

func (m *memory) wakeAll(webhook string) { m.sendWake(store.Wake{Webhook: webhook}) }

func (m *memory) sendWake(w store.Wake) {
	for _, r := range m.replicas {
		select {
		case r.wake <- w:
		default:
		}
	}
}

func (r *replica) View(_ context.Context, fn func(store.Reader) error) error { return fn(r.memory) }

func (r *replica) Due(_ context.Context, kind string, now time.Time, limit int) ([]store.Row, error) {
	rows, err := r.Scan(kind, "", limit)
	return slices.DeleteFunc(rows, func(x store.Row) bool { return x.Due.IsZero() || x.Due.After(now) }), err
}

func (r *replica) Own(_ context.Context, kind, after string, limit int) ([]store.Row, error) {
	rows, err := r.Scan(kind, "", 1<<30)
	rows = slices.DeleteFunc(rows, func(x store.Row) bool { return x.ID <= after })
	return rows[:min(len(rows), cmp.Or(limit, 1000))], err
}

func (r *replica) Page(ctx context.Context, kind, after string, limit int) ([]store.Row, error) {
	return r.Own(ctx, kind, after, limit)
}

func (r *replica) Events(_ context.Context, q store.EventQuery) ([]store.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []store.Event
	for _, e := range r.events {
		if (q.ID == "" || e.ID == q.ID) && e.Seq > q.After && !e.At.Before(q.Since) && (len(q.Types) == 0 || slices.Contains(q.Types, e.Type)) {
			out = append(out, e)
		}
	}
	if !q.Ascending {
		slices.Reverse(out)
	}
	return out[:min(len(out), cmp.Or(q.Limit, 100))], nil
}

func (r *replica) Deliveries(_ context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []store.Delivery
	for _, d := range r.selected(q) {
		out = append(out, *d)
	}
	return out, nil
}

func (r *replica) SearchEvents(context.Context, store.EventSearch) (store.FoundEvents, error) {
	return store.FoundEvents{}, errors.ErrUnsupported // tested in notify/store
}

func (r *replica) SearchDeliveries(context.Context, store.DeliverySearch) (store.FoundDeliveries, error) {
	return store.FoundDeliveries{}, errors.ErrUnsupported
}

func (m *memory) selected(q store.DeliveryQuery) []*store.Delivery {
	var out []*store.Delivery
	for _, d := range m.deliveries {
		if (q.Webhook == "" || d.Webhook == q.Webhook) && (q.EventID == "" || d.EventID == q.EventID) && (q.IDs == nil || slices.Contains(q.IDs, d.ID)) &&
			(q.States == nil || slices.Contains(q.States, d.State)) {
			out = append(out, d)
		}
	}
	return out
}

func (r *replica) Attempts(_ context.Context, id int64) ([]store.Attempt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.attempts[id]), nil
}

func (r *replica) Redeliver(_ context.Context, q store.DeliveryQuery) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, d := range r.selected(q) {
		if d.State != store.Parked {
			d.State, d.Attempts, d.NextAt, d.PendingSince = store.Pending, 0, time.Now(), time.Now()
			r.wakeAll(d.Webhook)
			n++
		}
	}
	return n, nil
}

func (r *replica) Plan(_ context.Context, planned []store.Planned) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, p := range planned {
		for _, d := range p.Deliveries {
			there := slices.ContainsFunc(r.deliveries, func(x *store.Delivery) bool {
				return x.EventSeq == p.Event.Seq && x.Webhook == d.Webhook && x.Number == d.Number
			})
			if !there {
				d.ID, d.EventSeq, d.EventID, d.CreatedAt = int64(len(r.deliveries)+1), p.Event.Seq, p.Event.ID, time.Now()
				d.PendingSince, d.NextAt = d.CreatedAt, d.CreatedAt
				r.deliveries = append(r.deliveries, &d)
				r.sendWake(store.Wake{Webhook: d.Webhook})
				n++
			}
		}
	}
	return n, nil
}

func (r *replica) MakeDue(_ context.Context, webhook string, beyond time.Duration, except []int64) (int, error) {
	if err := r.fault(); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, d := range r.deliveries {
		if d.Webhook == webhook && d.State == store.Pending && d.NextAt.After(time.Now().Add(beyond)) && !slices.Contains(except, d.ID) {
			d.NextAt = time.Time{}
			n++
		}
	}
	if n > 0 {
		r.wakeAll(webhook)
	}
	return n, nil
}

func (r *replica) swap(webhook string, from, to store.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.deliveries {
		if d.Webhook == webhook && d.State == from {
			d.State, d.PendingSince = to, time.Now()
			r.wakeAll(webhook)
		}
	}
}

func (r *replica) Park(_ context.Context, w string) error {
	r.swap(w, store.Pending, store.Parked)
	return nil
}
func (r *replica) Unpark(_ context.Context, w string) error {
	r.swap(w, store.Parked, store.Pending)
	return nil
}

func (r *replica) Bury(_ context.Context, w string) error {
	r.swap(w, store.Pending, store.Dead)
	r.swap(w, store.Parked, store.Dead)
	return nil
}

func (r *replica) Depths(context.Context) ([]store.Depth, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := map[string]*store.Depth{}
	for _, d := range r.deliveries {
		if by[d.Webhook] == nil {
			by[d.Webhook] = &store.Depth{Webhook: d.Webhook}
		}
		depth := by[d.Webhook]
		switch d.State {
		case store.Pending:
			depth.Pending++
			if depth.Oldest.IsZero() {
				depth.Oldest = d.CreatedAt
			}
		case store.Dead:
			depth.Dead++
		case store.Parked:
			depth.Parked++
		}
	}
	var out []store.Depth
	for _, d := range by {
		out = append(out, *d)
	}
	return out, nil
}

func (r *replica) Purge(_ context.Context, retention store.Retention, trims []store.Trim, now time.Time) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.purges = append(r.purges, purge{retention, trims, now})
	return 0, nil
}
func (r *replica) Wake() <-chan store.Wake { return r.wake }
func (r *replica) EventAppended() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.appended
}
func (r *replica) Healthy() error     { return nil }
func (r *replica) Warnings() []string { return nil }
func (r *replica) Close() error       { return nil }
