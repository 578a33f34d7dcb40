package main

import (
	"context"
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

// watch reloads on SIGHUP and when the configuration, or a file that it names, changes. It returns when ctx ends.
func (b *buoy) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	files, err := fsnotify.NewWatcher()
	if err != nil {
		b.log.Warn("files are not watched; SIGHUP reloads", zap.Error(err))
		files = &fsnotify.Watcher{}
	} else {
		defer files.Close()
	}
	b.watchFiles(files)
	soon := time.NewTimer(time.Hour)
	soon.Stop()
	seen := b.fingerprint()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			b.reload()
			seen = b.fingerprint()
			b.watchFiles(files)
		case <-files.Events:
			soon.Reset(settle)
		case err := <-files.Errors:
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

// watchFiles watches the directories of all files that matter: a file may be replaced, and in Kubernetes a directory of links is.
func (b *buoy) watchFiles(w *fsnotify.Watcher) {
	for _, file := range b.files() {
		dir := filepath.Dir(file)
		if !slices.Contains(w.WatchList(), dir) {
			_ = w.Add(dir) // a directory that is not there holds nothing that could change
		}
	}
}

func (b *buoy) files() []string { return append([]string{b.path}, b.wiring.Load().config.Files()...) }

// fingerprint tells whether a file is another than before.
func (b *buoy) fingerprint() string {
	var s strings.Builder
	for _, file := range b.files() {
		if info, err := os.Stat(file); err == nil {
			s.WriteString(file + info.ModTime().String() + info.Mode().String() + string(rune(info.Size())))
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
		b.log.Error("configuration not reloaded: the old one stays", zap.Error(err))
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
