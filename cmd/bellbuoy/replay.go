package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/api"
)

func newReplayCommand(a *app) *cobra.Command {
	var since string
	var yes bool
	c := &cobra.Command{Use: "replay WEBHOOK --since TIME", Short: "Send a webhook the events that it missed", ValidArgsFunction: a.completeWebhook,
		Long: "Send a webhook the recorded events that match its filters and of which it has no delivery, because it was not\n" +
			"configured, not enabled, or had other filters. The command prints how many there are, and asks.\n\n" +
			"store.retention says how long events are kept; those that no webhook wanted, a day by default.",
		Example: "  bellbuoy replay deploy --since 2h",
		RunE: func(c *cobra.Command, args []string) error {
			return runReplay(c.Context(), a, args[0], since, yes)
		}}
	c.Flags().StringVar(&since, "since", "", "events recorded since `TIME` (required): "+timeHelp)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "send them without asking")
	c.Args = func(c *cobra.Command, args []string) error {
		if since == "" {
			return errors.New("--since is missing")
		}
		return cobra.ExactArgs(1)(c, args)
	}
	return c
}

func runReplay(ctx context.Context, a *app, webhook, since string, yes bool) error {
	from, err := timeOf(since, time.Now(), false)
	if err != nil {
		return fmt.Errorf("--since %w", err)
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	r := api.V1Replay{Webhook: webhook, Since: from, DryRun: true}
	var missed, sent api.V1Replayed
	if err := c.call(ctx, http.MethodPost, v1("/replay"), nil, r, &missed); err != nil {
		return err
	}
	if missed.Deliveries == 0 {
		fmt.Fprintf(a.Stdout, "%s has missed no recorded event since %s\n", webhook, from.Local().Format(time.RFC1123Z))
		return nil
	}
	fmt.Fprintf(a.Stdout, "%s has missed %s since %s: %s\n", webhook, plural(missed.Events, "event"), from.Local().Format(time.RFC1123Z), deliveriesText(missed.Deliveries))
	if !yes && !confirm(a, "Send them?") {
		return errors.New("nothing was sent")
	}
	r.DryRun = false
	if err := c.call(ctx, http.MethodPost, v1("/replay"), nil, r, &sent); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "%s to be sent\n", deliveriesText(sent.Deliveries))
	return nil
}

// confirm asks a question and reports whether the answer is yes.
func confirm(a *app, question string) bool {
	fmt.Fprintf(a.Stdout, "%s [y/N] ", question)
	if a.Stdin == nil {
		return false
	}
	// an incomplete line is an answer, too
	answer, _ := bufio.NewReader(a.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}
