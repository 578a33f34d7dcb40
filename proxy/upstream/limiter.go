package upstream

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Limiter limits how many look-ups each client may cause. It keeps a bounded number of clients, the
// most recent ones. A client that was dropped starts with a full burst. It is safe for concurrent
// use.
type Limiter struct {
	every rate.Limit
	burst int

	mu      sync.Mutex // guards the get-or-add of clients
	clients *lru.Cache[string, *rate.Limiter]
}

// NewLimiter returns a Limiter that allows each client burst look-ups at once and perSecond in the
// long run. It keeps maxClients, at least one.
func NewLimiter(perSecond rate.Limit, burst, maxClients int) *Limiter {
	clients, err := lru.New[string, *rate.Limiter](max(maxClients, 1))
	if err != nil {
		panic(err) // the size is positive
	}
	return &Limiter{every: perSecond, burst: burst, clients: clients}
}

// Allow reports whether client may cause one more look-up now, and counts it.
func (l *Limiter) Allow(client string) bool { return l.of(client).Allow() }

// AllowN reports whether client may cause n more look-ups now, and counts them; more than the burst
// count as the burst.
func (l *Limiter) AllowN(client string, n int) bool {
	return l.of(client).AllowN(time.Now(), min(n, l.burst))
}

// Spent reports whether client may cause no look-up now. It counts nothing. It lets the caller skip
// the preparation of a look-up.
func (l *Limiter) Spent(client string) bool { return l.of(client).Tokens() < 1 }

func (l *Limiter) of(client string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.clients.Get(client); ok {
		return known
	}
	fresh := rate.NewLimiter(l.every, l.burst)
	l.clients.Add(client, fresh)
	return fresh
}
