package proxy

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

// guarded runs observing code. A panic in it is counted and logged, and the request goes on;
// guarded then returns false.
func (x *exchange) guarded(where string, observe func()) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			ok = false
			x.g.panicked(where, v)
		}
	}()
	observe()
	return true
}

// panicked counts every panic and logs the first of each place and minute, with its stack.
func (g *generation) panicked(where string, v any) {
	g.Metrics.panics.Inc()
	if g.h.warned.first("panic "+where, time.Now()) {
		g.Log.Error("observing a request failed", zap.String("where", where), zap.String("panic", bounded(fmt.Sprint(v), 500)),
			zap.ByteString("stack", debug.Stack()))
	}
}

// warnSpoofed counts forwarding headers of peers that are not trusted, and warns of them once a
// minute.
func (g *generation) warnSpoofed(peer netip.Addr) {
	g.Metrics.spoofed.Inc()
	if g.h.warned.first("spoofed", time.Now()) {
		g.Log.Warn("forwarding headers from a peer that is not in trusted_proxies are ignored", zap.Stringer("peer", peer))
	}
}

// warnings remembers which warnings were logged within the last minute. Its keys are few and fixed.
type warnings struct {
	mu sync.Mutex
	at map[string]time.Time
}

// first reports whether a warning has not been logged within the last minute, and remembers it.
func (w *warnings) first(what string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.at[what]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if w.at == nil {
		w.at = map[string]time.Time{}
	}
	w.at[what] = now
	return true
}
