package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func newRedeliverCommand(a *app) *cobra.Command {
	var webhook, since string
	var states []string
	c := &cobra.Command{Use: "redeliver [ID…]", Short: "Send deliveries again",
		Long: "Send deliveries again, with the body of the first time: those with the IDs, or those of a webhook in some\n" +
			"states, by default its dead letters. A pending delivery is sent now. bellbuoy deliveries lists IDs.\n\n" +
			"The command does not wait for the answers of the receivers.",
		Example: "  bellbuoy redeliver 4711\n  bellbuoy redeliver --webhook deploy --since 2h --state dead",
		Args: func(_ *cobra.Command, ids []string) error {
			switch {
			case len(ids) == 0 && webhook == "":
				return errors.New("give ids of deliveries, or --webhook")
			case len(ids) > 0 && webhook != "":
				return errors.New("give ids of deliveries or --webhook, not both")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return runRedeliver(c.Context(), a, args, webhook, since, states)
		}}
	c.Flags().StringVar(&webhook, "webhook", "", "deliveries of the webhook with this `NAME`, instead of IDs")
	c.Flags().StringVar(&since, "since", "", "with --webhook: only those planned since `TIME`: "+timeHelp)
	c.Flags().StringSliceVar(&states, "state", []string{"dead"}, "with --webhook: those in this `STATE`: dead, delivered or pending")
	_ = c.RegisterFlagCompletionFunc("webhook", a.completeWebhooks)
	_ = c.RegisterFlagCompletionFunc("state", completeStates)
	return c
}

func runRedeliver(ctx context.Context, a *app, ids []string, webhook, since string, states []string) error {
	var r api.V1Redeliver
	for _, text := range ids {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not the id of a delivery", text)
		}
		r.IDs = append(r.IDs, id)
	}
	if len(r.IDs) == 0 {
		r.Webhook, r.States = webhook, states
		if since != "" {
			t, err := timeOf(since, time.Now(), false)
			if err != nil {
				return fmt.Errorf("--since %w", err)
			}
			r.Since = t
		}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	n, err := redeliver(ctx, c, r)
	if err != nil {
		return err
	}
	if n < len(r.IDs) {
		return fmt.Errorf("%s to be delivered again; the others do not exist or are parked", deliveriesText(n))
	}
	fmt.Fprintf(a.Stdout, "%s to be delivered again\n", deliveriesText(n))
	return nil
}

// redeliver sends as many requests as the ids need.
func redeliver(ctx context.Context, c *controlClient, r api.V1Redeliver) (n int, err error) {
	ids := r.IDs
	for {
		r.IDs, ids = ids[:min(len(ids), manage.MostIDs)], ids[min(len(ids), manage.MostIDs):]
		var got api.V1Count
		if err := c.call(ctx, http.MethodPost, v1("/deliveries/redeliver"), nil, r, &got); err != nil {
			return n, err
		}
		if n += got.Count; len(ids) == 0 {
			return n, nil
		}
	}
}

func deliveriesText(n int) string {
	if n == 1 {
		return "1 delivery"
	}
	return fmt.Sprintf("%d deliveries", n)
}
