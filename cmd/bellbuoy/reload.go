package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/api"
)

// quietTime passes between the last change of a file and the reload, because editors and kubelets
// write in several steps.
const quietTime = 300 * time.Millisecond

// catchHangups queues SIGHUP for watch. Without it, the signal would end the process.
func catchHangups() (hup chan os.Signal, stop func()) {
	hup = make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup, func() { signal.Stop(hup) }
}

// watch reloads on SIGHUP, on request of a command, and when the configuration's files differ from
// the fingerprint seen. It returns when ctx ends.
func (d *daemon) watch(ctx context.Context, hup <-chan os.Signal, seen string) {
	var events <-chan fsnotify.Event // without a watcher it never receives
	var failures <-chan error
	files, err := fsnotify.NewWatcher()
	if err != nil {
		d.log.Warn("files are not watched; SIGHUP reloads", zap.Error(err))
		files = nil
	} else {
		defer files.Close()
		events, failures = files.Events, files.Errors
	}
	d.watchFiles(files)
	soon := time.NewTimer(0) // a change since the start causes no event
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			// before the files are read, so that a later change is noticed
			seen = d.fingerprint()
			_, _ = d.reload()
			d.watchFiles(files)
		case done := <-d.reloadRequests:
			seen = d.fingerprint()
			done <- d.answerOf(d.reload())
			d.watchFiles(files)
		case <-events:
			soon.Reset(quietTime)
		case err := <-failures:
			d.log.Warn("watching files failed", zap.Error(err))
		case <-soon.C:
			if now := d.fingerprint(); now != seen {
				seen = now
				_, _ = d.reload()
				d.watchFiles(files)
			}
		}
	}
}

// watchFiles watches the directories of all files: a file may be replaced by another one, and
// Kubernetes replaces a whole directory of links. It does nothing if the watcher is nil.
func (d *daemon) watchFiles(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	for _, file := range d.files() {
		dir := filepath.Dir(file)
		if !slices.Contains(w.WatchList(), dir) {
			_ = w.Add(dir) // a missing directory has nothing that could change
		}
	}
}

func (d *daemon) files() []string { return filesOf(d.path, d.wiring.Load().config) }

func filesOf(path string, c *config.Config) []string { return append([]string{path}, c.Files()...) }

func (d *daemon) fingerprint() string { return fingerprintOf(d.files()) }

// fingerprintOf returns a text that changes when one of the files does: their sizes, modes and
// times of change.
func fingerprintOf(files []string) string {
	var s strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintln(&s, file, info.ModTime().UnixNano(), info.Mode(), info.Size())
		}
	}
	return s.String()
}

// reload loads the configuration and applies it, or keeps the old one. It returns the warnings and
// problems.
func (d *daemon) reload() (config.Warnings, error) {
	warnings, err := d.loadNext()
	d.reloads.note(err == nil)
	if err != nil {
		d.log.Error("configuration not reloaded: the old one stays in use", zap.Strings("problems", strings.Split(err.Error(), "\n")))
		return warnings, err
	}
	for _, w := range warnings {
		d.log.Warn("configuration", zap.String("warning", w.String()))
	}
	c := d.wiring.Load().config
	d.log.Info("configuration reloaded", zap.Int("upstreams", len(c.Upstreams)), zap.Int("webhooks", len(c.Webhooks)))
	return warnings, nil
}

func (d *daemon) loadNext() (config.Warnings, error) {
	_, next, warnings, err := d.load()
	if err != nil {
		return warnings, err
	}
	old := d.wiring.Load()
	warnings = slices.Concat(warnings, config.KeepUntilRestart(old.config, next))
	d.giveNumbers(context.Background(), next)
	w, err := wire(next, d.listeners.addresses, d.numbers)
	if err != nil {
		return warnings, err
	}
	if err := d.handler.Configure(w.proxyOptions(d.data)); err != nil {
		w.close()
		return warnings, err
	}
	if err := d.use(w); err != nil {
		d.log.Warn("webhooks of the store stay as they were", zap.Error(err))
	}
	old.close()
	return warnings, d.logging.apply(next.Log)
}

// reloadMetrics reports the last reload. A start counts as one.
type reloadMetrics struct {
	ok, at    prometheus.Gauge
	succeeded atomic.Bool
}

func newReloadMetrics(registry prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bellbuoy_config_reload_success",
			Help: "1 if the last configuration was loaded, 0 if the one before is still in use."}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bellbuoy_config_reload_success_timestamp_seconds",
			Help: "When a configuration was last loaded."}),
	}
	registry.MustRegister(m.ok, m.at)
	m.note(true)
	return m
}

func (m *reloadMetrics) note(succeeded bool) {
	m.succeeded.Store(succeeded)
	if !succeeded {
		m.ok.Set(0)
		return
	}
	m.ok.Set(1)
	m.at.SetToCurrentTime()
}

// reloadRequest is a command's request. The answer is sent when the reload is over.
type reloadRequest chan<- api.V1Reloaded

// answerOf returns the result of a reload, in the order of the file.
func (d *daemon) answerOf(warnings config.Warnings, err error) api.V1Reloaded {
	answer := api.V1Reloaded{File: d.path, Taken: err == nil}
	problems, inFile := errors.AsType[config.Problems](err)
	if err != nil && !inFile {
		answer.Said = append(answer.Said, err.Error())
	}
	for _, p := range byLine(problems, warnings) {
		answer.Said = append(answer.Said, p.String())
	}
	c := d.wiring.Load().config
	answer.Upstreams, answer.Webhooks = len(c.Upstreams), len(c.Webhooks)
	return answer
}

func newReloadCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "reload", Short: "Read the configuration file again", Args: cobra.NoArgs,
		Long: "Make the running bellbuoy read its configuration file again, and print problems and warnings. If there is a\n" +
			"problem, the old configuration stays in use and the exit code is 1.",
		Example: "  bellbuoy reload",
		RunE:    func(c *cobra.Command, _ []string) error { return runReload(c.Context(), a) }}
}

func runReload(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var got api.V1Reloaded
	if err := c.call(ctx, http.MethodPost, v1("/reload"), nil, nil, &got); err != nil {
		return err
	}
	for _, line := range got.Said {
		fmt.Fprintln(a.Stdout, line)
	}
	if !got.Taken {
		fmt.Fprintf(a.Stdout, "%s: not reloaded; the old configuration stays in use\n", got.File)
		return errSilent
	}
	fmt.Fprintf(a.Stdout, "%s: reloaded (%s, %s)\n", got.File, plural(got.Upstreams, "upstream"), plural(got.Webhooks, "webhook"))
	return nil
}
