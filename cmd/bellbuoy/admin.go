package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/proxy"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// adminGate authorises requests to the admin address. It accepts the users and tokens of the
// configuration; on loopback without any, the token in data_dir/admin.token. It refuses foreign
// Hosts (DNS rebinding) and foreign Origins (CSRF), so that a web page cannot use somebody's
// browser to send requests.
type adminGate struct {
	next     http.Handler
	token    string // content of data_dir/admin.token
	loopback bool
	config   atomic.Pointer[config.Config]
	logins   *logins
}

func (g *adminGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.loopback && !localName(r.Host):
		http.Error(w, "Host: only localhost and IP addresses are accepted here", http.StatusForbidden)
		return
	case foreignOrigin(r):
		http.Error(w, "Origin: requests of other sites are refused", http.StatusForbidden)
		return
	}
	allowed, after := g.allowed(r)
	switch {
	case after > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		http.Error(w, "too many failed logins from this address; try again later", http.StatusTooManyRequests)
	case !allowed:
		w.Header().Set("WWW-Authenticate", `Basic realm="bellbuoy"`)
		http.Error(w, "a user of admin.users or a token of admin.tokens is required; without them, the content of "+tokenName+" in data_dir as bearer token", http.StatusUnauthorized)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// allowed reports whether a request has a valid login that is not limited to projects: everything
// served here today shows all projects. If its address has failed too often, after is when it may
// try again.
func (g *adminGate) allowed(r *http.Request) (ok bool, after time.Duration) {
	if r.Header.Get("Authorization") == "" {
		return false, 0
	}
	c := g.config.Load()
	var projects []string
	right, after := g.logins.try(proxy.ClientNetwork(r, c.TrustedProxies), func(rank int) (right bool) {
		projects, right = g.account(r, &c.Admin, rank)
		return right
	})
	return right && len(projects) == 0, after
}

// account returns the projects to which a request's login is limited, and whether the login is
// valid.
func (g *adminGate) account(r *http.Request, a *config.Admin, rank int) (projects []string, ok bool) {
	if bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); isBearer {
		if len(a.Users)+len(a.Tokens) == 0 {
			return nil, g.loopback && constantTimeEqual(bearer, g.token)
		}
		for _, t := range a.Tokens {
			if constantTimeEqual(bearer, t.Token.Reveal()) {
				projects, ok = t.Projects, true
			}
		}
		return projects, ok
	}
	name, password, isBasic := r.BasicAuth()
	if !isBasic {
		return nil, false
	}
	user, ok := g.logins.user(r.Context(), a.Users, name, password, rank)
	return user.Projects, ok
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

// newAdmin returns the handler of the admin address. It serves only profiles yet.
func newAdmin(c *config.Config, loopback bool, log *zap.Logger) (*adminGate, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	token, err := adminToken(c.DataDir, log)
	if err != nil {
		return nil, err
	}
	g := &adminGate{next: mux, token: token, loopback: loopback, logins: newLogins()}
	g.config.Store(c)
	return g, nil
}

// loopback reports whether only this machine can reach a listener.
func loopback(l net.Listener) bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// serveAdmin serves until the listener is closed.
func serveAdmin(s *http.Server, l net.Listener, t config.ServerTLS) error {
	var err error
	if t.On() {
		certificates, loadErr := listen.LoadCertificates(t.CertFile, t.KeyFile, t.ClientCAFile)
		if loadErr != nil {
			return fmt.Errorf("admin.tls: %w", loadErr)
		}
		s.TLSConfig = certificates.Config()
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, net.ErrClosed) {
		return http.ErrServerClosed
	}
	return err
}

func (g *adminGate) server() *http.Server {
	return &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
}
