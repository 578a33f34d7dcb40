package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/proxy"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

const (
	lanesGrace = 10 * time.Second // of shutdown_grace, for POSTs under way when bellbuoy stops; those cut are made again after the next start
	handOver   = time.Second      // in which connections that systemd keeps listening for empty; those idle for longer carry few requests
	indexRows  = 2_000_000        // of each kind of row of the tag index that the store keeps
)

// serve builds everything in one straight line, what can be refused first, and runs it until ctx ends. Cleanups happen in reverse.
func (a *app) serve(ctx context.Context) error {
	hup, letHangups := catchHangups()
	defer letHangups()
	path, c, warnings, err := a.load()
	if err != nil {
		return err
	}
	seen := fingerprintOf(filesOf(path, c))
	log, logging, err := newLogger(c.Log, a.Stderr)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	defer zap.RedirectStdLog(log)() // net/http complains there of upstreams' broken answers
	for _, w := range slices.Concat(warnings, placeWarnings(c)) {
		log.Warn("configuration", zap.String("warning", w.String()))
	}

	replica := replicaName()
	s, err := openStore(ctx, c, replica)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			log.Error("closing the store", zap.Error(err))
		}
	}()
	tellWarnings(ctx, log, s.Warnings)
	socket, err := listenControl(c.DataDir)
	if err != nil {
		return problemAt(c, "data_dir", err)
	}
	defer socket.Close()
	l, err := openListeners(c) // after the socket: whoever finds the port open can use commands
	if err != nil {
		return err
	}
	defer l.close()
	w, err := wire(c, l.addresses)
	if err != nil {
		return err
	}

	registry := newMetrics()
	metrics := notify.NewMetrics(registry)
	outbox := notify.NewOutbox(s, notify.OutboxOptions{Timeout: time.Duration(c.Store.Timeout), Metrics: metrics, Log: log})
	dispatcher := notify.NewDispatcher(s, outbox, notify.DispatcherOptions{
		Replica: replica, Shared: c.Database != "", Grace: graceOfLanes(c), Retention: w.retention(), Trims: trims(), Metrics: metrics, Log: log,
	})
	b := &buoy{
		app: a, path: path, log: log, logging: logging, listeners: l, socket: socket, hup: hup, seen: seen,
		started: time.Now(), store: s, reloads: newReloadMetrics(registry), asked: make(chan reloadRequest),
		outbox: outbox, dispatcher: dispatcher, asker: &askers{},
		ready: &readiness{store: outbox.Healthy, kept: outbox.Deferred},
	}
	b.backer, _ = s.(backer)
	b.asker.configure(w.askers)
	b.tracker = track.New(w.trackerConfig(log), outbox, b.asker)
	b.refusals = quota.NewRefusals(outbox)
	b.data = data{tracker: tracked{b.tracker, b.refusals, log}, healthy: outbox.Healthy, log: log, metrics: proxy.NewMetrics(registry)}
	registry.MustRegister(trackerMetrics{b.tracker}, quotaMetrics{b})
	if b.handler, err = proxy.New(w.proxyOptions(b.data)); err != nil {
		return err
	}
	b.server = listen.New(w.serverOptions(b.handler, log))
	b.health = healthServer(b.ready, registry)
	if l.admin != nil {
		if b.admin, err = newAdmin(c, loopback(l.admin), log); err != nil {
			return err
		}
	}
	b.use(w)
	collectLate()
	return b.run(ctx)
}

// buoy is a running bellbuoy. wiring and what use sets change with a reload, all else stays.
type buoy struct {
	*app
	path      string
	log       *zap.Logger
	logging   *logSettings
	started   time.Time
	reloads   *reloadMetrics
	asked     chan reloadRequest // by commands
	listeners listeners
	socket    net.Listener
	hup       <-chan os.Signal       // asks for a reload
	seen      string                 // fingerprint of the files that the start has read
	wiring    atomic.Pointer[wiring] // written by use alone

	backer     backer // nil: the store is PostgreSQL
	outbox     *notify.Outbox
	dispatcher *notify.Dispatcher
	tracker    *track.Tracker
	refusals   *quota.Refusals
	asker      *askers
	data       data
	handler    *proxy.Handler
	server     *listen.Server
	health     *http.Server
	admin      *adminGate // nil: turned off
	ready      *readiness
	store      outboxStore
}

// use makes the running parts follow w. The handler has been configured with it already, because that is what can fail.
func (b *buoy) use(w *wiring) {
	b.asker.configure(w.askers)
	b.tracker.Configure(w.trackerConfig(b.log))
	b.refusals.Configure(visibility(w.config.Projects))
	b.outbox.Configure(w.set)
	b.outbox.Derive(w.derivers()...)
	b.dispatcher.Configure(w.set)
	b.dispatcher.Retain(w.retention(), trims())
	b.server.Configure(w.serverOptions(b.handler, b.log))
	b.ready.refuse.Store(w.config.Store.OnFailure == "refuse")
	if b.admin != nil {
		b.admin.config.Store(w.config)
	}
	b.wiring.Store(w)
}

// run serves until ctx ends or something that must run fails, then drains: load balancers notice, no new connections, requests finish, lanes
// stop after their POST, what waits in memory is stored. It is one straight line because the order of the ends is what it is about.
func (b *buoy) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	decisions, stopDecisions := context.WithCancel(background)
	defer stopDecisions()
	lanes, stopLanes := context.WithCancel(background)
	defer stopLanes()

	var serving, deciding, delivering errgroup.Group
	must := func(name string, do func() error) func() error {
		return func() error {
			err := do()
			if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
				stop(fmt.Errorf("%s: %w", name, err))
				return err
			}
			return nil
		}
	}
	delivering.Go(must("storing events", func() error { return b.outbox.Run(background) }))
	delivering.Go(must("delivering", func() error { return b.dispatcher.Run(lanes) }))
	deciding.Go(must("deciding events", func() error { return b.tracker.Run(decisions) }))
	control := b.controlServer(background)
	serving.Go(must("serving commands", func() error { return control.Serve(b.socket) }))
	if b.listeners.health != nil {
		serving.Go(must("serving health", func() error { return b.health.Serve(b.listeners.health) }))
	}
	if b.admin != nil {
		admin := b.admin.server()
		defer admin.Close()
		serving.Go(must("serving admin", func() error { return serveAdmin(admin, b.listeners.admin, b.wiring.Load().config.Admin.TLS) }))
	}
	serving.Go(must("serving", func() error { return b.server.Serve(b.listeners.proxy) }))
	serving.Go(func() error { b.watch(ctx, b.hup, b.seen); return nil })
	b.tellReach(ctx)
	b.log.Info("bellbuoy serves", b.about()...)

	<-ctx.Done()
	failure := context.Cause(ctx)
	b.ready.draining.Store(true)
	b.log.Info("bellbuoy drains", zap.Duration("grace", time.Duration(b.wiring.Load().config.ShutdownGrace)))
	grace, cancel := context.WithTimeout(background, time.Duration(b.wiring.Load().config.ShutdownGrace))
	defer cancel()
	defer time.AfterFunc(time.Duration(b.wiring.Load().config.ShutdownGrace)-lanesGrace, stopLanes).Stop() // theirs is not on top of it
	b.handler.Leave()
	select {
	case <-time.After(b.farewell()):
	case <-grace.Done():
	}
	if err := b.server.Shutdown(grace); err != nil {
		b.log.Warn("requests were cut", zap.Error(err))
	}
	stopDecisions()
	_ = deciding.Wait()
	stopBackground()
	_ = delivering.Wait()
	_ = control.Close()
	_ = b.health.Close()
	b.listeners.close() // and with them what still serves
	_ = serving.Wait()
	b.log.Info("bellbuoy ends")
	if errors.Is(failure, context.Canceled) {
		return nil
	}
	return failure
}

// about is what an operator wants to know first: which bellbuoy this is, and where everything of it is.
func (b *buoy) about() []zap.Field {
	c := b.wiring.Load().config
	fields := []zap.Field{zap.String("version", buildVersion()), zap.String("config", b.path), zap.Stringer("listen", b.listeners.proxy.Addr())}
	if l := b.listeners.health; l != nil {
		fields = append(fields, zap.Stringer("health", l.Addr()))
	}
	if l := b.listeners.admin; l != nil {
		fields = append(fields, zap.Stringer("admin", l.Addr()))
	}
	return append(fields, zap.String("data_dir", c.DataDir), zap.Bool("tls", c.TLS.On()), zap.Bool("shared_database", c.Database != ""),
		zap.Int("upstreams", len(c.Upstreams)), zap.Int("webhooks", len(c.Webhooks)))
}

// farewell is how long connections are accepted after the stop began, while /readyz says 503 and each answer ends its connection.
func (b *buoy) farewell() time.Duration {
	c := b.wiring.Load().config
	switch {
	case b.listeners.handed:
		return handOver
	case c.Database == "": // nobody else can take over
		return 0
	}
	return time.Duration(c.ShutdownDelay)
}

// tellReach warns of each upstream that cannot be asked: bellbuoy's own questions, about unknown outcomes and for indexes, need that.
func (b *buoy) tellReach(ctx context.Context) {
	w := b.wiring.Load()
	for i := range w.upstreams {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, reachHostTimeout)
			defer cancel()
			name := w.upstreams[i].Name
			err := w.askers[name].Reach(ctx, w.upstreams[i].Kind == detect.ChartMuseum)
			switch {
			case err == nil || errors.Is(ctx.Err(), context.Canceled):
			case errors.Is(err, upstream.ErrNoLogin):
				b.log.Warn("upstream asks for a login and bellbuoy has none (upstreams[].credentials): after a crash it cannot ask what became of a push or a delete",
					zap.String("upstream", name))
			default:
				b.log.Warn("upstream cannot be asked", zap.String("upstream", name), zap.String("why", reachText(err)))
			}
		}()
	}
}

// graceOfLanes is what POSTs under way have of shutdown_grace: its end, at most lanesGrace.
func graceOfLanes(c *config.Config) time.Duration {
	return max(min(lanesGrace, time.Duration(c.ShutdownGrace)), time.Millisecond) // 0 would be the dispatcher's default
}

// outboxStore is an open store with what a start and a stop need of it.
type outboxStore interface {
	notify.Store
	// Warnings are what the operator should know of the store. They grow when a file is found damaged while it is in use.
	Warnings() []string
	// Size is how many bytes the database holds.
	Size(ctx context.Context) (int64, error)
	Close() error
}

// openStore opens PostgreSQL where a database is configured, SQLite in data_dir otherwise.
func openStore(ctx context.Context, c *config.Config, replica string) (outboxStore, error) {
	if c.Database != "" {
		s, err := postgres.Open(ctx, postgres.Options{URL: c.Database.Reveal(), Replica: replica})
		if err != nil {
			return nil, problemAt(c, "database", err)
		}
		return s, nil
	}
	s, err := sqlite.Open(ctx, sqlite.Options{Dir: c.DataDir})
	if err != nil {
		return nil, problemAt(c, "data_dir", err)
	}
	return s, nil
}

// trims bound the tag index in the store, and what else of it may be forgotten.
func trims() []store.Trim {
	var all []store.Trim
	for _, kind := range slices.Concat(track.BoundedKinds(), quota.BoundedKinds()) {
		all = append(all, store.Trim{Kind: string(kind), Max: indexRows})
	}
	return all
}

func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "bellbuoy"
	}
	return host + "-" + uuid.NewString()[:8]
}
