package main

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/console"
	"github.com/bellbuoy/bellbuoy/proxy"
)

// newDoor returns the door of the admin address, with the accounts of c.
func (d *daemon) newDoor(c *config.Config) (*access.Door, error) {
	token, err := access.OwnToken(c.DataDir, d.log)
	if err != nil {
		return nil, err
	}
	door := access.New(access.Options{
		Caller: func(r *http.Request) access.Caller {
			address, https, host := proxy.CallerOf(r, d.wiring.Load().config.TrustedProxies)
			return access.Caller{Address: address, HTTPS: https, Host: host}
		},
		Loopback: loopback(d.listeners.admin), OwnToken: token, Refuse: d.refuse,
		Public: console.PublicPaths(), Rows: d.store, Log: d.log,
	})
	door.Configure(accounts(&c.Admin))
	return door, nil
}

func accounts(a *config.Admin) (all access.Accounts) {
	for _, u := range a.Users {
		all.Users = append(all.Users, access.User{Name: u.Name, Hash: u.PasswordHash.Reveal(), Projects: u.Projects})
	}
	for _, t := range a.Tokens {
		all.Tokens = append(all.Tokens, access.Token{Name: t.Name, Secret: t.Token.Reveal(), Projects: t.Projects})
	}
	return all
}

// newConsole returns the console: the pages for people.
func (d *daemon) newConsole() *console.Console {
	return &console.Console{
		Logins: d.door, Webhooks: d.desk, Drafts: d.desk, Deliveries: d.desk, Events: d.desk, Counts: d.desk,
		Projects: consoleProjects{d.projects()}, System: control{d}.systemAttention, Log: d.log,
		Delivering: func() bool { return d.wiring.Load().config.Notifications.Enabled },
	}
}

// refuse answers with an error: with a page if a browser asked for one, else in the form of the
// API.
func (d *daemon) refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	if strings.HasPrefix(r.URL.Path, "/api/") || !d.console.Refuse(w, r, status, message) {
		refuse(w, r, status, message)
	}
}

// refuse answers with an error, in the form of the API that was called.
func refuse(w http.ResponseWriter, r *http.Request, status int, message string) {
	switch {
	case strings.HasPrefix(r.URL.Path, api.HarborPath):
		api.HarborError(w, r, status, message)
	case api.IsV1(r.URL.Path):
		api.V1Error(w, status, message)
	default:
		http.Error(w, message, status)
	}
}

// administrators refuses accounts that are limited to projects.
func administrators(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !access.PrincipalOf(r.Context()).Administrator {
			refuse(w, r, http.StatusForbidden, "only accounts that are not limited to projects may see this")
			return
		}
		next(w, r)
	}
}

// adminHandler returns the handler of the admin address: the console, both APIs and profiles, all
// behind the door.
func (d *daemon) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", administrators(pprof.Index))
	mux.HandleFunc("/debug/pprof/cmdline", administrators(pprof.Cmdline))
	mux.HandleFunc("/debug/pprof/profile", administrators(pprof.Profile))
	mux.HandleFunc("/debug/pprof/symbol", administrators(pprof.Symbol))
	mux.HandleFunc("/debug/pprof/trace", administrators(pprof.Trace))
	mux.Handle(api.HarborPath+"/", d.harbor().Handler())
	mux.Handle(api.V1Path+"/", d.v1.Handler())
	mux.Handle("/", d.console.Handler())
	return d.door.Handler(mux)
}

// loopback reports whether only this machine can reach a listener.
func loopback(l net.Listener) bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// serveAdmin serves until the listener is closed. Each TLS handshake uses the certificates of the
// current configuration.
func (d *daemon) serveAdmin(s *http.Server, l net.Listener) error {
	var err error
	if d.wiring.Load().adminTLS != nil {
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return d.wiring.Load().adminTLS.Config().GetConfigForClient(hello)
		}}
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, net.ErrClosed) {
		return http.ErrServerClosed
	}
	return err
}

func adminServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
}
