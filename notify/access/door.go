package access

import (
	"html"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Caller is the client of a request, in front of trusted proxies.
type Caller struct {
	Address netip.Addr // zero if unknown
	HTTPS   bool       // the caller connected by TLS
	Host    string     // the name of this server in the caller's request
}

// network returns the network for which failed logins are counted: an IPv4 address, or an IPv6 /64.
func (c Caller) network() netip.Addr {
	if c.Address.Is6() && !c.Address.Is4In6() {
		return netip.PrefixFrom(c.Address.WithZone(""), 64).Masked().Addr()
	}
	return c.Address.Unmap()
}

// Options configures a Door. All fields but Public and OwnToken are required.
type Options struct {
	// Caller returns the client of a request.
	Caller func(*http.Request) Caller
	// Loopback means that only this machine reaches the listener.
	Loopback bool
	// OwnToken is accepted on loopback while no account is configured.
	OwnToken string
	// Refuse answers a request that may not pass.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, message string)
	// Public lists the paths that need no account. A path that ends in "/" includes the paths
	// below it.
	Public []string
	Rows   SessionRows // holds the sessions
	Log    *zap.Logger
}

// Door lets requests of known accounts pass. New makes one, and Configure sets the accounts.
type Door struct {
	Options
	accounts atomic.Pointer[Accounts]
	logins   *logins
	sessions *sessionStore
	tickets  tickets
	live     liveRequests
}

// New returns a door without accounts.
func New(o Options) *Door {
	d := &Door{Options: o, logins: newLogins(), sessions: newSessions(o.Rows)}
	d.accounts.Store(&Accounts{})
	return d
}

// Configure replaces the accounts. It ends the requests of accounts that have changed.
func (d *Door) Configure(a Accounts) {
	d.accounts.Store(&a)
	d.live.endWhere(func(v visit) bool { return !v.stillValid(&a) })
}

// HasUsers reports whether somebody can log in with a password.
func (d *Door) HasUsers() bool { return len(d.accounts.Load().Users) > 0 }

// Handler wraps next in the door.
func (d *Door) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, next) })
}

func (d *Door) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	switch {
	case d.Loopback && !localName(r.Host):
		d.Refuse(w, r, http.StatusForbidden, "Host: only localhost and IP addresses are accepted here")
	case d.foreignOrigin(r):
		d.Refuse(w, r, http.StatusForbidden, "Origin: requests of other sites are refused")
	case r.Header.Get("Authorization") != "" && !d.public(r.URL.Path):
		d.serveLogin(w, r, next)
	default:
		d.serveSession(w, r, next)
	}
}

// serveLogin serves a request with an Authorization header.
func (d *Door) serveLogin(w http.ResponseWriter, r *http.Request, next http.Handler) {
	var v visit
	_, after := d.logins.try(d.Caller(r).network(), func(rank int) bool {
		v = d.account(r, d.accounts.Load(), rank)
		return v.Knows()
	})
	switch {
	case after > 0:
		setRetryAfter(w, after)
		d.Refuse(w, r, http.StatusTooManyRequests, "too many failed logins from this address; try again later")
	case !v.Knows():
		d.unauthorized(w, r)
	default:
		d.serveAs(v, w, r, next)
	}
}

// serveSession serves a request without an Authorization header.
func (d *Door) serveSession(w http.ResponseWriter, r *http.Request, next http.Handler) {
	v, known := d.bySession(r)
	public := d.public(r.URL.Path)
	if known || public {
		w.Header().Set("Cache-Control", "no-store") // pages may set a different value
	}
	switch {
	case !known && !public && d.page(r):
		d.askLogin(w, r)
	case !known && !public:
		d.unauthorized(w, r)
	case changes(r) && r.Header.Get("Origin") == "":
		d.Refuse(w, r, http.StatusForbidden, "Origin: a change without one needs HTTP Basic or a token")
	case changes(r) && !public && !provesForm(w, r, v.formToken):
		d.Refuse(w, r, http.StatusForbidden, "the form belongs to another session; reload the page and try again")
	default:
		if public && changes(r) {
			r.Body = http.MaxBytesReader(w, r.Body, longestLogin)
		}
		if !known {
			next.ServeHTTP(w, r)
			return
		}
		d.serveAs(v, w, r, next)
	}
}

const longestLogin = 64 << 10 // bytes of the login form

func (d *Door) unauthorized(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="bellbuoy"`)
	d.Refuse(w, r, http.StatusUnauthorized, "a user of admin.users or a token of admin.tokens is required; without them, the content of "+TokenFile+" in data_dir as bearer token")
}

func (d *Door) public(path string) bool {
	return slices.ContainsFunc(d.Public, func(p string) bool {
		return path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p)
	})
}

// page reports whether a browser asks for a page, and there is a login page.
func (d *Door) page(r *http.Request) bool {
	return d.public(LoginPath) && !strings.HasPrefix(r.URL.Path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// askLogin sends a browser to the login page. A browser that follows another site's link sends no
// cookie, because of SameSite=Strict. It gets a page of this host that repeats the request.
func (d *Door) askLogin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	next := "/"
	if r.Method == http.MethodGet {
		next = localPath(r.URL.RequestURI())
	}
	if site := r.Header.Get("Sec-Fetch-Site"); r.Method == http.MethodGet && (site == "cross-site" || site == "same-site") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Refresh", "0;url="+next)
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>bellbuoy</title><a href="`+html.EscapeString(next)+`">Continue</a></html>`)
		return
	}
	to := LoginPath
	if next != "/" {
		to += "?next=" + url.QueryEscape(next)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// account returns the account of a request's Authorization, or the zero visit.
func (d *Door) account(r *http.Request, a *Accounts, rank int) (v visit) {
	if bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); isBearer {
		if hasNone(a) && d.Loopback && constantTimeEqual(bearer, d.OwnToken) {
			return visit{Principal: Principal{Name: TokenFile, Administrator: true}, stillValid: hasNone}
		}
		for _, t := range a.Tokens {
			if constantTimeEqual(bearer, t.Secret) {
				v = visit{Principal: limitedTo(t.Name, t.Projects), stillValid: hasToken(t)}
			}
		}
		return v
	}
	name, password, isBasic := r.BasicAuth()
	if !isBasic {
		return v
	}
	if user, ok := d.logins.user(r.Context(), a.Users, name, password, rank); ok {
		v = visit{Principal: limitedTo(user.Name, user.Projects), stillValid: hasUser(user)}
	}
	return v
}

// localName reports whether a Host names this machine only for its own users.
func localName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

func (d *Door) foreignOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) && !strings.EqualFold(u.Host, d.Caller(r).Host)
}

func setRetryAfter(w http.ResponseWriter, after time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds(after)))
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
