package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// Waiting implements api.V1Operations.
func (d control) Waiting(ctx context.Context) ([]api.V1Waiting, error) {
	states, err := d.dispatcher.States(ctx)
	if err != nil {
		return nil, err
	}
	waits := []api.V1Waiting{}
	for _, s := range states {
		state, since, why := manage.StateOf(s)
		if state == manage.StateOK || state == manage.StateFailing && !s.Open {
			continue
		}
		waits = append(waits, api.V1Waiting{Webhook: s.Name, State: state, Since: since, Why: why, NextTry: s.ProbeAt})
	}
	return waits, nil
}

// waitingByName returns the webhooks whose deliveries wait, by name; none if no bellbuoy runs.
func waitingByName(ctx context.Context, a *app) map[string]api.V1Waiting {
	var waits api.V1WaitingList
	c, err := a.connect()
	if err != nil || c.call(ctx, http.MethodGet, v1("/waiting"), nil, nil, &waits) != nil {
		return nil
	}
	return byWebhook(waits.Items)
}

func byWebhook(waits []api.V1Waiting) map[string]api.V1Waiting {
	by := map[string]api.V1Waiting{}
	for _, w := range waits {
		by[w.Webhook] = w
	}
	return by
}

// printWaits explains on stderr why deliveries of a webhook wait longer than the list says.
func printWaits(ctx context.Context, a *app, c *controlClient, webhook string) error {
	var waits api.V1WaitingList
	if err := c.call(ctx, http.MethodGet, v1("/waiting"), nil, nil, &waits); err != nil {
		return err
	}
	for _, w := range waits.Items {
		if webhook == "" || webhook == w.Webhook {
			fmt.Fprintf(terminalWriter{a.Stderr}, "%s: %s\n", oneLine(w.Webhook), oneLine(whyWaiting(w)))
		}
	}
	return nil
}

// whyWaiting explains why a webhook's deliveries wait.
func whyWaiting(w api.V1Waiting) string {
	switch w.State {
	case manage.StateOff:
		return "not enabled in the configuration; its deliveries wait"
	case manage.StateGone:
		return fmt.Sprintf("disabled since its receiver answered 410 (%s); its deliveries wait until: bellbuoy enable %s", fullTime(w.Since), w.Webhook)
	case manage.StateDisabled:
		return fmt.Sprintf("disabled by command (%s); its deliveries wait until: bellbuoy enable %s", fullTime(w.Since), w.Webhook)
	}
	return fmt.Sprintf("its receiver has failed since %s (%s); one delivery probes at %s, and the others wait until one succeeds", fullTime(w.Since), w.Why, fullTime(w.NextTry))
}
