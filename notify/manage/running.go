package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Hook is a webhook in use, of the file or of the store.
type Hook struct {
	notify.Webhook                 // its Name is the key of its deliveries
	Client         *webhook.Client // the Poster of the webhook
	Complete       Definition      // with preset and defaults; secrets are masked
	URL            string          // of Complete, not masked
	Source         string          // in the file: its position; "": in the store
	Stored         *notify.Stored  // nil: in the file
}

// Projects returns the projects to which the webhook belongs; nil: it names none.
func (h *Hook) Projects() []string {
	if h.Stored != nil {
		return []string{h.Stored.Project}
	}
	if slices.ContainsFunc(h.Complete.Match.Projects, func(p string) bool { return strings.ContainsAny(p, `*?[]{}\`) }) {
		return nil
	}
	return h.Complete.Match.Projects
}

// ShownURL returns the URL of a message without its secret parts.
func (h *Hook) ShownURL(m webhook.Message) string {
	if len(m.Values) > 0 {
		return webhook.Filled(h.URL, m.Values)
	}
	return h.Complete.URL
}

// HookSet is an immutable set of all webhooks in use.
type HookSet struct {
	All []*Hook
	Off []string // a text for each webhook of the store that is left out, with the reason

	by      map[string]*Hook // by key
	why     map[int64]error  // by number: why a webhook is left out
	out     []*notify.Stored // those left out
	changes int64            // number of changes of the store that the set contains
	from    *Configuration
	set     *notify.Set
}

// Named returns the webhook with a key; nil: there is none.
func (s *HookSet) Named(key string) *Hook { return s.by[key] }

// Find returns a webhook by its key, or one of the store by project/name; nil: there is none.
func (s *HookSet) Find(name string) *Hook {
	if h := s.by[name]; h != nil {
		return h
	}
	i := slices.IndexFunc(s.All, func(h *Hook) bool { return h.Stored != nil && h.Stored.Project+"/"+h.Stored.Name == name })
	if i < 0 {
		return nil
	}
	return s.All[i]
}

// KeyOf returns the key of a webhook's deliveries. If there is no such webhook, it returns the name
// itself, because deliveries outlive their webhook.
func (s *HookSet) KeyOf(name string) string {
	if h := s.Find(name); h != nil {
		return h.Name
	}
	return name
}

// Keys returns the keys of all webhooks.
func (s *HookSet) Keys() (keys []string) {
	for _, h := range s.All {
		keys = append(keys, h.Name)
	}
	return keys
}

// Configuration is the part of the configuration on which the webhooks depend.
type Configuration struct {
	Enabled bool    // notifications.enabled
	Hooks   []*Hook // of the file
	// Mute keeps events from all webhooks; nil: none.
	Mute func(*detect.Event) bool
	// Build makes the hook of a webhook of the store. The limits of limited accounts apply if
	// its Limited is set. The error is a Problems.
	Build func(*notify.Stored) (*Hook, error)
}

// Running holds the webhooks in use, and passes them to the outbox and the dispatcher. Use must be
// called first.
type Running struct {
	stored *notify.Webhooks
	apply  func(*notify.Set)
	log    *zap.Logger

	mu  sync.Mutex // held while the set is replaced
	set atomic.Pointer[HookSet]
}

// NewRunning returns a Running without webhooks. apply passes a set to the outbox and the
// dispatcher.
func NewRunning(stored *notify.Webhooks, apply func(*notify.Set), log *zap.Logger) *Running {
	r := &Running{stored: stored, apply: apply, log: log}
	r.set.Store(&HookSet{from: &Configuration{Build: func(*notify.Stored) (*Hook, error) { return nil, errors.New("not configured yet") }}})
	return r
}

// Set returns the webhooks in use.
func (r *Running) Set() *HookSet { return r.set.Load() }

// build makes a hook under the configuration in use.
func (r *Running) build(s *notify.Stored) (*Hook, error) { return r.Set().from.Build(s) }

// Use applies a configuration. If the store cannot be read, its webhooks stay as they were, and the
// error says so.
func (r *Running) Use(ctx context.Context, c *Configuration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replace(ctx, c)
}

// Follow applies changes of the store.
func (r *Running) Follow(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replace(ctx, r.Set().from)
}

// replace builds and applies a new set. The caller holds r.mu.
func (r *Running) replace(ctx context.Context, c *Configuration) error {
	stored, changes, readErr := r.stored.All(ctx)
	old := r.Set()
	if readErr != nil {
		changes = old.changes
		for _, h := range old.All {
			if h.Stored != nil {
				stored = append(stored, *h.Stored)
			}
		}
	}
	next, err := r.next(c, stored, changes)
	if err != nil {
		return errors.Join(readErr, err)
	}
	r.set.Store(next)
	r.apply(next.set)
	old.closeBut(next)
	return readErr
}

// next returns the set of the webhooks of the file and of the store. It reuses hooks that have not
// changed. It leaves out webhooks that are invalid under the configuration; their deliveries are
// parked.
func (r *Running) next(c *Configuration, stored []notify.Stored, changes int64) (*HookSet, error) {
	s := &HookSet{All: slices.Clone(c.Hooks), by: map[string]*Hook{}, why: map[int64]error{}, changes: changes, from: c}
	taken := namesTaken(c.Hooks)
	for i := range stored {
		one := &stored[i]
		if taken(one.Project, one.Name) {
			r.leaveOut(s, one, errNameTaken)
			continue
		}
		h := r.Set().same(one, c)
		if h == nil {
			var err error
			if h, err = c.Build(one); err != nil {
				r.leaveOut(s, one, err)
				continue
			}
		}
		s.All = append(s.All, h)
	}
	ready := make([]notify.Webhook, 0, len(s.All))
	for _, h := range s.All {
		s.by[h.Name] = h
		ready = append(ready, h.Webhook)
	}
	var err error
	if s.set, err = notify.Compile(c.Enabled, ready); err == nil {
		s.set.Mute(c.Mute)
	}
	return s, err
}

// namesTaken returns a function that reports whether the file has a webhook of a name in a project.
// It is fast for thousands of webhooks in the file and in the store.
func namesTaken(file []*Hook) func(project, name string) bool {
	names := map[string]bool{}
	for _, h := range file {
		names[h.Name] = true
		for _, project := range h.Projects() {
			names[project+"/"+h.Name] = true
		}
	}
	return func(project, name string) bool { return names[project+"/"+name] }
}

var errNameTaken = errors.New("the configuration file has a webhook of its name")

// leaveOut logs that a webhook of the store is off, once.
func (r *Running) leaveOut(s *HookSet, one *notify.Stored, why error) {
	text := fmt.Sprintf("webhook %s, made by API, is off: %v", one.Key, why)
	s.Off = append(s.Off, text)
	s.why[one.Number] = why
	s.out = append(s.out, one)
	if before := r.Set().why[one.Number]; before == nil || before.Error() != why.Error() {
		r.log.Warn("webhook made by API is off", zap.String("webhook", one.Key), zap.String("why", why.Error()))
	}
}

// same returns the webhook of the store in an older set, if neither it nor the configuration has
// changed.
func (s *HookSet) same(one *notify.Stored, c *Configuration) *Hook {
	if s.from != c {
		return nil
	}
	if h := s.by[one.Key]; h != nil && h.Stored != nil && h.Stored.Version == one.Version {
		return h
	}
	return nil
}

// closeBut closes the clients of those webhooks of the store that are not in next.
func (s *HookSet) closeBut(next *HookSet) {
	for _, h := range s.All {
		if h.Stored != nil && next.by[h.Name] != h {
			h.Client.Close()
		}
	}
}

const lookForChanges = 500 * time.Millisecond

// Watch applies changes of other replicas within a second, until ctx ends.
func (r *Running) Watch(ctx context.Context) {
	ticker := time.NewTicker(lookForChanges)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		changes, err := r.stored.Changes(ctx)
		if err != nil || changes == r.Set().changes { // a failing store is logged elsewhere
			continue
		}
		if err := r.Follow(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("changed webhooks of the store not applied", zap.Error(err))
		}
	}
}
