package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/proxy"
)

const tokenName = "admin.token"

// adminGate lets in who may use the admin address: a user or a token of the configuration; without any, on loopback, the token in data_dir/admin.token.
// It also refuses what a web page in somebody's browser could send here: foreign Hosts (DNS rebinding) and foreign Origins (CSRF).
type adminGate struct {
	next     http.Handler
	token    string // of data_dir/admin.token
	loopback bool
	config   atomic.Pointer[config.Admin]
	checked  passwords
}

func (g *adminGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.loopback && !localName(r.Host):
		http.Error(w, "Host: this address answers to localhost and IP addresses only", http.StatusForbidden)
	case foreignOrigin(r):
		http.Error(w, "Origin: requests of other sites are refused", http.StatusForbidden)
	case !g.allowed(r):
		w.Header().Set("WWW-Authenticate", `Basic realm="bellbuoy"`)
		http.Error(w, "a user or token of admin.users and admin.tokens is needed; without them, as bearer token what "+tokenName+" in data_dir holds", http.StatusUnauthorized)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// allowed takes users and tokens that are limited to no project: what is served here today shows all of them.
func (g *adminGate) allowed(r *http.Request) bool {
	a := g.config.Load()
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if len(a.Users)+len(a.Tokens) == 0 {
			return g.loopback && same(bearer, g.token)
		}
		for _, t := range a.Tokens {
			if len(t.Projects) == 0 && same(bearer, t.Token.Reveal()) {
				return true
			}
		}
		return false
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return false
	}
	for _, u := range a.Users {
		if len(u.Projects) == 0 && u.Name == name {
			return g.checked.match(u.PasswordHash.Reveal(), password)
		}
	}
	return false
}

// same compares in constant time, whatever the lengths.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return b != "" && subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// passwords checks bcrypt hashes, one at a time, and remembers the last that matched: a hash takes long on purpose.
type passwords struct {
	mu   sync.Mutex
	last [sha256.Size]byte
}

func (p *passwords) match(hash, password string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := sha256.Sum256([]byte(hash + "\x00" + password))
	if subtle.ConstantTimeCompare(sum[:], p.last[:]) == 1 {
		return true
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil {
		return false
	}
	p.last = sum
	return true
}

// localName tells whether a Host is one that only this machine's own users can mean.
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
func newAdmin(c *config.Config, loopback bool) (*adminGate, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	token, err := adminToken(c.DataDir)
	if err != nil {
		return nil, err
	}
	g := &adminGate{next: mux, token: token, loopback: loopback}
	g.config.Store(&c.Admin)
	return g, nil
}

// loopback tells whether only this machine reaches a listener.
func loopback(l net.Listener) bool {
	a, ok := l.Addr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// serveAdmin serves until the listener is closed.
func serveAdmin(s *http.Server, l net.Listener, t config.ServerTLS) error {
	var err error
	if t.On() {
		certificates, loadErr := proxy.LoadCertificates(t.CertFile, t.KeyFile, t.ClientCAFile)
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

// adminToken reads data_dir/admin.token, or makes it.
func adminToken(dir string) (string, error) {
	path := filepath.Join(dir, tokenName)
	if b, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(b))) >= 32 {
		return strings.TrimSpace(string(b)), nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading %s: %w", tokenName, err)
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	token := hex.EncodeToString(raw)
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing %s: %w", tokenName, err)
	}
	return token, nil
}
