package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/replication"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/proxy"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

const (
	// lanesGrace is the part of shutdown_grace for POSTs in flight. Those that it cuts are sent
	// again after the next start.
	lanesGrace = 10 * time.Second
	// handOver is the time to close idle connections while systemd keeps the socket open.
	handOver = time.Second
	// indexRows bounds the rows in the store of each bounded kind, such as those of the tag
	// index.
	indexRows = 2_000_000
)

// runServe builds everything in one straight line and runs it until ctx ends. Steps that can fail
// come first. Cleanups run in reverse order.
func runServe(ctx context.Context, a *app) error {
	hup, stopHangups := catchHangups()
	defer stopHangups()
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
	defer zap.RedirectStdLog(log)() // net/http logs invalid answers of upstreams there
	for _, w := range slices.Concat(warnings, dataDirWarnings(c)) {
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
	logStoreWarnings(ctx, log, s.Warnings)
	socket, err := listenControl(c.DataDir)
	if err != nil {
		return problemAt(c, "data_dir", dataDirError(err))
	}
	defer socket.Close()
	l, err := openListeners(c) // after the socket, so that commands work when the port is open
	if err != nil {
		return err
	}
	defer l.close()
	numbers, webhooks := notify.NewNumbers(s, log), notify.NewWebhooks(s)
	if err := numbers.GiveWebhooks(ctx, webhookNames(c)...); err != nil {
		log.Warn("webhooks have no stored numbers yet", zap.Error(err))
	}
	w, err := wire(c, l.addresses, numbers)
	if err != nil {
		return err
	}

	registry := newMetrics()
	metrics := notify.NewMetrics(registry)
	outbox := notify.NewOutbox(s, notify.OutboxOptions{Timeout: time.Duration(c.Store.Timeout), Metrics: metrics, Numbers: numbers, Log: log})
	dispatcher := notify.NewDispatcher(s, outbox, notify.DispatcherOptions{
		Replica: replica, Shared: c.Database != "", Grace: lanesGraceOf(c), Retention: w.retention(), Trims: trims(), Webhooks: webhooks,
		Metrics: metrics, Log: log,
	})
	d := &daemon{
		app: a, path: path, log: log, logging: logging, listeners: l, socket: socket, hup: hup, startFingerprint: seen,
		started: time.Now(), store: s, reloads: newReloadMetrics(registry), reloadRequests: make(chan reloadRequest),
		outbox: outbox, dispatcher: dispatcher, lookups: &lookups{}, numbers: numbers,
		ready: &readiness{store: outbox.Healthy, deferred: outbox.Deferred},
	}
	d.counters = counters.New(counters.Options{Rows: s, Replica: replica, Traffic: d.traffic, Log: log})
	metrics.Counters = d.counters
	d.backupStore, _ = s.(backupStore)
	d.running = manage.NewRunning(webhooks, func(s *notify.Set) { outbox.Configure(s); dispatcher.Configure(s) }, log)
	d.desk = manage.NewDesk(manage.Parts{Running: d.running, Stored: webhooks, Dispatcher: dispatcher, Numbers: numbers, Counters: d.counters, Cursors: manage.NewCursors(s), Log: log})
	d.lookups.configure(w.lookupClients)
	d.refusals = quota.NewRefusals(outbox)
	d.runs = replication.NewRecorder(outbox, func(err error) { log.Warn("replication", zap.Error(err)) })
	d.scans = scan.New(scan.Options{Ledger: outbox, Registry: d.lookups, Tags: scannedTags{d}, Replica: replica, Alone: c.Database == "", Told: logScans(log)})
	d.tracker = track.New(w.trackerConfig(log), d.scans.Ledger(pullLedger{outbox, d.runs}), d.lookups)
	d.data = dataPlaneParts{tracker: proxyTracker{d.tracker, d.refusals, d.runs, log, new(sync.Map)}, healthy: outbox.Healthy, log: log, metrics: proxy.NewMetrics(registry)}
	registry.MustRegister(trackerMetrics{d.tracker}, quotaMetrics{d}, replicationMetrics(d.runs), scanMetrics{d.scans})
	if d.handler, err = proxy.New(w.proxyOptions(d.data)); err != nil {
		return err
	}
	d.server = listen.New(w.serverOptions(d.handler, log))
	d.health = healthServer(d.ready, registry)
	d.v1 = &api.V1{Version: buildVersion(), Events: d.desk, Deliveries: d.desk, Webhooks: d.desk, Trials: d.desk, ProjectNames: d.projects(), Scanners: d, Projects: control{d}, Counts: d.desk, Operations: control{d}, Log: log}
	if l.admin != nil {
		if d.door, err = d.newDoor(c); err != nil {
			return err
		}
		d.console = d.newConsole()
	}
	if err := d.use(w); err != nil {
		return err
	}
	tuneGC()
	return d.run(ctx)
}

// lanesGraceOf returns the part of shutdown_grace in which POSTs in flight may end: the last part,
// at most lanesGrace.
func lanesGraceOf(c *config.Config) time.Duration {
	// 0 would mean the dispatcher's default
	return max(min(lanesGrace, time.Duration(c.ShutdownGrace)), time.Millisecond)
}

// eventStore is an open store with the methods that serve needs.
type eventStore interface {
	notify.Store
	// Warnings returns what the operator should know about the store. The list grows if damage
	// is found later.
	Warnings() []string
	// Size returns the size of the database in bytes.
	Size(ctx context.Context) (int64, error)
	Close() error
}

// openStore opens PostgreSQL if a database is configured, else SQLite in data_dir.
func openStore(ctx context.Context, c *config.Config, replica string) (eventStore, error) {
	if c.Database != "" {
		s, err := postgres.Open(ctx, postgres.Options{URL: c.Database.Reveal(), Replica: replica})
		if err != nil {
			return nil, problemAt(c, "database", err)
		}
		return s, nil
	}
	s, err := sqlite.Open(ctx, sqlite.Options{Dir: c.DataDir})
	if err != nil {
		return nil, problemAt(c, "data_dir", dataDirError(err))
	}
	return s, nil
}

// dataDirError adds which user may not use data_dir.
func dataDirError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w for uid %d; data_dir must belong to the user that runs bellbuoy", err, os.Geteuid())
	}
	return err
}

// trims returns the bounds of the tag index, the sessions and the counters in the store.
func trims() []store.Trim {
	all := append([]store.Trim{access.Trim}, counters.Trims...)
	for _, kind := range slices.Concat(track.BoundedKinds(), quota.BoundedKinds(), scan.BoundedKinds()) {
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
