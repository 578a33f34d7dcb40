package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
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
				http.Error(w, err.Error(), statusOf(err))
			}
		})
	}
	answer("POST /ping", b.controlPing)
	answer("POST /enable", b.controlSwitch("webhook enabled by command", b.dispatcher.Enable))
	answer("POST /disable", b.controlSwitch("webhook disabled by command: its deliveries wait", b.dispatcher.Disable))
	answer("GET /events", b.controlEvents)
	answer("GET /deliveries", b.controlDeliveries)
	answer("GET /webhooks", b.controlWebhooks)
	answer("POST /redeliver", b.controlRedeliver)
	answer("POST /index", b.controlIndex)
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

func (b *buoy) controlEvents(w http.ResponseWriter, r *http.Request) error {
	form := r.URL.Query()
	q := store.EventQuery{Repository: form.Get("repository")}
	if kind := form.Get("type"); kind != "" {
		if !slices.Contains(notify.Types(), detect.Type(kind)) {
			return fmt.Errorf("%w: there is no type %q of events", errBad, kind)
		}
		q.Types = []string{kind}
	}
	var err error
	if q.Limit, q.Since, err = limitAndSince(form); err != nil {
		return err
	}
	appended := b.dispatcher.EventAppended()
	found, err := b.dispatcher.Events(r.Context(), q)
	if err != nil {
		return err
	}
	slices.Reverse(found) // oldest first
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	for {
		for i := range found {
			if err := out.Encode(eventLine{Seq: found[i].Seq, BellbuoyEvent: format.NewBellbuoyEvent(&found[i])}); err != nil {
				return nil // nobody reads any more
			}
			q.After = max(q.After, found[i].Seq)
		}
		if form.Get("follow") == "" {
			return nil
		}
		_ = flush.Flush()
		if len(found) == 0 || !q.Ascending {
			select {
			case <-r.Context().Done():
				return nil
			case <-appended:
			}
		}
		q.Ascending, q.Limit = true, 1000
		appended = b.dispatcher.EventAppended()
		if found, err = b.dispatcher.Events(r.Context(), q); err != nil {
			return nil
		}
	}
}

func limitAndSince(form url.Values) (limit int, since time.Time, err error) {
	if text := form.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return 0, since, fmt.Errorf("%w: limit must be a number from 1", errBad)
		}
	}
	if text := form.Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return 0, since, fmt.Errorf("%w: since must be a time", errBad)
		}
	}
	return limit, since, nil
}

var stateNames = map[store.State]string{store.Pending: "pending", store.Delivered: "delivered", store.Dead: "dead", store.Parked: "parked"}

func stateOf(name string) (store.State, error) {
	for state, known := range stateNames {
		if known == name {
			return state, nil
		}
	}
	return 0, fmt.Errorf("%w: %q is not a state: pending, delivered, dead or parked", errBad, name)
}

func (b *buoy) controlDeliveries(w http.ResponseWriter, r *http.Request) error {
	form := r.URL.Query()
	q := store.DeliveryQuery{Webhook: form.Get("webhook"), EventID: form.Get("event")}
	var err error
	if q.Limit, q.Since, err = limitAndSince(form); err != nil {
		return err
	}
	if name := form.Get("state"); name != "" {
		state, err := stateOf(name)
		if err != nil {
			return err
		}
		q.States = []store.State{state}
	}
	one := form.Get("id") != ""
	if one {
		id, err := strconv.ParseInt(form.Get("id"), 10, 64)
		if err != nil {
			return fmt.Errorf("%w: id must be a number", errBad)
		}
		q.IDs = []int64{id}
	}
	found, err := b.dispatcher.Deliveries(r.Context(), q)
	if err != nil {
		return err
	}
	out := json.NewEncoder(w)
	for _, d := range found {
		line, err := b.deliveryLine(r.Context(), d, one)
		if err != nil {
			return err
		}
		if err := out.Encode(line); err != nil {
			return nil
		}
	}
	return nil
}

func (b *buoy) controlWebhooks(w http.ResponseWriter, r *http.Request) error {
	states, err := b.dispatcher.States(r.Context())
	if err != nil {
		return err
	}
	out := json.NewEncoder(w)
	for _, s := range states {
		if out.Encode(webhookLine{Name: s.Name, Enabled: s.Enabled, Off: s.Off, OffFrom: s.OffFrom, Failing: s.Open, NextTry: s.ProbeAt}) != nil {
			return nil
		}
	}
	return nil
}

func (b *buoy) deliveryLine(ctx context.Context, d store.Delivery, withLog bool) (deliveryLine, error) {
	line := deliveryLine{ID: d.ID, Webhook: d.Webhook, State: stateNames[d.State], EventID: d.EventID, Attempts: d.Attempts, Status: d.Status, Reason: d.Reason,
		CreatedAt: d.CreatedAt, FinishedAt: d.FinishedAt}
	if d.State == store.Pending {
		line.NextAt = d.NextAt
	}
	events, err := b.dispatcher.Events(ctx, store.EventQuery{ID: d.EventID, Limit: 1})
	if err != nil {
		return line, err
	}
	if len(events) > 0 {
		e := &events[0]
		line.Type, line.Repository = string(e.Type), format.NewBellbuoyEvent(e).Repository
		line.Tag = tagOf(e, d.Number)
	}
	if !withLog {
		return line, nil
	}
	attempts, err := b.dispatcher.Attempts(ctx, d.ID)
	for _, at := range attempts {
		line.Log = append(line.Log, attemptLine{At: at.At, Status: at.Status, Millis: millis(at.Latency), Reason: at.Reason, Error: at.Error, Response: strings.ToValidUTF8(string(at.Response), "�")})
	}
	return line, err
}

// tagOf is what a delivery is about: the tag of its number, which counts from 1; all of them where its format names them together (0).
func tagOf(e *detect.Event, number int) string {
	switch {
	case e.Chart != nil:
		return e.Chart.Version
	case number == 0 || number > len(e.Tags):
		return strings.Join(e.Tags, ",")
	}
	return e.Tags[number-1]
}

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
