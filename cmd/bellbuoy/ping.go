package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/api"
)

func newPingCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "ping WEBHOOK", Short: "Send a sample event to a webhook and print the answer", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeWebhook,
		Long: "Send a sample event to the receiver of a webhook, once, with its headers and signatures. Print the status, the\n" +
			"time that it took, and the beginning of the answer. Nothing is stored.\n\n" +
			"The exit code is 1 if the receiver does not accept it.",
		Example: "  bellbuoy ping deploy",
		RunE:    func(c *cobra.Command, args []string) error { return runPing(c.Context(), a, args[0]) }}
}

func runPing(ctx context.Context, a *app, webhook string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	path, err := c.webhookNamed(ctx, webhook)
	if err != nil {
		return err
	}
	var got api.V1Sent
	if err := c.call(ctx, http.MethodPost, path+"/test", nil, nil, &got); err != nil {
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
			return fmt.Errorf("%s did not accept the event", webhook)
		}
		return errors.New(oneLine(got.Error))
	}
	return nil
}
