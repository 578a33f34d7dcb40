package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/api"
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
	c := &cobra.Command{Use: "deliveries [ID]", Short: "List deliveries, or show one", Args: cobra.MaximumNArgs(1),
		Long: "List deliveries, newest last. Different flags must all match.\n\n" +
			"With the ID of a delivery: the request that was sent, and every attempt with its time and the receiver's\n" +
			"answer. Secrets are masked.\n\n" +
			"States: pending (waits for its first or next attempt), delivered, dead (given up), parked (its webhook was\n" +
			"removed from the configuration).",
		Example: "  bellbuoy deliveries --webhook deploy --state dead --since 2h\n  bellbuoy deliveries 4711",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return runDelivery(c.Context(), a, args[0], f.json)
			}
			return runDeliveries(c.Context(), a, f)
		}}
	c.Flags().StringVar(&f.webhook, "webhook", "", "only deliveries of the webhook with this `NAME`")
	c.Flags().StringSliceVar(&f.states, "state", nil, "only deliveries in this `STATE`: pending, delivered, dead or parked")
	c.Flags().StringVar(&f.event, "event", "", "only deliveries of the event with this `ID`")
	c.Flags().IntVarP(&f.limit, "limit", "n", 50, "most deliveries to list: the newest `N`")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
	addSpan(c, &f.span)
	_ = c.RegisterFlagCompletionFunc("webhook", a.completeWebhooks)
	_ = c.RegisterFlagCompletionFunc("state", completeStates)
	return c
}

func runDeliveries(ctx context.Context, a *app, f deliveriesFlags) error {
	query := url.Values{"state": f.states}
	if err := f.span.add(query); err != nil {
		return err
	}
	setIf(query, "webhook", f.webhook)
	setIf(query, "event", f.event)
	c, err := a.connect()
	if err != nil {
		return err
	}
	newest, looked, _, err := newestOf[api.V1Delivery](ctx, c, v1("/deliveries"), query, f.limit)
	if err != nil {
		return err
	}
	slices.Reverse(newest)
	if f.json {
		out := json.NewEncoder(a.Stdout)
		for _, d := range newest {
			if err := out.Encode(d); err != nil {
				return err
			}
		}
		return nil
	}
	if err := printDeliveries(a, newest); err != nil {
		return err
	}
	if !looked.IsZero() {
		fmt.Fprintf(a.Stderr, "searched back to %s; to search earlier deliveries: --until %s\n", fullTime(looked), looked.Format(time.RFC3339))
	}
	return printWaits(ctx, a, c, f.webhook)
}

func printDeliveries(a *app, all []api.V1Delivery) error {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWEBHOOK\tSTATE\tATTEMPTS\tLAST ANSWER\tTYPE\tWHAT\tCREATED\tNEXT ATTEMPT")
	for _, d := range all {
		fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", d.ID, oneLine(d.Webhook), d.State, d.Attempts, lastOf(d), d.Type, whatOf(d),
			fullTime(d.CreatedAt), nextOf(d))
	}
	return t.Flush()
}

// nextOf returns when the next attempt may begin, or what it waits for.
func nextOf(d api.V1Delivery) string {
	if d.NextAt.IsZero() && d.Waits != "" {
		return "waits for: " + d.Waits
	}
	return fullTime(d.NextAt)
}

// whatOf returns the subject of a delivery.
func whatOf(d api.V1Delivery) string {
	if d.Tag == "" {
		return oneLine(d.Repository)
	}
	return oneLine(d.Repository + ":" + d.Tag)
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
	var d api.V1Delivery
	if err := c.call(ctx, http.MethodGet, v1("/deliveries/"+id), nil, nil, &d); err != nil {
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
	if d.Waits != "" {
		fmt.Fprintf(t, "next attempt\t%s\nwaits for\t%s\n", fullTime(d.NextAt), d.Waits)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printSent(a, d.Sent)
	printAttempts(a, d.Log)
	return nil
}

func printSent(a *app, s *api.V1Request) {
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

func printAttempts(a *app, log []api.V1Attempt) {
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

func lastOf(d api.V1Delivery) string {
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
