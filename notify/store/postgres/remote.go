package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// remote carries signals between replicas by LISTEN and NOTIFY. In case a pooler drops these, it
// also checks whether the sequences have moved, every second if no notification has arrived. NOTIFY
// is sent after the commit: within it, all commits of the database would wait for each other.
type remote struct {
	pool    *pool
	signals *engine.Signals
	self    string // this process among the senders

	mu    sync.Mutex
	lanes map[string]bool // lanes that have something to do, not sent yet
	news  bool
	some  chan struct{} // holds one element while there is something to send

	heard  bool     // the listener has heard this process's own message; guarded by mu
	counts [2]int64 // the last numbers of the sequences; used by poll alone
}

const (
	channel       = "bellbuoy"
	pollDeaf      = time.Second      // between polls while no notification is known to arrive
	pollHearing   = 10 * time.Second // between polls else
	notifiedLanes = 100              // with more in one message, all lanes are woken
)

// message is a notification between replicas.
type message struct {
	From  string   `json:"f"`
	Lanes []string `json:"l,omitempty"`
	News  bool     `json:"n,omitempty"`
}

func newRemote(pool *pool, s *engine.Signals) *remote {
	return &remote{pool: pool, signals: s, self: rand.Text(), lanes: make(map[string]bool), some: make(chan struct{}, 1)}
}

// tell adds the signals of a commit to those that will be sent. It does not wait.
func (r *remote) tell(g *engine.Group) {
	if len(g.Wakes) == 0 && !g.AnyNew {
		return
	}
	r.mu.Lock()
	for w := range g.Wakes {
		r.lanes[w] = true
	}
	r.news = r.news || g.AnyNew
	r.mu.Unlock()
	select {
	case r.some <- struct{}{}:
	default:
	}
}

func (r *remote) run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { r.send(ctx) })
	all.Go(func() { r.poll(ctx) })
	all.Go(func() { r.listen(ctx) })
	all.Wait()
}

func (r *remote) send(ctx context.Context) {
	for {
		select {
		case <-r.some:
		case <-ctx.Done():
			return
		}
		// If it is lost, the others find the changes by polling.
		_ = r.notify(ctx, r.take())
	}
}

func (r *remote) take() message {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := message{From: r.self, News: r.news}
	size := 0
	for w := range r.lanes {
		m.Lanes = append(m.Lanes, w)
		size += 2*len(w) + 3
	}
	if len(m.Lanes) > notifiedLanes || size > 7000 {
		m.Lanes = []string{""}
	}
	clear(r.lanes)
	r.news = false
	return m
}

func (r *remote) notify(ctx context.Context, m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return r.pool.with(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT pg_notify($1, $2)", channel, string(b))
		return err
	})
}

// poll checks whether anything was appended.
func (r *remote) poll(ctx context.Context) {
	for first := true; ; first = false {
		every := pollDeaf
		if r.isHearing() {
			every = pollHearing
		}
		if !first && !sleep(ctx, every) {
			return
		}
		r.look(ctx, first)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *remote) look(ctx context.Context, first bool) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	var now [2]int64
	err := r.pool.with(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT e.last_value, d.last_value FROM event_seq e, delivery_id d").Scan(&now[0], &now[1])
	})
	if err != nil {
		return
	}
	before := r.counts
	r.counts = now
	if first || now == before {
		return
	}
	// The transaction that has moved the sequences may commit only after this poll, and the
	// next one would see no move.
	r.signals.Announce()
	r.signals.WakeUp("")
	if sleep(ctx, pollDeaf/2) {
		r.signals.Announce()
		r.signals.WakeUp("")
	}
}

func (r *remote) isHearing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard
}

func (r *remote) setHearing(yes bool) {
	r.mu.Lock()
	r.heard = yes
	r.mu.Unlock()
}

// listen receives notifications on a connection of its own.
func (r *remote) listen(ctx context.Context) {
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		_ = r.hear(ctx)
		r.setHearing(false)
		if time.Since(began) > time.Minute {
			wait = firstWait
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// hear listens until the connection fails. Notifications are known to arrive once it has received a
// message of this process itself.
func (r *remote) hear(ctx context.Context) error {
	c, err := pgx.ConnectConfig(ctx, r.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer closeQuickly(c)
	if _, err := c.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	if err := r.notify(ctx, message{From: r.self}); err != nil {
		return err
	}
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		var m message
		if json.Unmarshal([]byte(n.Payload), &m) != nil {
			continue
		}
		if m.From == r.self {
			r.setHearing(true)
			continue
		}
		r.pass(m)
	}
}

func (r *remote) pass(m message) {
	for _, w := range m.Lanes {
		r.signals.WakeUp(w)
	}
	if m.News {
		r.signals.Announce()
	}
}
