package notify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Set holds webhooks with compiled filters. It is immutable; Compile makes a new one at each
// reload.
type Set struct {
	on    bool // notifications.enabled
	hooks []*compiledWebhook
	named map[string]*compiledWebhook
	types map[detect.Type]*matchIndex
	mute  func(*detect.Event) bool // nil: mutes none
}

// compiledWebhook is a webhook with compiled filters.
type compiledWebhook struct {
	Webhook
	types   map[detect.Type]bool
	match   filter
	exclude filter
}

// Compile checks the webhooks and compiles their filters. enabled is notifications.enabled: if it
// is false, events are recorded, no deliveries are planned, and pending ones wait.
func Compile(enabled bool, webhooks []Webhook) (*Set, error) {
	s := &Set{on: enabled, named: map[string]*compiledWebhook{}, types: map[detect.Type]*matchIndex{}}
	filings := make([]filterAffixes, 0, len(webhooks))
	for _, w := range webhooks {
		h, err := compile(w)
		if err != nil {
			return nil, fmt.Errorf("webhook %q: %w", w.Name, err)
		}
		if s.named[w.Name] != nil {
			return nil, fmt.Errorf("webhook %q: the name is taken", w.Name)
		}
		s.named[w.Name] = h
		s.hooks = append(s.hooks, h)
		f := affixesOf(w.Match)
		if w.Project != "" {
			f[byProject] = []affix{{exact, w.Project}}
		}
		filings = append(filings, f)
	}
	crowd := countAffixes(filings)
	for _, t := range Types() {
		s.types[t] = &matchIndex{}
	}
	for i, h := range s.hooks {
		if !h.Enabled {
			continue
		}
		for t := range h.types {
			s.types[t].add(i, filings[i], crowd)
		}
	}
	return s, nil
}

func compile(w Webhook) (*compiledWebhook, error) {
	h := &compiledWebhook{Webhook: w}
	if w.Format == nil || w.Poster == nil {
		return nil, errors.New("has no format or no poster")
	}
	var err error
	if h.types, err = wanted(w.Events); err != nil {
		return nil, err
	}
	for t := range h.types {
		if !h.canRender(t) {
			delete(h.types, t)
		}
	}
	if h.match, err = compileFilter("match", w.Match); err != nil {
		return nil, err
	}
	if h.exclude, err = compileFilter("exclude", w.Exclude); err != nil {
		return nil, err
	}
	return h, nil
}

// canRender reports whether the webhook's format has a body for events of the type.
func (h *compiledWebhook) canRender(t detect.Type) bool {
	some, ok := h.Format.(interface{ Says() []detect.Type })
	return !ok || slices.Contains(some.Says(), t)
}

func wanted(events []string) (map[detect.Type]bool, error) {
	types := map[detect.Type]bool{}
	for _, t := range Types() {
		types[t] = slices.Contains(events, "*") || slices.Contains(events, string(t)) ||
			len(events) == 0 && !slices.Contains(QuietTypes(), t)
	}
	for i, name := range events {
		if _, known := types[detect.Type(name)]; !known && name != "*" {
			return nil, fmt.Errorf("events[%d]: there is no type %q", i, name)
		}
	}
	for t, want := range types {
		if !want {
			delete(types, t)
		}
	}
	return types, nil
}

// Unnamed is the reason for which no webhook gets the event of a chart whose name is unknown.
const Unnamed = "unnamed"

// refusedBy returns the first filter that rejects the event, or "" if none does; tags are then the
// indexes of the event's tags that pass.
//
// Each tag is tested by itself. A webhook wants the event if at least one tag matches match.tags
// and does not match exclude.tags. A format that is per tag renders only those tags; any other
// format renders the event with all of them.
func (h *compiledWebhook) refusedBy(f *eventView) (because string, tags []int) {
	e := f.event
	switch {
	case !h.Enabled:
		return "enabled", nil
	case !h.types[e.Type] && !h.canRender(e.Type):
		return "format", nil
	case !h.types[e.Type]:
		return "events", nil
	case e.Inspection() && !h.ManifestReads:
		return "manifest_reads", nil
	case e.Unnamed:
		return Unnamed, nil
	case h.Project != "" && f.project != h.Project:
		return "match.projects", nil
	}
	if because := h.match.firstUnmet(f); because != "" {
		return because, nil
	}
	if because := h.exclude.firstMet(f); because != "" {
		return because, nil
	}
	return h.refusedByTags(f)
}

func (h *compiledWebhook) refusedByTags(f *eventView) (because string, tags []int) {
	if len(f.tags) == 0 {
		return h.refusedWithoutTags(f), nil
	}
	for i, t := range f.tags {
		switch {
		case h.match.tags != nil && !anyMatch(h.match.tags, t):
			because = "match.tags"
		case h.match.semver != nil && !inRange(h.match.semver, t):
			because = "match.semver"
		case anyMatch(h.exclude.tags, t):
			because = "exclude.tags"
		case h.exclude.semver != nil && inRange(h.exclude.semver, t):
			because = "exclude.semver"
		default:
			tags = append(tags, i)
		}
	}
	if len(tags) > 0 {
		return "", tags
	}
	return because, nil
}

// refusedWithoutTags rejects an event that could have a tag and has none, if the webhook filters by
// tag.
func (h *compiledWebhook) refusedWithoutTags(f *eventView) string {
	switch {
	case !aboutArtifact(f.event.Type):
		return ""
	case h.match.tags != nil:
		return "match.tags"
	case h.match.semver != nil:
		return "match.semver"
	}
	return ""
}

// Plan returns the deliveries of an event. It is pure and reads no clock.
func (s *Set) Plan(e *detect.Event) []store.Delivery {
	index := s.types[e.Type]
	if !s.on || index == nil || s.mutes(e) {
		return nil
	}
	var f eventView
	f.read(e)
	var out []store.Delivery
	for _, i := range index.candidates(&f) {
		h := s.hooks[i]
		if because, tags := h.refusedBy(&f); because == "" {
			out = h.plan(out, &f, tags)
		}
	}
	return out
}

// plan appends the webhook's deliveries. Number 0 stands for the whole event, n for its nth tag.
func (h *compiledWebhook) plan(out []store.Delivery, f *eventView, tags []int) []store.Delivery {
	if !h.perTag() || len(tags) == 0 || !perTagType(f.event.Type) {
		return append(out, h.delivery(f, 0, tags))
	}
	for _, i := range tags {
		out = append(out, h.delivery(f, i+1, []int{i}))
	}
	return out
}

// perTagType reports whether a per-tag format sends one POST for each tag of such an event.
func perTagType(t detect.Type) bool {
	return t == detect.PushArtifact || t == detect.DeleteArtifact || t == detect.DeleteTag
}

func (h *compiledWebhook) delivery(f *eventView, number int, tags []int) store.Delivery {
	repo := f.event.Upstream + " " + repositoryOf(f.event)
	return store.Delivery{
		Webhook: h.Name,
		Number:  number,
		TagKey:  h.tagKey(repo, f, tags),
		RepoKey: repo,
		NextAt:  h.firstAt(f.event),
	}
}

// tagKey returns the key that `order: tag` keeps in order and that `overtaken` compares. It is the
// first tag of the POST, or the digest of an event without tags, or "" if the event concerns no
// artifact. With `overtaken: drop`, events that change no tag have a key of their own, so that a
// delivered pull never overtakes a push.
func (h *compiledWebhook) tagKey(repo string, f *eventView, tags []int) string {
	var what string
	switch {
	case len(tags) > 0:
		what = f.tags[tags[0]]
	case f.event.Digest != "":
		what = f.event.Digest
	default:
		return ""
	}
	if h.DropOvertaken && !changesTag(f.event.Type) {
		return string(f.event.Type) + " " + repo + " " + what
	}
	return repo + " " + what
}

// firstAt returns when the first attempt may be made: zero (at once) unless the schedule begins
// with a wait.
func (h *compiledWebhook) firstAt(e *detect.Event) time.Time {
	if wait := h.schedule()[0]; wait > 0 {
		return e.At.Add(wait)
	}
	return time.Time{}
}

// Verdict is the decision of one webhook about an event.
type Verdict struct {
	Webhook string
	Fires   bool
	// Because is the first filter that rejects the event: notifications.enabled, enabled,
	// format, events, manifest_reads, unnamed, match.… or exclude.…; "" if it fires.
	Because string
	POSTs   int // number of POSTs, if it fires
}

// Explain reports, for each webhook, whether it gets an event, and which filter rejects it.
func (s *Set) Explain(e detect.Event) []Verdict {
	var f eventView
	f.read(&e)
	out := make([]Verdict, 0, len(s.hooks))
	for _, h := range s.hooks {
		because, tags := h.refusedBy(&f)
		switch {
		case !s.on:
			because = "notifications.enabled"
		case s.mutes(&e):
			because = "replication[].also_push_events"
		}
		v := Verdict{Webhook: h.Name, Fires: because == "", Because: because}
		if v.Fires {
			v.POSTs = len(h.plan(nil, &f, tags))
		}
		out = append(out, v)
	}
	return out
}

// Mute keeps events from all webhooks. It must be called before the Set is used.
func (s *Set) Mute(mute func(*detect.Event) bool) { s.mute = mute }

func (s *Set) mutes(e *detect.Event) bool { return s.mute != nil && s.mute(e) }
