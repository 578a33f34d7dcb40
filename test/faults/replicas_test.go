package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestChaosReplicas runs three bellbuoys on one PostgreSQL. Clients choose among them at random.
func TestChaosReplicas(t *testing.T) {
	short(t)
	long := length(t)
	s := newScene(t)
	pg := harness.Postgres(t)
	database := pg.Database(t, "chaos")
	more := fmt.Sprintf("database: %q", database)
	s.intents = func() int { return intentsIn(t, database) }
	var troubles []func(context.Context)
	for range 3 {
		k := s.launch(harness.BuoyOptions{}, more)
		troubles = append(troubles, func(ctx context.Context) { k.keep(ctx, 5*time.Second) })
	}
	s.play(long, append(troubles, func(ctx context.Context) {
		for pause(ctx, 4*time.Second+rand.N(5*time.Second)) {
			pg.Kill()
			s.databaseKills.Add(1)
			s.outages = append(s.outages, time.Now())
			pause(ctx, rand.N(time.Second))
			pg.Start()
			s.outages = append(s.outages, time.Now())
		}
	})...)
	s.verify()
	if kills := s.kills(); long >= time.Minute && kills < 50 || kills == 0 || s.databaseKills.Load() == 0 {
		t.Errorf("replicas were killed %d times, the database %d times", kills, s.databaseKills.Load())
	}
}

// intentsIn returns the number of intents in a database; 1 if the database does not answer.
func intentsIn(t *testing.T, database string) int {
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		return 1
	}
	defer conn.Close(t.Context())
	n := 1
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM state_rows WHERE kind = 'intent'").Scan(&n); err != nil {
		t.Logf("counting intents: %v", err)
		return 1
	}
	return n
}

// pair is two replicas and one webhook.
type pair struct {
	up       *gateway
	hooks    *harness.Receiver
	replicas []*harness.Buoy
}

func newPair(t *testing.T, webhook string) *pair {
	t.Helper()
	pg := harness.Postgres(t)
	p := &pair{up: newGateway(t, newShelf()), hooks: harness.NewReceiver(t)}
	database := pg.Database(t, "pair")
	for range 2 {
		p.replicas = append(p.replicas, harness.Bellbuoy(t, fmt.Sprintf(`
log: {level: info}
database: %q
upstreams: [{type: registry, url: %q}]
webhooks: [{name: one, url: %q, format: bellbuoy, events: ["*"], %s}]
`, database, p.up.URL, p.hooks.URL("/one"), webhook)))
	}
	return p
}

// owner returns the replica that made the last delivery, and the other one.
func (p *pair) owner(t *testing.T) (owner, other *harness.Buoy) {
	t.Helper()
	for i, b := range p.replicas {
		if n, ok := gauge(b, `bellbuoy_deliveries_total`); ok && n > 0 {
			return b, p.replicas[1-i]
		}
	}
	t.Fatal("no replica has made a delivery")
	return nil, nil
}

// A replica soon takes over the lane of a killed one, with its pending deliveries. (package notify
// tests how soon, in virtual time.)
func TestLaneMoves(t *testing.T) {
	short(t)
	t.Parallel()
	p := newPair(t, "timeout: 60s")
	x := &trial{t: t, up: p.up, hooks: p.hooks, wire: newWire(t, p.replicas[0].Host, p.replicas[1].Host)}
	x.try(x.push("v1", "one"), 201)
	p.hooks.Wait(1, patience)
	x.until("it is counted", func() bool {
		one, _ := gauge(p.replicas[0], "bellbuoy_deliveries_total")
		other, _ := gauge(p.replicas[1], "bellbuoy_deliveries_total")
		return one+other > 0
	})
	owner, other := p.owner(t)

	p.hooks.Hang("/one") // no post arrives from now on
	x.try(x.push("v2", "two"), 201)
	p.hooks.Wait(2, patience)
	x.try(x.push("v2", "three"), 201) // and the next one waits behind it
	p.hooks.Clear()
	p.hooks.Answer("/one", nil)
	killed := time.Now()
	owner.Kill9()
	x.wire.hosts = []string{other.Host}
	x.try(x.push("v3", "four"), 201)
	posts := p.hooks.Wait(3, patience)
	t.Logf("the lane moved within %v", posts[0].At.Sub(killed).Round(time.Millisecond))
	var order []string
	for _, post := range posts {
		order = append(order, post.Text("annotations.is"))
	}
	if got := strings.Join(order, " "); !before(order, "two", "three") {
		t.Errorf("delivered in the order %s", got)
	}
}

func before(list []string, a, b string) bool {
	at := map[string]int{}
	for i, s := range list {
		at[s] = i + 1
	}
	return at[a] > 0 && at[a] < at[b]
}

// A replica soon settles the open intents of a killed one.
func TestIntentMoves(t *testing.T) {
	short(t)
	t.Parallel()
	p := newPair(t, "timeout: 60s")
	x := &trial{t: t, up: p.up, hooks: p.hooks, wire: newWire(t, p.replicas[0].Host)}
	p.up.next(stuck)
	d := x.push("v1", "one")
	var group sync.WaitGroup
	group.Go(func() { x.wire.send(t.Context(), d, 1) })
	x.until("the upstream has it", func() bool { return p.up.has(d.request(1)) })
	killed := time.Now()
	p.replicas[0].Kill9()
	group.Wait()
	post := p.hooks.Wait(1, patience)[0]
	t.Logf("found out and delivered within %v", post.At.Sub(killed).Round(time.Millisecond))
	if post.Field("inferred") != true || post.Text("digest") != d.digest {
		t.Errorf("got the post %s", post.Body)
	}
	p.hooks.Quiet(500 * time.Millisecond)
}

// A replica does not settle the open intents of a running one.
func TestLiveIntentStays(t *testing.T) {
	short(t)
	t.Parallel()
	p := newPair(t, "timeout: 60s")
	asked := make(chan string, 100)
	p.up.setPlan(func(r *http.Request) fault {
		if writes(r) {
			return stuck
		}
		if strings.HasPrefix(r.UserAgent(), "bellbuoy/") {
			asked <- r.Method + " " + r.URL.Path
		}
		return fine
	})
	x := &trial{t: t, up: p.up, hooks: p.hooks, wire: newWire(t, p.replicas[0].Host)}
	d := x.push("v1", "one")
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { x.wire.send(ctx, d, 1) })
	x.until("the upstream has it", func() bool { return p.up.has(d.request(1)) })
	for len(asked) > 0 {
		<-asked // the look-up before the write
	}
	select {
	case what := <-asked:
		t.Errorf("the upstream was asked for %s during a write that is in flight", what)
	case <-time.After(12 * time.Second):
	}
	p.hooks.Quiet(time.Millisecond)
	cancel()
	p.up.kill()
	group.Wait()
	p.up.setPlan(nil)
	p.up.Start()
	p.hooks.Wait(1, patience)
}
