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
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
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
		refuse(w, r, http.StatusForbidden, "Host: only localhost and IP addresses are accepted here")
		return
	case foreignOrigin(r):
		refuse(w, r, http.StatusForbidden, "Origin: requests of other sites are refused")
		return
	}
	who, after := g.principal(r)
	switch {
	case after > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		refuse(w, r, http.StatusTooManyRequests, "too many failed logins from this address; try again later")
	case !who.Knows():
		w.Header().Set("WWW-Authenticate", `Basic realm="bellbuoy"`)
		refuse(w, r, http.StatusUnauthorized, "a user of admin.users or a token of admin.tokens is required; without them, the content of "+tokenName+" in data_dir as bearer token")
	default:
		g.next.ServeHTTP(w, access.WithPrincipal(r, who))
	}
}

// refuse answers with an error, in the form of the API that was called.
func refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	if strings.HasPrefix(r.URL.Path, api.HarborPath) {
		api.HarborError(w, r, status, message)
		return
	}
	http.Error(w, message, status)
}

// principal returns the account of a request; the zero Principal if its login is wrong or missing.
// If its address has failed too often, after is when it may try again.
func (g *adminGate) principal(r *http.Request) (who access.Principal, after time.Duration) {
	if r.Header.Get("Authorization") == "" {
		return who, 0
	}
	c := g.config.Load()
	_, after = g.logins.try(proxy.ClientNetwork(r, c.TrustedProxies), func(rank int) bool {
		who = g.account(r, &c.Admin, rank)
		return who.Knows()
	})
	return who, after
}

// account returns the account of a request's login; the zero Principal if there is none.
func (g *adminGate) account(r *http.Request, a *config.Admin, rank int) (who access.Principal) {
	if bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); isBearer {
		if len(a.Users)+len(a.Tokens) == 0 && g.loopback && constantTimeEqual(bearer, g.token) {
			return access.Principal{Name: tokenName, Administrator: true}
		}
		for _, t := range a.Tokens {
			if constantTimeEqual(bearer, t.Token.Reveal()) {
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

// limitedTo is an account of the configuration: without projects it has no limits.
func limitedTo(name string, projects []string) access.Principal {
	return access.Principal{Name: name, Administrator: len(projects) == 0, Projects: projects}
}

// administrators lets in accounts without limits alone.
func administrators(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !access.PrincipalOf(r.Context()).Administrator {
			refuse(w, r, http.StatusForbidden, "only accounts without a limit to projects may see this")
			return
		}
		next(w, r)
	}
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

// newAdmin returns the handler of the admin address: Harbor's API and profiles.
func newAdmin(c *config.Config, loopback bool, harbor http.Handler, log *zap.Logger) (*adminGate, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", administrators(pprof.Index))
	mux.HandleFunc("/debug/pprof/cmdline", administrators(pprof.Cmdline))
	mux.HandleFunc("/debug/pprof/profile", administrators(pprof.Profile))
	mux.HandleFunc("/debug/pprof/symbol", administrators(pprof.Symbol))
	mux.HandleFunc("/debug/pprof/trace", administrators(pprof.Trace))
	mux.Handle(api.HarborPath+"/", harbor)
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
