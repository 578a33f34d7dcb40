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

// adminGate lets in who may use the admin address: a user or a token of the configuration; without any, on loopback, the token in data_dir/admin.token.
// It also refuses what a web page in somebody's browser could send here: foreign Hosts (DNS rebinding) and foreign Origins (CSRF).
type adminGate struct {
	next     http.Handler
	token    string // of data_dir/admin.token
	loopback bool
	config   atomic.Pointer[config.Config]
	logins   *logins
}

func (g *adminGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.loopback && !localName(r.Host):
		http.Error(w, "Host: this address answers to localhost and IP addresses only", http.StatusForbidden)
		return
	case foreignOrigin(r):
		http.Error(w, "Origin: requests of other sites are refused", http.StatusForbidden)
		return
	}
	allowed, after := g.allowed(r)
	switch {
	case after > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		http.Error(w, "too many failed logins of this address within a minute", http.StatusTooManyRequests)
	case !allowed:
		w.Header().Set("WWW-Authenticate", `Basic realm="bellbuoy"`)
		http.Error(w, "a user or token of admin.users and admin.tokens is needed; without them, as bearer token what "+tokenName+" in data_dir holds", http.StatusUnauthorized)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// allowed reports whether a request's login is right and not limited to projects: what is served here today shows all of
// them. after is when its address may try again, where it has failed too often.
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

// account is whose login a request has: the projects to which it is limited, and whether it is anybody's.
func (g *adminGate) account(r *http.Request, a *config.Admin, rank int) (projects []string, ok bool) {
	if bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); isBearer {
		if len(a.Users)+len(a.Tokens) == 0 {
			return nil, g.loopback && same(bearer, g.token)
		}
		for _, t := range a.Tokens {
			if same(bearer, t.Token.Reveal()) {
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

// localName reports whether a Host is one that only this machine's own users can mean.
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

// newAdmin is what the admin address serves. Profiles are all there is yet.
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

// loopback reports whether only this machine reaches a listener.
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
