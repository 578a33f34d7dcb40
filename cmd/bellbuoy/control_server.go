package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// maxSocketPath is the longest path that the system takes for a socket (sockaddr_un without its final zero).
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// listenControl opens data_dir/admin.sock with mode 0600. The store has been opened before, so that nobody else's socket is taken away.
func listenControl(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making it: %w", err)
	}
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of %s has %d bytes, and the system allows a socket %d: choose a shorter data_dir", path, len(path), maxSocketPath)
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

// controlServer answers the commands. Requests end with ctx, so that followers do not hold up a stop.
func (b *buoy) controlServer(ctx context.Context) *http.Server {
	mux := http.NewServeMux()
	answer := func(pattern string, do func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r); err != nil {
				http.Error(w, strings.TrimPrefix(err.Error(), errBad.Error()+": "), statusOf(err))
			}
		})
	}
	answer("POST /ping", b.controlPing)
	answer("POST /enable", b.controlSwitch("webhook enabled by command", b.dispatcher.Enable))
	answer("POST /disable", b.controlSwitch("webhook disabled by command: its deliveries wait", b.dispatcher.Disable))
	answer("GET /events", b.controlEvents)
	answer("GET /deliveries", b.controlDeliveries)
	answer("GET /deliveries/{id}", b.controlDelivery)
	answer("GET /webhooks", b.controlWebhooks)
	answer("GET /status", b.controlStatus)
	answer("GET /waits", b.controlWaits)
	answer("GET /explain", b.controlExplain)
	answer("POST /redeliver", b.controlRedeliver)
	answer("GET /replay", b.controlReplay)
	answer("POST /replay", b.controlReplay)
	answer("POST /backup", b.controlBackup)
	answer("POST /index", b.controlIndex)
	answer("GET /quota", b.controlQuota)
	answer("POST /reload", b.controlReload)
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
}

var errBad = errors.New("bad request")

func statusOf(err error) int {
	switch {
	case errors.Is(err, notify.ErrNoWebhook), errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, errBad):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// controlSwitch turns a webhook on or off, and has the log tell it to those who were not there.
func (b *buoy) controlSwitch(told string, turn func(ctx context.Context, webhook string) error) func(http.ResponseWriter, *http.Request) error {
	return func(_ http.ResponseWriter, r *http.Request) error {
		name := r.FormValue("webhook")
		if err := turn(r.Context(), name); err != nil {
			return err
		}
		b.log.Info(told, zap.String("webhook", name))
		return nil
	}
}

func (b *buoy) controlPing(w http.ResponseWriter, r *http.Request) error {
	got, err := b.dispatcher.Ping(r.Context(), r.FormValue("webhook"))
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(pingAnswer{Status: got.Status, Millis: millis(got.Latency), Response: string(got.Response), Error: got.Err, OK: got.Outcome == webhook.Delivered})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (b *buoy) controlRedeliver(w http.ResponseWriter, r *http.Request) error {
	var in redeliverRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return fmt.Errorf("%w: %w", errBad, err)
	}
	q := store.DeliveryQuery{IDs: in.IDs, Webhook: in.Webhook, Since: in.Since}
	for _, name := range in.States {
		state, err := stateOf(name)
		if err != nil {
			return err
		}
		if state == store.Parked {
			return fmt.Errorf("%w: those that are parked are not delivered: their webhook is not configured or not enabled", errBad)
		}
		q.States = append(q.States, state)
	}
	if len(q.IDs) == 0 && q.Webhook == "" {
		return fmt.Errorf("%w: name deliveries or a webhook", errBad)
	}
	hooks := b.wiring.Load().config.Webhooks
	if q.Webhook != "" && !slices.ContainsFunc(hooks, func(w config.Webhook) bool { return w.Name == q.Webhook }) {
		return fmt.Errorf("%q: %w", q.Webhook, notify.ErrNoWebhook)
	}
	n, err := b.dispatcher.Redeliver(r.Context(), q)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(countAnswer{Count: n})
}
