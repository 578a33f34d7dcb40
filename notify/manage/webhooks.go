package manage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
)

// Webhooks returns the webhooks in scope, by project and name.
func (d *AccountWebhooks) Webhooks(ctx context.Context, by access.Principal) ([]Webhook, error) {
	all, err := d.all(ctx, by)
	if err != nil {
		return nil, err
	}
	states, err := d.Dispatcher.States(ctx)
	if err != nil {
		return nil, err
	}
	successes, err := d.Counters.Successes(ctx)
	if err != nil {
		return nil, err
	}
	of := map[string]*notify.WebhookState{}
	for i := range states {
		of[states[i].Name] = &states[i]
	}
	for i := range all {
		all[i].Health = d.healthOf(by, &all[i], of[all[i].Key])
		all[i].Health.count(successes[all[i].Key])
	}
	return all, nil
}

// all returns the webhooks in scope without their health.
func (d *AccountWebhooks) all(ctx context.Context, by access.Principal) ([]Webhook, error) {
	// The store is read, because another replica may have changed a webhook just now.
	stored, _, err := d.Stored.All(ctx)
	if err != nil {
		return nil, err
	}
	var all []Webhook
	set := d.Running.Set()
	for _, h := range set.All {
		if h.Stored == nil && by.MayAll(h.Projects()) {
			all = append(all, d.ofFile(h))
		}
	}
	for i := range stored {
		if !by.May(stored[i].Project) {
			continue
		}
		w, err := ofStore(&stored[i], set)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	slices.SortFunc(all, Webhook.Compare)
	return all, nil
}

func (d *AccountWebhooks) ofFile(h *Hook) Webhook {
	w := Webhook{Number: d.Numbers.Webhook(h.Name), Key: h.Name, Name: h.Name, Projects: h.Projects(), Source: h.Source,
		Definition: h.Complete, Complete: h.Complete}
	if len(w.Projects) == 1 {
		w.Project = w.Projects[0]
	}
	return w
}

// ofStore returns a webhook of the store. A webhook that is left out of the set has no complete
// definition.
func ofStore(s *notify.Stored, set *HookSet) (Webhook, error) {
	def, err := definitionOf(s)
	if err != nil {
		return Webhook{}, err
	}
	shown := def.masked()
	w := Webhook{Number: s.Number, Key: s.Key, Name: s.Name, Project: s.Project, Projects: []string{s.Project}, Maker: s.Maker,
		Limited: s.Limited, Made: s.Made, Changed: s.Changed, Version: s.Version, Definition: shown, Complete: shown, Editable: true}
	if h := set.Named(s.Key); h != nil && h.Stored != nil && h.Stored.Version == s.Version {
		w.Complete = h.Complete
	}
	return w, nil
}

func definitionOf(s *notify.Stored) (def Definition, err error) {
	if err := json.Unmarshal(s.Definition, &def); err != nil {
		return def, fmt.Errorf("decoding webhook %s: %w", s.Key, err)
	}
	return def, nil
}

// Webhook returns a webhook by its number.
func (d *AccountWebhooks) Webhook(ctx context.Context, by access.Principal, number int64) (Webhook, error) {
	w, err := d.one(ctx, by, number)
	if err != nil {
		return Webhook{}, err
	}
	states, err := d.Dispatcher.States(ctx)
	if err != nil {
		return Webhook{}, err
	}
	successes, err := d.Counters.Successes(ctx)
	if err != nil {
		return Webhook{}, err
	}
	i := slices.IndexFunc(states, func(s notify.WebhookState) bool { return s.Name == w.Key })
	if i < 0 {
		w.Health = d.healthOf(by, &w, nil)
	} else {
		w.Health = d.healthOf(by, &w, &states[i])
	}
	w.Health.count(successes[w.Key])
	return w, nil
}

// one returns a webhook in scope without its health.
func (d *AccountWebhooks) one(ctx context.Context, by access.Principal, number int64) (Webhook, error) {
	stored, err := d.Stored.Get(ctx, number)
	switch {
	case err == nil && by.May(stored.Project):
		return ofStore(&stored, d.Running.Set())
	case err != nil && !errors.Is(err, notify.ErrNoWebhook):
		return Webhook{}, err
	}
	for _, h := range d.Running.Set().All {
		if h.Stored == nil && d.Numbers.Webhook(h.Name) == number && by.MayAll(h.Projects()) {
			return d.ofFile(h), nil
		}
	}
	return Webhook{}, noWebhook(fmt.Sprint(number))
}

func noWebhook(name string) error {
	return fmt.Errorf("%w: webhook %.255s not found", ErrNotFound, name)
}

// Find returns a webhook of the file by its name, or a webhook of the store by project/name or by
// its key.
func (d *AccountWebhooks) Find(ctx context.Context, by access.Principal, name string) (Webhook, error) {
	all, err := d.all(ctx, by)
	if err != nil {
		return Webhook{}, err
	}
	i := slices.IndexFunc(all, func(w Webhook) bool { return w.Key == name })
	if i < 0 {
		i = slices.IndexFunc(all, func(w Webhook) bool { return w.Source == "" && w.Project+"/"+w.Name == name })
	}
	if i < 0 {
		return Webhook{}, noWebhook(name)
	}
	return d.Webhook(ctx, by, all[i].Number)
}

// Triggers returns the types of events that a webhook gets, and when it last got each.
func (d *AccountWebhooks) Triggers(ctx context.Context, by access.Principal, number int64) ([]Trigger, error) {
	w, err := d.Webhook(ctx, by, number)
	if err != nil {
		return nil, err
	}
	fired := map[string]time.Time{}
	for t, at := range d.Dispatcher.LastFired(w.Key) {
		fired[string(t)] = at
	}
	on := w.Health.State == StateOK || w.Health.State == StateFailing
	all := []Trigger{}
	for _, t := range w.Complete.Events {
		all = append(all, Trigger{Type: t, Enabled: on, Last: fired[t]})
	}
	return all, nil
}

// States of a webhook.
const (
	StateOK       = "ok"
	StateFailing  = "failing"
	StateDisabled = "disabled" // by command or in the console
	StateGone     = "gone"     // the receiver answered 410
	StateOff      = "off"      // not enabled in the configuration, or left out
)

// healthOf returns a webhook's health. s is nil for a webhook that is not in use.
func (d *AccountWebhooks) healthOf(by access.Principal, w *Webhook, s *notify.WebhookState) Health {
	if s == nil {
		return Health{State: StateOff, Why: cmp.Or(d.whyOff(by, w.Number), "it is not in use yet")}
	}
	h := Health{CircuitOpen: s.Open, Pending: s.Pending, Dead: s.Dead, Parked: s.Parked, Oldest: s.Oldest}
	if h.State, h.Since, h.Why = StateOf(*s); h.State == StateFailing {
		h.Why = lastErrorFor(by, h.Why)
	}
	if s.Open && h.State == StateFailing {
		h.NextAttempt = s.ProbeAt
	}
	for _, at := range s.Fired {
		if at.After(h.LastDelivery) {
			h.LastDelivery = at
		}
	}
	return h
}

// StateOf returns the state of a webhook, when it began, and its reason.
func StateOf(s notify.WebhookState) (state string, since time.Time, why string) {
	switch {
	case !s.Enabled:
		return StateOff, since, "enabled: false in the configuration"
	case s.Off == notify.SwitchedByGone:
		return StateGone, s.OffSince, "its receiver answered 410; bellbuoy enable " + s.Name
	case s.Off != "":
		return StateDisabled, s.OffSince, "by command; bellbuoy enable " + s.Name
	case !s.Failing.IsZero() || s.Open:
		return StateFailing, s.Failing, s.Why
	}
	return StateOK, since, ""
}

// whyOff returns why a webhook of the store is left out, as an account may see it; "": it is not.
func (d *AccountWebhooks) whyOff(by access.Principal, number int64) string {
	err := d.Running.Set().why[number]
	_, denied := errors.AsType[notAllowed](err)
	switch {
	case err == nil:
		return ""
	case denied && !by.Administrator:
		return "url: " + NotAllowed
	}
	return err.Error()
}
