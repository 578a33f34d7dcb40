package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/api"
)

func newExplainCommand(a *app) *cobra.Command {
	var client detect.Client
	c := &cobra.Command{
		Use:   "explain EVENT-ID | METHOD URL",
		Short: "Say why webhooks get an event or a request's event, or why not",
		Long: "With the ID of an event: for each webhook, when the event was delivered, or which key of its filter rejected\n" +
			"it; for each scanner, the scans that a push started, or which key prevented one. bellbuoy events lists IDs.\n\n" +
			"With METHOD and URL: which event such a request is, which webhooks would get it, and for the others the first\n" +
			"key that rejects it; for a push, also which scanners would scan it. URL is a URL of bellbuoy or only its path.\n" +
			"Nothing is sent. If only the body or the answer decides, the output says so.",
		Example: "  bellbuoy explain 01a21fe2-db06-73dd-bfb2-8128bb9ca434\n  bellbuoy explain PUT /v2/team/app/manifests/v1\n" +
			"  bellbuoy explain --operator alice DELETE https://registry.example.com/v2/team/app/manifests/v1",
		Args: eventOrRequest,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return runExplainEvent(c.Context(), a, args[0])
			}
			return runExplainRequest(c.Context(), a, args[0], args[1], client)
		},
	}
	c.Flags().StringVar(&client.Operator, "operator", "", "`NAME` of the operator of the request; by default nobody")
	c.Flags().StringVar(&client.UserAgent, "user-agent", "", "User-Agent `TEXT` of the request")
	return c
}

// eventOrRequest accepts the id of an event, or a method and a URL.
func eventOrRequest(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return cobra.RangeArgs(1, 2)(c, args)
	}
	if _, err := uuid.Parse(args[0]); err != nil {
		return fmt.Errorf("%q is not the id of an event; bellbuoy events lists them. For a request, give METHOD and URL", args[0])
	}
	return nil
}

// runExplainEvent prints, for each webhook and scanner, whether an event fired it, and why.
func runExplainEvent(ctx context.Context, a *app, id string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var got api.V1Explained
	if err := c.call(ctx, http.MethodGet, v1("/events/"+id+"/explain"), nil, nil, &got); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, eventColumns, "TIME", "ID", "TYPE", "OPERATOR", "WHAT")
	if err := printEvent(a, got.Event, false); err != nil {
		return err
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nWEBHOOK\tFIRED\tBECAUSE")
	for _, w := range got.Webhooks {
		fired, because := whatBecame(w)
		fmt.Fprintf(t, "%s\t%s\t%s\n", oneLine(w.Webhook), fired, oneLine(because))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printScanners(a.Stdout, got.Scanners)
	return nil
}

// whatBecame returns whether an event fired a webhook, and why, or what became of its deliveries.
func whatBecame(w api.V1Verdict) (fired, because string) {
	if len(w.Deliveries) > 0 {
		var parts []string
		for _, d := range w.Deliveries {
			parts = append(parts, deliveryText(d))
		}
		return "yes", strings.Join(parts, "; ")
	}
	if w.Fires {
		return "no", "its filters match now; then they did not, or it was not configured or not enabled; bellbuoy replay " + w.Webhook + " would send it"
	}
	because = w.Because
	if w.Wanted != "" {
		because += ": the event has " + cmp.Or(w.Value, "(none)") + ", it wants " + w.Wanted
		if strings.HasPrefix(w.Because, "exclude.") {
			because = w.Because + ": the event has " + cmp.Or(w.Value, "(none)") + ", excluded are " + w.Wanted
		}
	}
	return "no", because
}

func deliveryText(d api.V1Delivery) string {
	text := fmt.Sprintf("delivery %d: %s", d.ID, d.State)
	switch {
	case !d.FinishedAt.IsZero():
		text += " " + fullTime(d.FinishedAt)
	case !d.NextAt.IsZero():
		text += ", next attempt " + fullTime(d.NextAt)
	case d.Waits != "":
		text += ", waits for: " + d.Waits
	}
	return text + ", " + plural(d.Attempts, "attempt") + ", last answer " + lastOf(d)
}
