package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
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

// watch reloads on SIGHUP and when the configuration, or a file that it names, is another than seen. It returns when ctx ends.
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
			b.reload()
			b.watchFiles(files)
		case <-events:
			soon.Reset(settle)
		case err := <-failures:
			b.log.Warn("watching files", zap.Error(err))
		case <-soon.C:
			if now := b.fingerprint(); now != seen {
				seen = now
				b.reload()
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

// reload takes a new configuration, or keeps the old one running and says why.
func (b *buoy) reload() {
	_, next, warnings, err := b.load()
	if err != nil {
		b.log.Error("configuration not reloaded: the old one stays", zap.Strings("problems", strings.Split(err.Error(), "\n")))
		return
	}
	if keys := config.NeedsRestart(b.wiring.Load().config, next); len(keys) > 0 {
		b.log.Error("configuration not reloaded: the old one stays; restart bellbuoy to change these", zap.Strings("keys", keys))
		return
	}
	w, err := wire(next, b.listeners.addresses)
	if err == nil {
		err = b.handler.Configure(w.proxyOptions(b.data))
	}
	if err != nil {
		if w != nil {
			w.close()
		}
		b.log.Error("configuration not reloaded: the old one stays", zap.Strings("problems", strings.Split(err.Error(), "\n")))
		return
	}
	for _, text := range warnings {
		b.log.Warn("configuration", zap.String("warning", text.String()))
	}
	old := b.wiring.Load()
	b.use(w)
	old.close()
	_ = b.level.UnmarshalText([]byte(next.Log.Level)) // config checked it
	b.log.Info("configuration reloaded", zap.Int("upstreams", len(w.upstreams)), zap.Int("webhooks", len(next.Webhooks)))
}
