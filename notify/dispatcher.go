package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// DispatcherOptions configures a Dispatcher.
type DispatcherOptions struct {
	// Replica names this process in the attempt log and among replicas. Required if Shared is
	// set.
	Replica string
	// Shared says that other replicas use the same store, so the lanes are divided among them.
	Shared bool
	// LeaseTTL is how long a replica keeps a lane without renewing its lease; it renews three
	// times in that time. 0: 10 s if Shared is set, so that the lanes of a killed replica move
	// within 15 s; else an hour.
	LeaseTTL time.Duration
	// Grace is how long Run waits for POSTs in flight after ctx has ended; 0: 20 s.
	Grace time.Duration
	// Retention and Trims are applied every minute; see Retain.
	Retention store.Retention
	Trims     []store.Trim
	// Webhooks are those of the store; nil: there are none. The pending deliveries of a deleted
	// one become dead letters.
	Webhooks *Webhooks
	Metrics  *Metrics    // nil: nothing is counted
	Log      *zap.Logger // nil: nothing is logged
}

// readsAtOnce bounds the reads that lanes make at the same time, so that a thousand lanes that
// start together leave the store free for others.
const readsAtOnce = 8

// Dispatcher sends the pending deliveries of the store. Each webhook has its own lane.
type Dispatcher struct {
	store   Store
	outbox  *Outbox
	options DispatcherOptions
	metrics *Metrics
	log     *zap.Logger

	set          atomic.Pointer[Set]
	reads        chan struct{}
	backlogTurn  chan struct{}
	work         sync.WaitGroup  // pumps, attempts and the goroutines that store outcomes
	posting      context.Context // for POSTs and their outcomes; ends after the grace
	abandon      context.CancelFunc
	leaseNow     chan struct{} // asks keepLeases to run now
	reconcileNow chan struct{} // asks maintain to reconcile now
	readHealth   health
	writing      health
	switchCount  atomic.Int64 // switches that were changed here

	mu        sync.Mutex // locked before a lane's mutex, never after it
	lanes     map[string]*lane
	switched  map[string]switchState
	retention retentionSettings
	ended     bool
}

// retentionSettings are the arguments of Purge.
type retentionSettings struct {
	retention store.Retention
	trims     []store.Trim
}

// NewDispatcher returns a dispatcher without webhooks. out must use the same store.
func NewDispatcher(s Store, out *Outbox, o DispatcherOptions) *Dispatcher {
	if !o.Shared {
		o.LeaseTTL = cmp.Or(o.LeaseTTL, time.Hour)
	}
	o.LeaseTTL = cmp.Or(o.LeaseTTL, 10*time.Second)
	o.Grace = cmp.Or(o.Grace, 20*time.Second)
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	d := &Dispatcher{
		store:        s,
		outbox:       out,
		options:      o,
		metrics:      o.Metrics,
		log:          o.Log,
		reads:        make(chan struct{}, readsAtOnce),
		backlogTurn:  make(chan struct{}, 1),
		leaseNow:     make(chan struct{}, 1),
		reconcileNow: make(chan struct{}, 1),
		lanes:        map[string]*lane{},
		switched:     map[string]switchState{},
		retention:    retentionSettings{o.Retention, o.Trims},
	}
	d.posting, d.abandon = context.WithCancel(context.Background())
	d.set.Store(&Set{})
	d.metrics.setLanes(d.gauges)
	return d
}

// Configure applies the webhooks of a new configuration. POSTs in flight end with their old
// settings. Pending deliveries of webhooks that were removed or have `enabled: false` are parked
// until those webhooks return.
func (d *Dispatcher) Configure(s *Set) {
	d.set.Store(s)
	d.mu.Lock()
	for name, l := range d.lanes {
		if s.named[name] == nil {
			l.configure(nil)
		}
	}
	for _, h := range s.hooks {
		l := d.lanes[h.Name]
		if l == nil {
			l = &lane{d: d, name: h.Name, switched: d.switched[h.Name], stopped: d.ended}
			d.lanes[h.Name] = l
		}
		l.configure(h)
	}
	d.mu.Unlock()
	d.outbox.lastFired.only(s)
	d.leaseSoon()
	d.reconcileSoon()
}

// Retain replaces the retention and the bounds on kinds of rows.
func (d *Dispatcher) Retain(r store.Retention, trims []store.Trim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retention = retentionSettings{r, trims}
}

func (d *Dispatcher) on() bool { return d.set.Load().on }

// Run delivers until ctx ends. Then it starts no more POSTs, gives those in flight the grace to end
// and be recorded, and releases the lanes.
func (d *Dispatcher) Run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() { d.keepLeases(background) })
	group.Go(func() { d.relayWakes(background) })
	group.Go(func() { d.maintain(background) })
	<-ctx.Done()
	d.drain()
	cancel()
	group.Wait()
	return d.release(context.WithoutCancel(ctx))
}

// drain stops the lanes and waits for POSTs in flight, at most for the grace.
func (d *Dispatcher) drain() {
	d.mu.Lock()
	d.ended = true
	for _, l := range d.lanes {
		l.stop()
	}
	d.mu.Unlock()
	timer := time.AfterFunc(d.options.Grace, d.abandon)
	d.work.Wait()
	timer.Stop()
	d.abandon()
}

func (d *Dispatcher) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := d.store.Release(ctx, d.laneNames(func(*lane) bool { return true }))
	if err != nil && !errors.Is(err, store.ErrClosed) {
		return fmt.Errorf("releasing lanes: %w", err)
	}
	return nil
}

func (d *Dispatcher) laneNames(which func(*lane) bool) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, l := range d.lanes {
		if which(l) {
			names = append(names, name)
		}
	}
	return names
}

// relayWakes passes the store's wakes to the lanes.
func (d *Dispatcher) relayWakes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w, ok := <-d.store.Wake():
			if !ok {
				return
			}
			d.wake(w)
		}
	}
}

// wake passes new deliveries to one lane, or makes every lane ask the store.
func (d *Dispatcher) wake(w store.Wake) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.Webhook != "" {
		if l := d.lanes[w.Webhook]; l != nil {
			l.addNew(w.New)
		}
		return
	}
	for _, l := range d.lanes {
		l.kick()
	}
}

// due asks the store which deliveries a lane may send. Lanes with a backlog ask one after the
// other.
func (d *Dispatcher) due(q store.DueQuery, backlog bool) ([]store.Delivery, time.Time, error) {
	if backlog && !d.options.Shared {
		defer d.takeBacklogTurn()()
	}
	ctx, end := d.read()
	defer end()
	found, next, err := d.store.DueDeliveries(ctx, q)
	if err == nil {
		d.noteRead(nil)
	}
	return found, next, err
}

// event returns the event of a delivery. The store returns it with the delivery if no payload is
// stored yet.
func (d *Dispatcher) event(v store.Delivery) (detect.Event, error) {
	stored := v.Event
	if stored == nil {
		var err error
		if stored, err = d.storedEvent(v.EventID); err != nil {
			return detect.Event{}, err
		}
	}
	if stored == nil || stored.Corrupt {
		return detect.Event{}, fmt.Errorf("%w: its event is not in the store", errUnrenderable)
	}
	e, err := d.outbox.cache.event(*stored)
	if err != nil {
		return detect.Event{}, fmt.Errorf("%w: %w", errUnrenderable, err)
	}
	return e, nil
}

// storedEvent returns nil if there is no such event.
func (d *Dispatcher) storedEvent(id string) (*store.Event, error) {
	ctx, end := d.read()
	defer end()
	found, err := d.store.Events(ctx, store.EventQuery{ID: id, Limit: 1})
	if errors.Is(err, store.ErrNotFound) || err == nil && len(found) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found[0], nil
}

func (d *Dispatcher) newerDelivered(v store.Delivery) (bool, error) {
	ctx, end := d.read()
	defer end()
	return d.store.NewerDelivered(ctx, v)
}

const readPatience = 10 * time.Second

// read waits until fewer than readsAtOnce reads are running. The caller calls the returned function
// when its read has ended.
func (d *Dispatcher) read() (context.Context, func()) {
	d.reads <- struct{}{}
	ctx, cancel := context.WithTimeout(d.posting, readPatience)
	return ctx, func() {
		cancel()
		<-d.reads
	}
}

// takeBacklogTurn waits for the turn of a lane with a backlog. After done is called, the next lane
// waits as long as this one took. So a thousand lanes with backlogs use a part of one core, and
// pushes find the rest free.
func (d *Dispatcher) takeBacklogTurn() (done func()) {
	d.backlogTurn <- struct{}{}
	begun := time.Now()
	return func() {
		time.AfterFunc(min(time.Since(begun), backlogPauseMost), func() { <-d.backlogTurn })
	}
}

const backlogPauseMost = 20 * time.Millisecond

// noteRead logs the first failed read of due deliveries, and the first one that succeeds again.
func (d *Dispatcher) noteRead(err error) {
	d.logHealthChange(d.readHealth.note(err), "reading what is due", err)
}

func (d *Dispatcher) noteWrite(err error) {
	d.logHealthChange(d.writing.note(err), "storing outcomes", err)
}

func (d *Dispatcher) logHealthChange(t healthChange, doing string, err error) {
	switch {
	case t == startedFailing && d.posting.Err() == nil:
		d.log.Error("deliveries held up: the store fails", zap.String("doing", doing), zap.Error(err))
	case t == recovered:
		d.log.Info("deliveries go on: the store works again", zap.String("doing", doing))
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (d *Dispatcher) leaseSoon()     { signal(d.leaseNow) }
func (d *Dispatcher) reconcileSoon() { signal(d.reconcileNow) }
