package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/replication"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/console"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/proxy"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// daemon is a running bellbuoy. A reload changes wiring and the parts that use configures; all else
// stays.
type daemon struct {
	*app
	path             string
	log              *zap.Logger
	logging          *logSettings
	started          time.Time
	reloads          *reloadMetrics
	reloadRequests   chan reloadRequest // from commands
	listeners        listeners
	socket           net.Listener
	hup              <-chan os.Signal       // SIGHUP
	startFingerprint string                 // fingerprint of the files that the start read
	wiring           atomic.Pointer[wiring] // written only by use

	numbers *notify.Numbers
	running *manage.Running // the webhooks in use
	desk    *manage.Desk
	console *console.Console // nil: admin.listen is ""

	backupStore backupStore // nil: the store is PostgreSQL
	counters    *counters.Counters
	outbox      *notify.Outbox
	dispatcher  *notify.Dispatcher
	tracker     *track.Tracker
	refusals    *quota.Refusals
	runs        *replication.Recorder
	scans       *scan.Runner
	lookups     *lookups
	data        dataPlaneParts
	handler     *proxy.Handler
	server      *listen.Server
	health      *http.Server
	door        *access.Door // nil: the admin address is turned off
	v1          *api.V1      // on the admin address and on admin.sock
	ready       *readiness
	store       eventStore
}

// use applies w to the running parts. It does not configure the handler: callers do that before,
// because it can fail. It returns an error if the webhooks of the store stay as they were.
func (d *daemon) use(w *wiring) error {
	d.lookups.configure(w.lookupClients)
	d.tracker.Configure(w.trackerConfig(d.log))
	d.refusals.Configure(visibility(w.config.Projects))
	d.runs.Configure(w.replications, visibility(w.config.Projects), time.Duration(w.config.Correlation.UntaggedPush))
	d.scans.Configure(w.scanners)
	d.outbox.Derive(append(w.derivers(), d.scans)...)
	err := d.running.Use(context.Background(), w.webhooks())
	d.dispatcher.Retain(w.retention(), trims())
	d.server.Configure(w.serverOptions(d.handler, d.log))
	d.ready.refuse.Store(w.config.Store.OnFailure == "refuse")
	if d.door != nil {
		d.door.Configure(accounts(&w.config.Admin))
	}
	d.wiring.Store(w)
	return err
}

// run serves until ctx ends or an essential part fails. Then it drains: /readyz fails, new
// connections are refused, requests finish, lanes stop after their POSTs, and events in memory are
// stored. The function is one straight line because this order matters.
func (d *daemon) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	decisions, stopDecisions := context.WithCancel(background)
	defer stopDecisions()
	lanes, stopLanes := context.WithCancel(background)
	defer stopLanes()

	var serving, deciding, delivering errgroup.Group
	// must stops everything when do fails.
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
	delivering.Go(must("storing events", func() error { return d.outbox.Run(background) }))
	delivering.Go(must("delivering", func() error { return d.dispatcher.Run(lanes) }))
	delivering.Go(must("counting", func() error { d.counters.Run(background); return nil }))
	deciding.Go(must("ending replications", func() error { d.runs.Run(decisions); return nil }))
	deciding.Go(must("deciding events", func() error { return d.tracker.Run(decisions) }))
	deciding.Go(must("scanning", func() error { return d.scans.Run(decisions) }))
	control := newControlServer(background, d)
	serving.Go(must("serving commands", func() error { return control.Serve(d.socket) }))
	if d.listeners.health != nil {
		serving.Go(must("serving health", func() error { return d.health.Serve(d.listeners.health) }))
	}
	if d.door != nil {
		admin := adminServer(d.adminHandler())
		defer admin.Close()
		serving.Go(must("serving admin", func() error { return d.serveAdmin(admin, d.listeners.admin) }))
	}
	serving.Go(must("serving", func() error { return d.server.Serve(d.listeners.proxy) }))
	serving.Go(func() error { d.watch(ctx, d.hup, d.startFingerprint); return nil })
	serving.Go(func() error { d.numbers.Run(ctx); return nil })
	if d.wiring.Load().config.Database != "" {
		serving.Go(func() error { d.running.Watch(ctx); return nil })
	}
	d.warnUnreachable(ctx)
	d.log.Info("bellbuoy serves", d.startFields()...)
	if err := tellSystemd(); err != nil {
		d.log.Warn("telling systemd that bellbuoy serves", zap.Error(err))
	}

	<-ctx.Done()
	failure := context.Cause(ctx)
	d.ready.draining.Store(true)
	d.log.Info("bellbuoy drains", zap.Duration("grace", time.Duration(d.wiring.Load().config.ShutdownGrace)))
	grace, cancel := context.WithTimeout(background, time.Duration(d.wiring.Load().config.ShutdownGrace))
	defer cancel()
	// the last part of the grace is the lanes'
	defer time.AfterFunc(time.Duration(d.wiring.Load().config.ShutdownGrace)-lanesGrace, stopLanes).Stop()
	d.handler.Leave()
	select {
	case <-time.After(d.drainDelay()):
	case <-grace.Done():
	}
	if err := d.server.Shutdown(grace); err != nil {
		d.log.Warn("requests aborted at the end of the grace", zap.Error(err))
	}
	stopDecisions()
	_ = deciding.Wait()
	stopBackground()
	_ = delivering.Wait()
	_ = control.Close()
	_ = d.health.Close()
	d.listeners.close() // this ends the remaining servers
	_ = serving.Wait()
	d.log.Info("bellbuoy ends")
	if errors.Is(failure, context.Canceled) {
		return nil
	}
	return failure
}

// startFields returns the fields of the first log line: the version, and where everything is.
func (d *daemon) startFields() []zap.Field {
	c := d.wiring.Load().config
	fields := []zap.Field{zap.String("version", buildVersion()), zap.String("config", d.path), zap.Stringer("listen", d.listeners.proxy.Addr())}
	if l := d.listeners.health; l != nil {
		fields = append(fields, zap.Stringer("health", l.Addr()))
	}
	if l := d.listeners.admin; l != nil {
		fields = append(fields, zap.Stringer("admin", l.Addr()))
	}
	return append(fields, zap.String("data_dir", c.DataDir), zap.Bool("tls", c.TLS.On()), zap.Bool("shared_database", c.Database != ""),
		zap.Int("upstreams", len(c.Upstreams)), zap.Int("webhooks", len(c.Webhooks)))
}

// drainDelay returns how long connections are still accepted after the stop began. In that time
// /readyz says 503, and each answer closes its connection.
func (d *daemon) drainDelay() time.Duration {
	c := d.wiring.Load().config
	switch {
	case d.listeners.bySystemd:
		return handOver
	case c.Database == "": // no other replica can take over
		return 0
	}
	return time.Duration(c.ShutdownDelay)
}

// warnUnreachable logs each upstream that does not answer bellbuoy's own requests. Looking up
// unknown outcomes and reading an index need these.
func (d *daemon) warnUnreachable(ctx context.Context) {
	w := d.wiring.Load()
	for i := range w.upstreams {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, reachHostTimeout)
			defer cancel()
			name := w.upstreams[i].Name
			err := w.lookupClients[name].Reach(ctx, w.upstreams[i].Kind == detect.ChartMuseum)
			switch {
			case err == nil || errors.Is(ctx.Err(), context.Canceled):
			case errors.Is(err, upstream.ErrNoLogin):
				d.log.Warn("upstream asks for a login and upstreams[].credentials is not set: after a crash bellbuoy cannot look up whether a push or delete happened",
					zap.String("upstream", name))
			default:
				d.log.Warn("upstream cannot be reached for look-ups", zap.String("upstream", name), zap.String("why", reachText(err)))
			}
		}()
	}
}
