package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify"
)

// replayAnswer is what a replay is about, or was.
type replayAnswer struct {
	Events     int `json:"events"`
	Deliveries int `json:"deliveries"`
}

func (a *app) replayCommand() *cobra.Command {
	var since string
	var yes bool
	c := &cobra.Command{Use: "replay WEBHOOK --since T", Short: "Send a webhook what was recorded before it was there or enabled", ValidArgsFunction: a.completeWebhook,
		Long: "Plans deliveries of the events recorded since then that pass the webhook's filters and that it has no delivery of:\n" +
			"it was not in the file, not enabled, or had other filters. Prints how many, and asks.",
		Example: "  bellbuoy replay deploy --since 2h",
		RunE: func(c *cobra.Command, args []string) error {
			return a.replay(c.Context(), args[0], since, yes)
		}}
	c.Flags().StringVar(&since, "since", "", "recorded since then: "+timeHelp)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Args = func(c *cobra.Command, args []string) error {
		if since == "" {
			return errors.New("--since is missing: from when on")
		}
		return cobra.ExactArgs(1)(c, args)
	}
	return c
}

func (a *app) replay(ctx context.Context, webhook, since string, yes bool) error {
	from, err := timeOf(since, time.Now(), false)
	if err != nil {
		return fmt.Errorf("--since %w", err)
	}
	c, err := a.control()
	if err != nil {
		return err
	}
	query := url.Values{"webhook": {webhook}, "since": {from.Format(time.RFC3339Nano)}}
	var missed, sent replayAnswer
	if err := c.call(ctx, http.MethodGet, "/replay", query, nil, &missed); err != nil {
		return err
	}
	if missed.Deliveries == 0 {
		fmt.Fprintf(a.Stdout, "%s has missed nothing that is recorded since %s\n", webhook, from.Local().Format(time.RFC1123Z))
		return nil
	}
	fmt.Fprintf(a.Stdout, "%s has missed %s since %s: %s\n", webhook, plural(missed.Events, "event"), from.Local().Format(time.RFC1123Z), deliveriesText(missed.Deliveries))
	if !yes && !a.agreed("Send them?") {
		return errors.New("nothing was sent")
	}
	if err := c.call(ctx, http.MethodPost, "/replay", query, nil, &sent); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, "%s to be sent\n", deliveriesText(sent.Deliveries))
	return nil
}

// agreed asks a question, and reports whether the answer is yes.
func (a *app) agreed(question string) bool {
	fmt.Fprintf(a.Stdout, "%s [y/N] ", question)
	if a.Stdin == nil {
		return false
	}
	answer, _ := bufio.NewReader(a.Stdin).ReadString('\n') // what ends early is an answer, too
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}

// controlReplay answers GET, which counts, and POST, which plans.
func (b *buoy) controlReplay(w http.ResponseWriter, r *http.Request) error {
	since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	if err != nil {
		return fmt.Errorf("%w: since: %w", errBad, err)
	}
	webhook, plan := r.URL.Query().Get("webhook"), r.Method == http.MethodPost
	done, err := b.dispatcher.Replay(r.Context(), webhook, since, plan)
	if plan && done.Deliveries > 0 {
		b.log.Info("webhook gets by command what it has missed", zap.String("webhook", webhook), zap.Time("since", since), zap.Int("deliveries", done.Deliveries))
	}
	switch {
	case errors.Is(err, notify.ErrNotEnabled):
		return fmt.Errorf("%w: %w", errBad, err)
	case err != nil:
		return err
	}
	return json.NewEncoder(w).Encode(replayAnswer(done))
}
