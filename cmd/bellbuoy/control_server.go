package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// maxSocketPath is the longest path of a Unix socket (sockaddr_un without its final zero).
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenControl opens data_dir/admin.sock with mode 0600. The store must be open, whose lock
// ensures that no other bellbuoy uses the socket.
func listenControl(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory: %w", err)
	}
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of %s has %d bytes, and a socket may have %d: choose a shorter data_dir", path, len(path), maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an old socket: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", socketName, err)
	}
	return l, nil
}

// newControlServer returns the server of the commands. Requests end with ctx, so that followers do
// not hold up a stop.
func newControlServer(ctx context.Context, d *daemon) *http.Server {
	api := controlAPI{d}
	mux := http.NewServeMux()
	answer := func(pattern string, do func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r); err != nil {
				http.Error(w, strings.TrimPrefix(err.Error(), errBad.Error()+": "), statusOf(err))
			}
		})
	}
	answer("POST /ping", api.ping)
	answer("POST /enable", api.switchWebhook(d.desk.Enable))
	answer("POST /disable", api.switchWebhook(d.desk.Disable))
	answer("GET /webhooks", api.webhookNames)
	answer("GET /status", api.status)
	answer("GET /waits", api.waits)
	answer("POST /backup", api.backup)
	answer("POST /index", api.indexUpstreams)
	answer("POST /scan", api.scan)
	answer("GET /quota", api.quota)
	answer("POST /reload", api.reload)
	answer("POST /console", api.console)
	mux.Handle("/api/", asAdministrator(d.v1.Handler()))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
}

// asAdministrator serves requests of admin.sock. Only the owner of data_dir and root can open it.
func asAdministrator(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, access.WithPrincipal(r, bySocket))
	})
}

var errBad = errors.New("bad request")

func statusOf(err error) int {
	_, isProblem := errors.AsType[manage.Problems](err)
	switch {
	case errors.Is(err, notify.ErrNoWebhook), errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, errBad), errors.Is(err, manage.ErrConflict), isProblem:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// bySocket is the account of requests of admin.sock.
var bySocket = access.Principal{Name: socketName, Administrator: true}

// switchWebhook answers by turning a webhook on or off.
func (api controlAPI) switchWebhook(turn func(ctx context.Context, by access.Principal, number int64) error) func(http.ResponseWriter, *http.Request) error {
	return func(_ http.ResponseWriter, r *http.Request) error {
		webhook, err := api.webhookNamed(r.Context(), r.FormValue("webhook"))
		if err != nil {
			return err
		}
		return turn(r.Context(), bySocket, webhook.Number)
	}
}

// webhookNamed returns a webhook by its key, or one of the store by project/name.
func (api controlAPI) webhookNamed(ctx context.Context, name string) (manage.Webhook, error) {
	found, err := api.desk.Find(ctx, bySocket, name)
	if errors.Is(err, manage.ErrNotFound) {
		return found, fmt.Errorf("%q: %w", name, notify.ErrNoWebhook)
	}
	return found, err
}

func (api controlAPI) ping(w http.ResponseWriter, r *http.Request) error {
	webhook, err := api.webhookNamed(r.Context(), r.FormValue("webhook"))
	if err != nil {
		return err
	}
	got, err := api.desk.Test(r.Context(), bySocket, webhook.Number, "")
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(pingAnswer{Status: got.Status, Millis: millis(got.Latency), Response: got.Response, Error: got.Error, OK: got.OK})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// backupStore is a store that can copy itself; SQLite's can.
type backupStore interface {
	Backup(ctx context.Context, send func(copy io.Reader, size int64) error) error
}

func (api controlAPI) backup(w http.ResponseWriter, r *http.Request) error {
	if api.backupStore == nil {
		return fmt.Errorf("%w: the events are in PostgreSQL; back it up with its own tools, such as pg_dump", errBad)
	}
	begun := false
	err := api.backupStore.Backup(r.Context(), func(copy io.Reader, size int64) error {
		begun = true
		w.Header().Set("Content-Type", "application/vnd.sqlite3")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, err := io.Copy(w, copy)
		return err
	})
	if err != nil {
		api.log.Warn("backup failed", zap.Error(err))
		if begun {
			// end the answer early instead of appending an error
			panic(http.ErrAbortHandler)
		}
		return err
	}
	api.log.Info("backup made by command")
	return nil
}

// reload has watch reload, so that two reloads never meet.
func (api controlAPI) reload(w http.ResponseWriter, r *http.Request) error {
	done := make(chan reloadAnswer, 1)
	select {
	case api.reloadRequests <- done:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	return json.NewEncoder(w).Encode(<-done)
}

// controlAPI answers the requests of the commands. Each method is a handler of newControlServer, or
// helps one; control_*.go has them by subject.
type controlAPI struct{ *daemon }
