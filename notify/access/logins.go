package access

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
)

const (
	mostFailures   = 10 // failed logins of a network within failuresFor
	failuresFor    = time.Minute
	knownAddresses = 4096
	knownPasswords = 64
)

// logins limits guesses of passwords and tokens. A network with ten failures within a minute must
// wait. Only a few passwords are checked at a time, those of networks without failures first.
// newLogins makes one.
type logins struct {
	mu        sync.Mutex
	addresses *lru.Cache[netip.Addr, *clientLogins]
	busy      int // passwords being checked
	waiting   waiters
	arrivals  int // waiters so far

	compare func(hash, password []byte) error // bcrypt's
	most    int                               // passwords checked at a time
	// matching hashes and passwords, because bcrypt is slow by design
	right *lru.Cache[[sha256.Size]byte, struct{}]
}

// clientLogins holds the logins of a network.
type clientLogins struct {
	failed  []time.Time // of the last minute, oldest first
	pending int
}

func newLogins() *logins {
	// fails only for sizes below one
	addresses, _ := lru.New[netip.Addr, *clientLogins](knownAddresses)
	right, _ := lru.New[[sha256.Size]byte, struct{}](knownPasswords)
	return &logins{addresses: addresses, right: right, compare: bcrypt.CompareHashAndPassword, most: max(1, runtime.GOMAXPROCS(0)/4)}
}

// try runs check for a client, unless the client has failed too often; after is then the time until
// it may try again. A login counts as a failure until its check succeeds.
func (l *logins) try(client netip.Addr, check func(rank int) bool) (ok bool, after time.Duration) {
	t, rank, after := l.begin(client, time.Now())
	if after > 0 {
		return false, after
	}
	defer func() { l.end(t, ok, time.Now()) }()
	return check(rank), 0
}

func (l *logins) begin(client netip.Addr, now time.Time) (t *clientLogins, rank int, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.addresses.Get(client)
	if !ok {
		t = &clientLogins{}
		l.addresses.Add(client, t)
	}
	for len(t.failed) > 0 && now.Sub(t.failed[0]) >= failuresFor {
		t.failed = t.failed[1:]
	}
	rank = len(t.failed) + t.pending
	if rank < mostFailures {
		t.pending++
		return t, rank, 0
	}
	if len(t.failed) == 0 {
		return t, rank, time.Second // all its logins are being checked
	}
	return t, rank, failuresFor - now.Sub(t.failed[0])
}

func (l *logins) end(t *clientLogins, ok bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.pending--
	if !ok {
		t.failed = append(t.failed, now)
	}
}

// user returns the user with a name and password. It takes as long for unknown names as for known
// ones.
func (l *logins) user(ctx context.Context, users []User, name, password string, rank int) (found User, ok bool) {
	dearest := 0
	for _, u := range users {
		dearest = max(dearest, costOf(u.Hash))
		if constantTimeEqual(name, u.Name) {
			found = u
		}
	}
	hash := cmp.Or(found.Hash, dummyHash(dearest))
	sum := sha256.Sum256([]byte(hash + "\x00" + password))
	if l.right.Contains(sum) {
		return found, true
	}
	if dearest == 0 || !l.acquire(ctx, rank) {
		return User{}, false
	}
	defer l.release()
	if l.compare([]byte(hash), []byte(password)) == nil && found.Name != "" {
		l.right.Add(sum, struct{}{})
		return found, true
	}
	// a check of cost n takes 2ⁿ steps: together these take as many as the dearest check
	for cost := costOf(hash); cost < dearest; cost++ {
		_ = l.compare([]byte(dummyHash(cost)), []byte(password))
	}
	return User{}, false
}

// dummyHash returns a hash of a cost that matches no known password.
func dummyHash(cost int) string { return fmt.Sprintf("$2a$%02d$", cost) + strings.Repeat(".", 53) }

func costOf(hash string) int {
	cost, _ := bcrypt.Cost([]byte(hash)) // the configuration checks hashes
	return cost
}

// constantTimeEqual compares in constant time, even if the lengths differ.
func constantTimeEqual(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return b != "" && subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// waiter waits until a password may be checked.
type waiter struct {
	rank, number int
	turn         chan struct{} // closed when its turn comes
}

// waiters is a heap: the lowest rank first, among equals the oldest.
type waiters []*waiter

func (w waiters) Len() int { return len(w) }

func (w waiters) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(w[i].rank, w[j].rank), cmp.Compare(w[i].number, w[j].number)) < 0
}

func (w waiters) Swap(i, j int) { w[i], w[j] = w[j], w[i] }

// Push implements heap.Interface.
func (w *waiters) Push(x any) { *w = append(*w, x.(*waiter)) }

// Pop implements heap.Interface.
func (w *waiters) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

// acquire waits for a turn; false if ctx ended first.
func (l *logins) acquire(ctx context.Context, rank int) bool {
	l.mu.Lock()
	if l.busy < l.most {
		l.busy++
		l.mu.Unlock()
		return true
	}
	l.arrivals++
	w := &waiter{rank, l.arrivals, make(chan struct{})}
	heap.Push(&l.waiting, w)
	l.mu.Unlock()
	select {
	case <-w.turn:
		return true
	case <-ctx.Done():
	}
	l.mu.Lock()
	for i, other := range l.waiting {
		if other == w {
			heap.Remove(&l.waiting, i)
			l.mu.Unlock()
			return false
		}
	}
	l.mu.Unlock()
	l.release() // the turn came when ctx ended
	return false
}

// release passes the turn to the first waiter.
func (l *logins) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.busy--
		return
	}
	close(heap.Pop(&l.waiting).(*waiter).turn)
}
