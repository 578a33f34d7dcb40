package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) pingCommand() *cobra.Command {
	return &cobra.Command{Use: "ping WEBHOOK", Short: "Send a sample event to one webhook; print status, latency and response", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeWebhook,
		RunE: func(c *cobra.Command, args []string) error { return a.ping(c.Context(), args[0]) }}
}

func (a *app) ping(ctx context.Context, webhook string) error {
	c, err := a.control()
	if err != nil {
		return err
	}
	var got pingAnswer
	if err := c.call(ctx, http.MethodPost, "/ping", url.Values{"webhook": {webhook}}, nil, &got); err != nil {
		return err
	}
	if got.Status != 0 {
		fmt.Fprintf(a.Stdout, "%d %s in %.1f ms\n", got.Status, http.StatusText(got.Status), got.Millis)
	}
	if got.Response != "" {
		fmt.Fprintln(a.Stdout, strings.TrimRight(got.Response, "\n"))
	}
	if !got.OK {
		if got.Error == "" {
			return fmt.Errorf("%s did not take the event", webhook)
		}
		return errors.New(oneLine(got.Error))
	}
	return nil
}

func (a *app) switchCommand(name, short string) *cobra.Command {
	return &cobra.Command{Use: name + " WEBHOOK", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeWebhook,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.control()
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/"+name, url.Values{"webhook": {args[0]}}, nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "%s: %sd\n", args[0], name)
			return nil
		}}
}

func setIf(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

func statusText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

func (a *app) redeliverCommand() *cobra.Command {
	var webhook, since string
	var states []string
	c := &cobra.Command{Use: "redeliver [ID…]", Short: "Deliver again: single deliveries, or all of a webhook that match",
		Example: "  bellbuoy redeliver 4711\n  bellbuoy redeliver --webhook deploy --since 2h --state dead",
		RunE: func(c *cobra.Command, args []string) error {
			return a.redeliver(c.Context(), args, webhook, since, states)
		}}
	c.Flags().StringVar(&webhook, "webhook", "", "of this webhook")
	c.Flags().StringVar(&since, "since", "", "those created since then: "+timeHelp)
	c.Flags().StringSliceVar(&states, "state", []string{"dead"}, "in these states: dead, delivered, pending")
	_ = c.RegisterFlagCompletionFunc("webhook", a.completeWebhooks)
	_ = c.RegisterFlagCompletionFunc("state", completeStates)
	return c
}

func (a *app) redeliver(ctx context.Context, ids []string, webhook, since string, states []string) error {
	var r redeliverRequest
	for _, text := range ids {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not the id of a delivery", text)
		}
		r.IDs = append(r.IDs, id)
	}
	if len(r.IDs) == 0 {
		if webhook == "" {
			return errors.New("name deliveries by their ids, or a --webhook")
		}
		r.Webhook, r.States = webhook, states
		if since != "" {
			t, err := timeOf(since, time.Now(), false)
			if err != nil {
				return fmt.Errorf("--since %w", err)
			}
			r.Since = t
		}
	}
	c, err := a.control()
	if err != nil {
		return err
	}
	var got countAnswer
	if err := c.call(ctx, http.MethodPost, "/redeliver", nil, r, &got); err != nil {
		return err
	}
	if len(r.IDs) > 0 && got.Count < len(r.IDs) {
		return fmt.Errorf("%s to be delivered again; the others are not there, or are parked", deliveriesText(got.Count))
	}
	fmt.Fprintf(a.Stdout, "%s to be delivered again\n", deliveriesText(got.Count))
	return nil
}

func deliveriesText(n int) string {
	if n == 1 {
		return "1 delivery"
	}
	return fmt.Sprintf("%d deliveries", n)
}
