package access

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Client is the client of a request, behind the proxies that are trusted.
type Client struct {
	// Network is the client's address, of IPv6 the network of 64 bits. Failed logins are
	// counted by it.
	Network netip.Addr
}

// Options of a Gate.
type Options struct {
	// Client returns the client of a request.
	Client func(*http.Request) Client
	// Loopback: only this machine reaches the listener.
	Loopback bool
	// OwnToken is accepted on loopback while no account is configured.
	OwnToken string
	// Refuse answers a request that may not pass.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, message string)
}

// Gate lets requests of known accounts pass. New makes one; Configure gives it its accounts.
type Gate struct {
	Options
	accounts atomic.Pointer[Accounts]
	logins   *logins
}

// New returns a gate without accounts.
func New(o Options) *Gate {
	g := &Gate{Options: o, logins: newLogins()}
	g.accounts.Store(&Accounts{})
	return g
}

// Configure replaces the accounts.
func (g *Gate) Configure(a Accounts) { g.accounts.Store(&a) }

// Handler returns next behind the gate.
func (g *Gate) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, next) })
}

func (g *Gate) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	switch {
	case g.Loopback && !localName(r.Host):
		g.Refuse(w, r, http.StatusForbidden, "Host: only localhost and IP addresses are accepted here")
		return
	case foreignOrigin(r):
		g.Refuse(w, r, http.StatusForbidden, "Origin: requests of other sites are refused")
		return
	}
	who, after := g.byHeader(r)
	switch {
	case after > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		g.Refuse(w, r, http.StatusTooManyRequests, "too many failed logins from this address; try again later")
	case !who.Knows():
		w.Header().Set("WWW-Authenticate", `Basic realm="bellbuoy"`)
		g.Refuse(w, r, http.StatusUnauthorized, "a user of admin.users or a token of admin.tokens is required; without them, the content of "+TokenFile+" in data_dir as bearer token")
	default:
		next.ServeHTTP(w, WithPrincipal(r, who))
	}
}

// byHeader returns the account of a request's Authorization; the zero Principal if it is wrong or
// missing. If its client has failed too often, after is when it may try again.
func (g *Gate) byHeader(r *http.Request) (who Principal, after time.Duration) {
	if r.Header.Get("Authorization") == "" {
		return who, 0
	}
	_, after = g.logins.try(g.Client(r).Network, func(rank int) bool {
		who = g.account(r, g.accounts.Load(), rank)
		return who.Knows()
	})
	return who, after
}

// account returns the account of a request's Authorization; the zero Principal if there is none.
func (g *Gate) account(r *http.Request, a *Accounts, rank int) (who Principal) {
	if bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); isBearer {
		if len(a.Users)+len(a.Tokens) == 0 && g.Loopback && constantTimeEqual(bearer, g.OwnToken) {
			return Principal{Name: TokenFile, Administrator: true}
		}
		for _, t := range a.Tokens {
			if constantTimeEqual(bearer, t.Secret) {
				who = limitedTo(t.Name, t.Projects)
			}
		}
		return who
	}
	name, password, isBasic := r.BasicAuth()
	if !isBasic {
		return who
	}
	if user, ok := g.logins.user(r.Context(), a.Users, name, password, rank); ok {
		who = limitedTo(user.Name, user.Projects)
	}
	return who
}

// localName reports whether a Host names this machine only for its own users.
func localName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

func foreignOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
