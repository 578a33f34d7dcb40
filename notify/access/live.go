package access

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// sessionCheck is how often the session of a long request is looked up again, because another
// replica may have ended it.
const sessionCheck = 15 * time.Second

// liveRequests holds the requests of accounts that are being served.
type liveRequests struct {
	mu  sync.Mutex
	all map[*liveRequest]struct{}
}

type liveRequest struct {
	visit
	end context.CancelFunc
}

func (l *liveRequests) add(one *liveRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[*liveRequest]struct{}{}
	}
	l.all[one] = struct{}{}
}

func (l *liveRequests) remove(one *liveRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, one)
}

// endWhere ends the requests for which ended is true.
func (l *liveRequests) endWhere(ended func(visit) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := range l.all {
		if ended(one.visit) {
			one.end()
		}
	}
}

// serveAs serves a request of an account. The request's context ends when the account is changed or
// removed, or its session ends, so that a stream of events does not outlive the permission for it.
func (d *Door) serveAs(v visit, w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx, end := context.WithCancel(r.Context())
	defer end()
	one := &liveRequest{v, end}
	d.live.add(one)
	defer d.live.remove(one)
	if !v.stillValid(d.accounts.Load()) { // the account has changed since it was found
		end()
	}
	if v.session != "" {
		go d.watchSession(ctx, v.session, end)
	}
	next.ServeHTTP(w, withVisit(r.WithContext(ctx), v))
}

// watchSession calls end when a session has ended. It returns when ctx ends.
func (d *Door) watchSession(ctx context.Context, id string, end func()) {
	again := time.NewTicker(sessionCheck)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			if _, ok := d.sessions.find(ctx, id, time.Now()); !ok {
				end()
			}
		}
	}
}

// endSession removes a session and ends its requests.
func (d *Door) endSession(ctx context.Context, id string) error {
	err := d.sessions.end(ctx, id)
	d.live.endWhere(func(v visit) bool { return v.session == id })
	return err
}

// hasUser returns a function that reports whether accounts have the same entry for a user.
func hasUser(u User) func(*Accounts) bool {
	return func(a *Accounts) bool {
		return slices.ContainsFunc(a.Users, func(o User) bool {
			return o.Name == u.Name && o.Hash == u.Hash && slices.Equal(o.Projects, u.Projects)
		})
	}
}

// hasToken returns a function that reports whether accounts have the same entry for a token.
func hasToken(t Token) func(*Accounts) bool {
	return func(a *Accounts) bool {
		return slices.ContainsFunc(a.Tokens, func(o Token) bool {
			return o.Name == t.Name && o.Secret == t.Secret && slices.Equal(o.Projects, t.Projects)
		})
	}
}

// hasNone reports whether no account is configured. OwnToken is valid only then.
func hasNone(a *Accounts) bool { return len(a.Users)+len(a.Tokens) == 0 }

// always is used for accounts that the configuration does not list. It returns true.
func always(*Accounts) bool { return true }
