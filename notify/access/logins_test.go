package access

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// request sends a request with an Authorization from an address.
func request(g *Door, address, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	r.Host, r.RemoteAddr = "localhost:5082", address+":1234"
	r.Header.Set("Authorization", authorization)
	w := httptest.NewRecorder()
	g.Handler(administrators).ServeHTTP(w, r)
	return w
}

func basicAuth(name, password string) string {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth(name, password)
	return r.Header.Get("Authorization")
}

const bearer = "Bearer 0123456789012345678901234567890123456789"

// newDoor returns a door with the users ops (password "right", a hash of the cost) and cheap (a
// hash of the lowest cost), and a token.
func newDoor(t *testing.T, cost int) *Door {
	t.Helper()
	hash := func(cost int) string {
		b, err := bcrypt.GenerateFromPassword([]byte("right"), cost)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	g := New(Options{Caller: peer, Loopback: true, Refuse: refuse})
	g.Configure(Accounts{
		Users:  []User{{Name: "ops", Hash: hash(cost)}, {Name: "cheap", Hash: hash(bcrypt.MinCost)}},
		Tokens: []Token{{Name: "ci", Secret: strings.TrimPrefix(bearer, "Bearer ")}},
	})
	return g
}

// TestFailedLogins: after ten failures within a minute, by any scheme, an address must wait. Others
// need not.
func TestFailedLogins(t *testing.T) {
	g := newDoor(t, bcrypt.MinCost)
	synctest.Test(t, func(t *testing.T) {
		for i := range mostFailures {
			wrong := []string{basicAuth("ops", "wrong"), basicAuth("nobody", "x"), "Bearer wrong", "Digest x"}[i%4]
			if w := request(g, "192.0.2.1", wrong); w.Code != http.StatusUnauthorized {
				t.Errorf("failure %d: %d", i, w.Code)
			}
			time.Sleep(time.Second)
		}
		for _, login := range []string{basicAuth("ops", "wrong"), basicAuth("ops", "right"), bearer} {
			if w := request(g, "192.0.2.1", login); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "50" {
				t.Errorf("after ten failures: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		}
		for _, login := range []string{basicAuth("ops", "right"), bearer} {
			if w := request(g, "192.0.2.2", login); w.Code != http.StatusOK {
				t.Errorf("another address: %d", w.Code)
			}
		}
		time.Sleep(50 * time.Second)
		for range 3 { // correct logins are no failures
			if w := request(g, "192.0.2.1", basicAuth("ops", "right")); w.Code != http.StatusOK {
				t.Errorf("a minute after the first failure: %d", w.Code)
			}
		}
	})
}

// TestFailedLoginsOfANetwork: all addresses of an IPv6 /64 count as one client.
func TestFailedLoginsOfANetwork(t *testing.T) {
	g := newDoor(t, bcrypt.MinCost)
	for i := range mostFailures {
		request(g, fmt.Sprintf("[2001:db8::%d]", i+1), "Bearer wrong")
	}
	if w := request(g, "[2001:db8::ffff]", bearer); w.Code != http.StatusTooManyRequests {
		t.Errorf("an address of the same network: %d", w.Code)
	}
	if w := request(g, "[2001:db8:0:1::1]", bearer); w.Code != http.StatusOK {
		t.Errorf("an address of another network: %d", w.Code)
	}
}

// TestRefusalsTakeEqualWork: refusing an unknown name takes as much work as refusing a known one,
// whatever the cost of its hash.
func TestRefusalsTakeEqualWork(t *testing.T) {
	g := newDoor(t, 9)
	work := 0
	compare := g.logins.compare
	g.logins.compare = func(hash, password []byte) error {
		work += 1 << costOf(string(hash))
		return compare(hash, password)
	}
	for i, name := range []string{"ops", "nobody", "cheap", ""} {
		work = 0
		if w := request(g, fmt.Sprintf("192.0.2.%d", i), basicAuth(name, "wrong")); w.Code != http.StatusUnauthorized || work != 1<<9 {
			t.Errorf("%q: %d after work of %d, want 401 after %d", name, w.Code, work, 1<<9)
		}
	}
}

// TestGuessesWaitForOthers: logins of addresses without failures are checked before guesses of
// addresses that have failed.
func TestGuessesWaitForOthers(t *testing.T) {
	l := newLogins()
	l.most = 1
	if !l.acquire(t.Context(), 0) { // a check in progress
		t.Fatal("no turn")
	}
	var order []int
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, rank := range []int{3, 1, 9, 0} {
		waiting := l.waitingCount()
		all.Go(func() {
			if l.acquire(t.Context(), rank) {
				mu.Lock()
				order = append(order, rank)
				mu.Unlock()
				l.release()
			}
		})
		for l.waitingCount() == waiting {
			time.Sleep(time.Millisecond)
		}
	}
	l.release()
	all.Wait()
	if fmt.Sprint(order) != "[0 1 3 9]" {
		t.Errorf("order of the ranks: %v", order)
	}
}

func (l *logins) waitingCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}

// TestRightPasswordAmongGuesses: a correct login from an address without failures waits for few of
// forty guesses that came before it.
func TestRightPasswordAmongGuesses(t *testing.T) {
	g := newDoor(t, 6)
	g.logins.most = 1
	var checks atomic.Int64
	compare := g.logins.compare
	g.logins.compare = func(hash, password []byte) error {
		checks.Add(1)
		return compare(hash, password)
	}
	if !g.logins.acquire(t.Context(), 0) { // so that all of them wait
		t.Fatal("no turn")
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() { request(g, fmt.Sprintf("192.0.2.%d", i%4), basicAuth("ops", fmt.Sprint(i))) })
	}
	for g.logins.waitingCount() < 40 {
		time.Sleep(time.Millisecond)
	}
	all.Go(func() {
		if w := request(g, "192.0.2.50", basicAuth("ops", "right")); w.Code != http.StatusOK {
			t.Errorf("the right password: %d", w.Code)
		}
		if n := checks.Load(); n > 10 {
			t.Errorf("the right password waited for %d checks", n)
		}
	})
	for g.logins.waitingCount() < 41 {
		time.Sleep(time.Millisecond)
	}
	g.logins.release()
	all.Wait()
}
