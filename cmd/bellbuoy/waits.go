package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// waitLine describes a webhook whose deliveries wait.
type waitLine struct {
	Webhook string    `json:"webhook"`
	State   string    `json:"state"`
	Since   time.Time `json:"since,omitzero"`
	Why     string    `json:"why,omitempty"`
	NextTry time.Time `json:"next_try,omitzero"`
}

// waits handles GET /waits: it lists the webhooks whose deliveries wait.
func (api controlAPI) waits(w http.ResponseWriter, r *http.Request) error {
	waits, err := api.waitingWebhooks(r.Context())
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(waits)
}

func (d *daemon) waitingWebhooks(ctx context.Context) ([]waitLine, error) {
	states, err := d.dispatcher.States(ctx)
	if err != nil {
		return nil, err
	}
	waits := []waitLine{}
	for _, s := range states {
		state, since, why := manage.StateOf(s)
		if state == manage.StateOK || state == manage.StateFailing && !s.Open {
			continue
		}
		waits = append(waits, waitLine{Webhook: s.Name, State: state, Since: since, Why: why, NextTry: s.ProbeAt})
	}
	return waits, nil
}

// waitingByName returns the webhooks whose deliveries wait, by name; none if no bellbuoy runs.
func waitingByName(ctx context.Context, a *app) map[string]waitLine {
	var waits []waitLine
	c, err := a.connect()
	if err != nil || c.call(ctx, http.MethodGet, "/waits", nil, nil, &waits) != nil {
		return nil
	}
	return byWebhook(waits)
}

func byWebhook(waits []waitLine) map[string]waitLine {
	by := map[string]waitLine{}
	for _, w := range waits {
		by[w.Webhook] = w
	}
	return by
}

// printWaits explains on stderr why deliveries of a webhook wait longer than the list says.
func printWaits(ctx context.Context, a *app, c *controlClient, webhook string) error {
	var waits []waitLine
	if err := c.call(ctx, http.MethodGet, "/waits", nil, nil, &waits); err != nil {
		return err
	}
	for _, w := range waits {
		if webhook == "" || webhook == w.Webhook {
			fmt.Fprintf(terminalWriter{a.Stderr}, "%s: %s\n", oneLine(w.Webhook), oneLine(whyWaiting(w)))
		}
	}
	return nil
}

// whyWaiting explains why a webhook's deliveries wait.
func whyWaiting(w waitLine) string {
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
