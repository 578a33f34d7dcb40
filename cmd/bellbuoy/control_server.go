package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
)

// maxSocketPath is the longest path of a Unix socket (sockaddr_un without its final zero).
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenControl opens data_dir/admin.sock with mode 0600. The store must be open: its lock ensures
// that no other bellbuoy uses the socket.
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

// newControlServer returns the server of admin.sock. Requests end with ctx, so that a client that
// follows events does not delay a stop.
func newControlServer(ctx context.Context, d *daemon) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(api.V1Path+"/", asAdministrator(d.v1.Handler()))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
}

// asAdministrator treats every request as an administrator's. It is for admin.sock, which only the
// owner of data_dir and root can open.
func asAdministrator(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = access.WithPrincipal(r, bySocket)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), socketKey{}, true)))
	})
}

type socketKey struct{}

// cameBySocket reports whether a request came over admin.sock.
func cameBySocket(ctx context.Context) bool { return ctx.Value(socketKey{}) != nil }

// bySocket is the account of requests of admin.sock.
var bySocket = access.Principal{Name: socketName, Administrator: true}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// backupStore is a store that can copy itself; SQLite's can.
type backupStore interface {
	Backup(ctx context.Context, send func(copy io.Reader, size int64) error) error
}

// control implements api.V1Operations and api.V1Projects.
type control struct{ *daemon }

// problemText returns a manage.Problems with one problem, about the whole request.
func problemText(format string, args ...any) error {
	return manage.Problems{{Message: fmt.Sprintf(format, args...)}}
}

// Backup implements api.V1Operations.
func (d control) Backup(ctx context.Context, by access.Principal, send func(copy io.Reader, size int64) error) error {
	if d.backupStore == nil {
		return problemText("the events are in PostgreSQL; back it up with its own tools, such as pg_dump")
	}
	if err := d.backupStore.Backup(ctx, send); err != nil {
		d.log.Warn("backup failed", zap.String("account", by.Name), zap.Error(err))
		switch {
		case errors.Is(err, sqlite.ErrBackupRuns):
			return fmt.Errorf("%w: %w", manage.ErrConflict, sqlite.ErrBackupRuns)
		case errors.Is(err, sqlite.ErrNoRoom):
			return fmt.Errorf("%w: %w", manage.ErrNoRoom, err)
		}
		return err
	}
	d.log.Info("backup made", zap.String("account", by.Name))
	return nil
}

// Reload implements api.V1Operations. watch does the reload, so that two reloads never overlap.
func (d control) Reload(ctx context.Context, by access.Principal) (api.V1Reloaded, error) {
	d.log.Info("reload requested", zap.String("account", by.Name))
	done := make(chan api.V1Reloaded, 1)
	select {
	case d.reloadRequests <- done:
	case <-ctx.Done():
		return api.V1Reloaded{}, ctx.Err()
	}
	return <-done, nil
}
