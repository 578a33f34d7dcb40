package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// LoginPath is the path of the login page.
	LoginPath = "/login"
	// OncePath is the path of the address that `bellbuoy console` prints, with the query
	// `ticket`.
	OncePath = "/login/once"

	// consoleName is the name of the account of `bellbuoy console`.
	consoleName = "bellbuoy console"

	longestNext = 2048 // bytes
)

// Errors of a login.
var (
	ErrLogin  = errors.New("the user or the password is wrong")
	ErrTicket = errors.New("this address was used already, or is older than a minute; run `bellbuoy console` again")
)

// TooManyError is the error of a login by a client that has failed too often.
type TooManyError struct{ After time.Duration }

func (e TooManyError) Error() string {
	return fmt.Sprintf("too many failed logins from this address; try again in %d s", seconds(e.After))
}

// StatusOf returns the HTTP status for an error of LogIn, LogInOnce or LogOut.
func StatusOf(err error) int {
	switch _, tooMany := errors.AsType[TooManyError](err); {
	case tooMany:
		return http.StatusTooManyRequests
	case errors.Is(err, ErrLogin), errors.Is(err, ErrTicket):
		return http.StatusUnauthorized
	}
	return http.StatusServiceUnavailable
}

// LogIn begins a session of a user. Its error is ErrLogin, a TooManyError (it then sets
// Retry-After), or an error of the store with a text for the user.
func (d *Door) LogIn(w http.ResponseWriter, r *http.Request, name, password string) error {
	caller := d.Caller(r)
	var user User
	ok, after := d.logins.try(caller.network(), func(rank int) (ok bool) {
		user, ok = d.logins.user(r.Context(), d.accounts.Load().Users, name, password, rank)
		return ok
	})
	switch {
	case after > 0:
		setRetryAfter(w, after)
		return TooManyError{after}
	case !ok:
		d.Log.Warn("login failed", zap.Stringer("address", caller.Address))
		return ErrLogin
	}
	return d.begin(w, r, session{User: user.Name, Print: user.print()}, user.Name)
}

// LogInOnce begins an administrator's session for a ticket of Ticket. Its error is ErrTicket, or
// an error of the store with a text for the user. A HEAD or a browser's prefetch does not use the
// ticket up.
func (d *Door) LogInOnce(w http.ResponseWriter, r *http.Request, ticket string) error {
	looks := r.Method != http.MethodGet || r.Header.Get("Sec-Purpose") != ""
	if looks || !d.tickets.use(ticket, time.Now()) {
		return ErrTicket
	}
	return d.begin(w, r, session{}, consoleName)
}

func (d *Door) begin(w http.ResponseWriter, r *http.Request, s session, account string) error {
	now := time.Now()
	caller := d.Caller(r)
	s.Made, s.Used, s.Host = now, now, hostName(r, caller)
	key, err := d.sessions.begin(r.Context(), s)
	if err != nil {
		d.Log.Warn("session not stored", zap.String("account", account), zap.Error(err))
		return errNoStore
	}
	if old, ok := cookieOf(r, caller); ok {
		if err := d.endSession(r.Context(), old.id()); err != nil {
			d.Log.Warn("earlier session not ended", zap.String("account", account), zap.Error(err))
		}
	}
	http.SetCookie(w, newCookie(key.String(), caller))
	d.Log.Info("login", zap.String("account", account), zap.Stringer("address", caller.Address))
	return nil
}

// LogOut ends the session of a request. It does nothing if the request has none.
func (d *Door) LogOut(w http.ResponseWriter, r *http.Request) error {
	v := visitOf(r.Context())
	if v.session == "" {
		return nil
	}
	caller := d.Caller(r)
	gone := newCookie("", caller)
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	if err := d.endSession(r.Context(), v.session); err != nil {
		d.Log.Warn("session not ended", zap.String("account", v.Name), zap.Error(err))
		return errors.New("the logout could not be stored; try again")
	}
	d.Log.Info("logout", zap.String("account", v.Name), zap.Stringer("address", caller.Address))
	return nil
}

// newCookie returns the cookie of a session. With TLS its name has the prefix that makes browsers
// accept it from this host only.
func newCookie(value string, c Caller) *http.Cookie {
	return &http.Cookie{Name: cookieName(c), Value: value, Path: "/", HttpOnly: true, Secure: c.HTTPS, SameSite: http.SameSiteStrictMode}
}

func cookieName(c Caller) string {
	if c.HTTPS {
		return "__Host-bellbuoy"
	}
	return "bellbuoy"
}

// hostName returns the name of this server in a request, without the port: browsers send a cookie
// to every port of a host.
func hostName(r *http.Request, c Caller) string {
	host := cmp.Or(c.Host, r.Host)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// cookieOf returns the secret in a request's cookie.
func cookieOf(r *http.Request, c Caller) (secret, bool) {
	cookies := r.CookiesNamed(cookieName(c))
	if len(cookies) != 1 {
		return secret{}, false
	}
	return parseSecret(cookies[0].Value)
}

// bySession returns the account of a request's session. It ends a session whose user was changed or
// removed.
func (d *Door) bySession(r *http.Request) (v visit, ok bool) {
	key, ok := cookieOf(r, d.Caller(r))
	if !ok {
		return v, false
	}
	now, id := time.Now(), key.id()
	s, ok := d.sessions.find(r.Context(), id, now)
	if !ok || s.Host != hostName(r, d.Caller(r)) {
		return v, false
	}
	v, ok = d.sessionAccount(s)
	if !ok {
		if err := d.endSession(r.Context(), id); err != nil {
			d.Log.Warn("session of a changed account not ended", zap.String("account", s.User), zap.Error(err))
		}
		return visit{}, false
	}
	if err := d.sessions.touch(r.Context(), id, s, now); err != nil {
		d.Log.Debug("use of a session not stored", zap.String("account", v.Name), zap.Error(err))
	}
	v.session, v.formToken = id, key.formToken()
	return v, true
}

// sessionAccount returns the account of a session; false if its user was changed or removed.
func (d *Door) sessionAccount(s session) (visit, bool) {
	if s.User == "" {
		return visit{Principal: Principal{Name: consoleName, Administrator: true}, stillValid: always}, true
	}
	users := d.accounts.Load().Users
	i := slices.IndexFunc(users, func(u User) bool { return u.Name == s.User && u.print() == s.Print })
	if i < 0 {
		return visit{}, false
	}
	return visit{Principal: limitedTo(users[i].Name, users[i].Projects), stillValid: hasUser(users[i])}, true
}

// print returns a hash of the user's entry in the configuration.
func (u User) print() string {
	text, _ := json.Marshal(u) // of strings alone: never fails
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Next returns the path to which a login leads: `next` of the form or the query if it is a path on
// this host, else "/".
func Next(r *http.Request) string {
	return localPath(cmp.Or(r.PostFormValue("next"), r.URL.Query().Get("next")))
}

func localPath(next string) string {
	u, err := url.Parse(next)
	odd := func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }
	switch {
	case err != nil, len(next) > longestNext, strings.ContainsFunc(next, odd):
	case u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "":
	case !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//"):
	case u.Path == LoginPath || strings.HasPrefix(u.Path, LoginPath+"/"):
	default:
		return next
	}
	return "/"
}

type visitKey struct{}

// visit is the account of a request, with the session or the entry by which the door found it.
type visit struct {
	Principal
	session    string // its ID; "": there is none
	formToken  string
	stillValid func(*Accounts) bool // reports whether accounts still have the same entry
}

func withVisit(r *http.Request, v visit) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
}

func visitOf(ctx context.Context) visit {
	v, _ := ctx.Value(visitKey{}).(visit)
	return v
}
