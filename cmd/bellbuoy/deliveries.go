package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// deliveriesFlags selects deliveries.
type deliveriesFlags struct {
	webhook, event string
	states         []string
	limit          int
	json           bool
	span
}

func newDeliveriesCommand(a *app) *cobra.Command {
	var f deliveriesFlags
	c := &cobra.Command{Use: "deliveries [ID]", Short: "List deliveries, newest last; with an ID: what was sent, every attempt and answer", Args: cobra.MaximumNArgs(1),
		Example: "  bellbuoy deliveries --webhook deploy --state dead --since 2h\n  bellbuoy deliveries 4711",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return runDelivery(c.Context(), a, args[0], f.json)
			}
			return runDeliveries(c.Context(), a, f)
		}}
	c.Flags().StringVar(&f.webhook, "webhook", "", "only deliveries of this webhook")
	c.Flags().StringSliceVar(&f.states, "state", nil, "only deliveries in this state: pending, delivered, dead or parked")
	c.Flags().StringVar(&f.event, "event", "", "only deliveries of the event with this `ID`")
	c.Flags().IntVarP(&f.limit, "limit", "n", 50, "number of lines")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON lines")
	addSpan(c, &f.span)
	_ = c.RegisterFlagCompletionFunc("webhook", a.completeWebhooks)
	_ = c.RegisterFlagCompletionFunc("state", completeStates)
	return c
}

func runDeliveries(ctx context.Context, a *app, f deliveriesFlags) error {
	query := url.Values{"limit": {strconv.Itoa(f.limit)}, "state": f.states}
	if err := f.span.add(query); err != nil {
		return err
	}
	setIf(query, "webhook", f.webhook)
	setIf(query, "event", f.event)
	c, err := a.connect()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodGet, "/deliveries", query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if f.json {
		return lines(resp.Body, func(d deliveryLine) error { return json.NewEncoder(a.Stdout).Encode(d) })
	}
	if err := printDeliveries(a, resp.Body); err != nil {
		return err
	}
	return printWaits(ctx, a, c, f.webhook)
}

func printDeliveries(a *app, answer io.Reader) error {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWEBHOOK\tSTATE\tATTEMPTS\tLAST ANSWER\tTYPE\tWHAT\tCREATED\tNEXT ATTEMPT")
	err := lines(answer, func(d deliveryLine) error {
		fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", d.ID, oneLine(d.Webhook), d.State, d.Attempts, lastOf(d), d.Type, whatOf(d),
			fullTime(d.CreatedAt), fullTime(d.NextAt))
		return nil
	})
	return errors.Join(err, t.Flush())
}

// whatOf returns the subject of a delivery.
func whatOf(d deliveryLine) string {
	if d.Tag == "" {
		return oneLine(d.Repository)
	}
	return oneLine(d.Repository + ":" + d.Tag)
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

// runDelivery prints one delivery with its request and all attempts.
func runDelivery(ctx context.Context, a *app, id string, asJSON bool) error {
	if _, err := strconv.ParseInt(id, 10, 64); err != nil {
		return fmt.Errorf("%q is not the id of a delivery; list them with: bellbuoy deliveries", id)
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	var d deliveryLine
	if err := c.call(ctx, http.MethodGet, "/deliveries/"+id, nil, nil, &d); err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(a.Stdout).Encode(d)
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "delivery\t%d\nwebhook\t%s\nevent\t%s  %s  %s\n", d.ID, oneLine(d.Webhook), d.EventID, d.Type, whatOf(d))
	fmt.Fprintf(t, "state\t%s\nattempts\t%d, last: %s\ncreated\t%s\n", d.State, d.Attempts, lastOf(d), fullTime(d.CreatedAt))
	if !d.FinishedAt.IsZero() {
		fmt.Fprintf(t, "finished\t%s\n", fullTime(d.FinishedAt))
	}
	if !d.NextAt.IsZero() {
		fmt.Fprintf(t, "next attempt\t%s\n", fullTime(d.NextAt))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printSent(a, d.Sent)
	printAttempts(a, d.Log)
	return nil
}

func printSent(a *app, s *sentRequest) {
	if s == nil {
		fmt.Fprintln(a.Stdout, "\nsent: nothing yet")
		return
	}
	fmt.Fprintf(a.Stdout, "\nsent: POST %s\n", oneLine(s.URL))
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		fmt.Fprintf(a.Stdout, "  %s: %s\n", oneLine(name), oneLine(strings.Join(s.Header[name], ", ")))
	}
	if s.Binary != nil {
		fmt.Fprintf(a.Stdout, "\n  (%d bytes of binary data)\n", len(s.Binary))
		return
	}
	fmt.Fprintf(a.Stdout, "\n  %s\n", inset(s.Body))
}

func printAttempts(a *app, log []attemptLine) {
	for _, at := range log {
		fmt.Fprintf(a.Stdout, "\n%s  %s  %.1f ms  %s\n", fullTime(at.At), statusText(at.Status), at.Millis, oneLine(strings.TrimSpace(at.Error)))
		if at.Response != "" {
			fmt.Fprintf(a.Stdout, "  %s\n", inset(at.Response))
		}
	}
}

// inset indents all lines of a text by two spaces.
func inset(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// oneLine replaces line breaks and tabs.
func oneLine(text string) string { return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(text) }

func lastOf(d deliveryLine) string {
	switch {
	case d.Status != 0 && d.Reason != "":
		return fmt.Sprintf("%d %s", d.Status, d.Reason)
	case d.Status != 0:
		return strconv.Itoa(d.Status)
	case d.Reason != "":
		return d.Reason
	}
	return "-"
}

// waitLine describes a webhook whose deliveries wait.
type waitLine struct {
	Webhook string    `json:"webhook"`
	State   string    `json:"state"`
	Since   time.Time `json:"since,omitzero"`
	Why     string    `json:"why,omitempty"`
	NextTry time.Time `json:"next_try,omitzero"`
}
