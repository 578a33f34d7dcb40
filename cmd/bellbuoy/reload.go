package main

import (
	"context"
	"encoding/json"
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
)

const settle = 300 * time.Millisecond // editors and kubelets write in several steps

// catchHangups has SIGHUP wait for watch from now on: until then it would end the process.
func catchHangups() (hup chan os.Signal, stop func()) {
	hup = make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup, func() { signal.Stop(hup) }
}

// watch reloads on SIGHUP, when a command asks, and when the configuration, or a file that it names, is another than seen. It returns when ctx ends.
func (b *buoy) watch(ctx context.Context, hup <-chan os.Signal, seen string) {
	var events <-chan fsnotify.Event // without a watcher nothing ever comes
	var failures <-chan error
	files, err := fsnotify.NewWatcher()
	if err != nil {
		b.log.Warn("files are not watched; SIGHUP reloads", zap.Error(err))
		files = nil
	} else {
		defer files.Close()
		events, failures = files.Events, files.Errors
	}
	b.watchFiles(files)
	soon := time.NewTimer(0) // a change since the start shows no event
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			seen = b.fingerprint() // before they are read: what changes meanwhile is seen again
			_, _ = b.reload()
			b.watchFiles(files)
		case done := <-b.asked:
			seen = b.fingerprint()
			done <- b.answerOf(b.reload())
			b.watchFiles(files)
		case <-events:
			soon.Reset(settle)
		case err := <-failures:
			b.log.Warn("watching files", zap.Error(err))
		case <-soon.C:
			if now := b.fingerprint(); now != seen {
				seen = now
				_, _ = b.reload()
				b.watchFiles(files)
			}
		}
	}
}

// watchFiles watches the directories of all files that matter: a file may be replaced, and in Kubernetes a directory of links is. A nil
// watcher watches nothing.
func (b *buoy) watchFiles(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	for _, file := range b.files() {
		dir := filepath.Dir(file)
		if !slices.Contains(w.WatchList(), dir) {
			_ = w.Add(dir) // a directory that is not there holds nothing that could change
		}
	}
}

func (b *buoy) files() []string { return filesOf(b.path, b.wiring.Load().config) }

func filesOf(path string, c *config.Config) []string { return append([]string{path}, c.Files()...) }

func (b *buoy) fingerprint() string { return fingerprintOf(b.files()) }

// fingerprintOf tells whether a file is another than before.
func fingerprintOf(files []string) string {
	var s strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintln(&s, file, info.ModTime().UnixNano(), info.Mode(), info.Size())
		}
	}
	return s.String()
}

// reload takes a new configuration, or keeps the old one running. It returns what is wrong with the file, or doubtful.
func (b *buoy) reload() (config.Warnings, error) {
	warnings, err := b.takeNext()
	b.reloads.note(err == nil)
	if err != nil {
		b.log.Error("configuration not reloaded: the old one stays", zap.Strings("problems", strings.Split(err.Error(), "\n")))
		return warnings, err
	}
	for _, w := range warnings {
		b.log.Warn("configuration", zap.String("warning", w.String()))
	}
	c := b.wiring.Load().config
	b.log.Info("configuration reloaded", zap.Int("upstreams", len(c.Upstreams)), zap.Int("webhooks", len(c.Webhooks)))
	return warnings, nil
}

func (b *buoy) takeNext() (config.Warnings, error) {
	_, next, warnings, err := b.load()
	if err != nil {
		return warnings, err
	}
	old := b.wiring.Load()
	warnings = slices.Concat(warnings, config.KeepUntilRestart(old.config, next))
	w, err := wire(next, b.listeners.addresses)
	if err != nil {
		return warnings, err
	}
	if err := b.handler.Configure(w.proxyOptions(b.data)); err != nil {
		w.close()
		return warnings, err
	}
	b.use(w)
	old.close()
	return warnings, b.logging.follow(next.Log)
}

// reloadMetrics show how the last reload went. A start counts as one.
type reloadMetrics struct {
	ok, at prometheus.Gauge
	taken  atomic.Bool
}

func newReloadMetrics(registry prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bellbuoy_config_reload_success",
			Help: "Whether the last read of the configuration was taken (1), or the one before stays in use (0)."}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bellbuoy_config_reload_success_timestamp_seconds",
			Help: "When a configuration was last taken."}),
	}
	registry.MustRegister(m.ok, m.at)
	m.note(true)
	return m
}

func (m *reloadMetrics) note(taken bool) {
	m.taken.Store(taken)
	if !taken {
		m.ok.Set(0)
		return
	}
	m.ok.Set(1)
	m.at.SetToCurrentTime()
}

// reloadRequest is a command's: the answer comes when the reload is over.
type reloadRequest chan<- reloadAnswer

// controlReload has watch reload, so that two reloads never meet.
func (b *buoy) controlReload(w http.ResponseWriter, r *http.Request) error {
	done := make(chan reloadAnswer, 1)
	select {
	case b.asked <- done:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	return json.NewEncoder(w).Encode(<-done)
}

// answerOf is what a reload has to say, in the order of the file.
func (b *buoy) answerOf(warnings config.Warnings, err error) reloadAnswer {
	answer := reloadAnswer{File: b.path, Taken: err == nil}
	problems, inFile := errors.AsType[config.Problems](err)
	if err != nil && !inFile {
		answer.Said = append(answer.Said, err.Error())
	}
	for _, p := range inOrder(problems, warnings) {
		answer.Said = append(answer.Said, p.String())
	}
	c := b.wiring.Load().config
	answer.Upstreams, answer.Webhooks = len(c.Upstreams), len(c.Webhooks)
	return answer
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{Use: "reload", Short: "Have the running bellbuoy read its file again; print the problems", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.askForReload(c.Context()) }}
}

func (a *app) askForReload(ctx context.Context) error {
	c, err := a.control()
	if err != nil {
		return err
	}
	var got reloadAnswer
	if err := c.call(ctx, http.MethodPost, "/reload", nil, nil, &got); err != nil {
		return err
	}
	for _, line := range got.Said {
		fmt.Fprintln(a.Stdout, line)
	}
	if !got.Taken {
		fmt.Fprintf(a.Stdout, "%s: not reloaded; bellbuoy goes on with the configuration that it had\n", got.File)
		return errSilent
	}
	fmt.Fprintf(a.Stdout, "%s: reloaded (%s, %s)\n", got.File, plural(got.Upstreams, "upstream"), plural(got.Webhooks, "webhook"))
	return nil
}
