package notify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Set is webhooks with their filters made ready. It never changes; Compile makes a new one at each reload.
type Set struct {
	on    bool // notifications.enabled
	hooks []*compiledWebhook
	named map[string]*compiledWebhook
	types map[detect.Type]*matchIndex
}

// hook is a webhook made ready.
type compiledWebhook struct {
	Webhook
	types   map[detect.Type]bool
	match   filter
	exclude filter
}

// Compile checks webhooks and makes their Set. enabled is notifications.enabled: without it events are recorded, nothing is planned for anybody,
// and what waits keeps waiting.
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
		filings = append(filings, affixesOf(w.Match))
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

// says reports whether the webhook's format has a body for events of that type.
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

// Unnamed is why a chart's event is for no webhook when nobody could tell the chart's name.
const Unnamed = "unnamed"

// refused names the first filter that keeps the event from the webhook; "": none does, and tags tells which of the event's tags pass.
//
// Tags are asked one by one: a webhook is concerned when at least one tag meets match.tags and is not in exclude.tags, and a format that is
// per tag tells only of those. A format that is not tells of the event as it is.
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

// refusedWithoutTag: who asks for some tags does not get what could have a tag and has none.
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

// Plan is the deliveries that an event causes. It is pure and reads no clock.
func (s *Set) Plan(e *detect.Event) []store.Delivery {
	index := s.types[e.Type]
	if !s.on || index == nil {
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

// plan appends the webhook's deliveries. Number 0 is the event as a whole, n its nth tag.
func (h *compiledWebhook) plan(out []store.Delivery, f *eventView, tags []int) []store.Delivery {
	if !h.perTag() || len(tags) == 0 || !perTagType(f.event.Type) {
		return append(out, h.delivery(f, 0, tags))
	}
	for _, i := range tags {
		out = append(out, h.delivery(f, i+1, []int{i}))
	}
	return out
}

// split tells the types of which a format per tag makes a POST for each tag.
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

// tagKey is what `order: tag` keeps in order and `overtaken` compares. An event of several tags that goes as one POST is kept in order by the first;
// one without a tag by its digest; one that concerns no artifact by nothing. With `overtaken: drop` what moves no tag has a key of its own, so that a
// delivered pull never makes a push look overtaken.
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

// firstAt is when the first attempt may be made: zero, which is at once, unless the schedule begins with a wait.
func (h *compiledWebhook) firstAt(e *detect.Event) time.Time {
	if wait := h.schedule()[0]; wait > 0 {
		return e.At.Add(wait)
	}
	return time.Time{}
}

// Verdict is what a webhook makes of an event.
type Verdict struct {
	Webhook string
	Fires   bool
	Because string // the first filter that says no: notifications.enabled, enabled, format, events, manifest_reads, unnamed, match.…, exclude.…; "" when it fires
	POSTs   int    // how many, when it fires
}

// Explain tells for each webhook whether an event concerns it, and if not, why not.
func (s *Set) Explain(e detect.Event) []Verdict {
	var f eventView
	f.read(&e)
	out := make([]Verdict, 0, len(s.hooks))
	for _, h := range s.hooks {
		because, tags := h.refusedBy(&f)
		if !s.on {
			because = "notifications.enabled"
		}
		v := Verdict{Webhook: h.Name, Fires: because == "", Because: because}
		if v.Fires {
			v.POSTs = len(h.plan(nil, &f, tags))
		}
		out = append(out, v)
	}
	return out
}
