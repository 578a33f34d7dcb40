package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
)

func (a *app) pingCommand() *cobra.Command {
	return &cobra.Command{Use: "ping WEBHOOK", Short: "Send a sample event to one webhook; print status, latency and response", Args: cobra.ExactArgs(1),
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
		return errors.New(got.Error)
	}
	return nil
}

func (a *app) switchCommand(name, short string) *cobra.Command {
	return &cobra.Command{Use: name + " WEBHOOK", Short: short, Args: cobra.ExactArgs(1),
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

// eventsFlags select events on the command line.
type eventsFlags struct {
	follow, json bool
	limit        int
	kind         string
	repository   string
	since        string
}

func (a *app) eventsCommand() *cobra.Command {
	var f eventsFlags
	c := &cobra.Command{Use: "events", Short: "List or follow events", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.events(c.Context(), f) }}
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with those that come, until interrupted")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON lines")
	c.Flags().IntVarP(&f.limit, "limit", "n", 20, "how many to list")
	c.Flags().StringVar(&f.kind, "type", "", "only of this type, e.g. PUSH_ARTIFACT")
	c.Flags().StringVar(&f.repository, "repository", "", "only of this repository")
	c.Flags().StringVar(&f.since, "since", "", "only those since then: a time (RFC 3339) or a duration (2h, 3d)")
	return c
}

func (a *app) events(ctx context.Context, f eventsFlags) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGPIPE)
	defer stop()
	c, err := a.control()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(f.limit)}}
	if err := addSince(query, f.since); err != nil {
		return err
	}
	setIf(query, "type", f.kind)
	setIf(query, "repository", f.repository)
	if f.follow {
		query.Set("follow", "1")
	}
	resp, err := c.do(ctx, http.MethodGet, "/events", query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = lines(resp.Body, func(e eventLine) error { return a.printEvent(e, f.json) })
	if f.follow && ctx.Err() != nil {
		return nil
	}
	return err
}

func setIf(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

// addSince reads a time, or how long ago.
func addSince(q url.Values, since string) error {
	if since == "" {
		return nil
	}
	t, err := sinceTime(since)
	if err != nil {
		return err
	}
	q.Set("since", t.Format(time.RFC3339Nano))
	return nil
}

func sinceTime(since string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, since); err == nil {
		return t, nil
	}
	var d config.Duration
	if err := d.UnmarshalText([]byte(since)); err != nil {
		return time.Time{}, fmt.Errorf("--since %q is neither a time (2026-11-23T09:00:00Z) nor a duration (2h, 3d)", since)
	}
	return time.Now().Add(-time.Duration(d)), nil
}

func (a *app) printEvent(e eventLine, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.Stdout).Encode(e)
	}
	who := e.Operator
	if who == "" {
		who = "-"
	}
	what := e.Repository
	if len(e.References) > 0 {
		what = strings.Join(e.References, " ")
	}
	_, err := fmt.Fprintf(a.Stdout, "%s  %-15s  %s  %s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Type, who, what, e.Digest)
	return err
}

// deliveriesFlags select deliveries on the command line.
type deliveriesFlags struct {
	webhook, state, since, event string
	id                           int64
	limit                        int
	json                         bool
}

func (a *app) deliveriesCommand() *cobra.Command {
	var f deliveriesFlags
	c := &cobra.Command{Use: "deliveries [ID]", Short: "List deliveries, or show one with its attempts", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				id, err := strconv.ParseInt(args[0], 10, 64)
				if err != nil {
					return fmt.Errorf("%q is not the id of a delivery", args[0])
				}
				f.id = id
			}
			return a.deliveries(c.Context(), f)
		}}
	c.Flags().StringVar(&f.webhook, "webhook", "", "only of this webhook")
	c.Flags().StringVar(&f.state, "state", "", "only in this state: pending, delivered, dead or parked")
	c.Flags().StringVar(&f.since, "since", "", "only those since then: a time (RFC 3339) or a duration (2h, 3d)")
	c.Flags().StringVar(&f.event, "event", "", "only of the event with this id")
	c.Flags().IntVarP(&f.limit, "limit", "n", 50, "how many to list")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON lines")
	return c
}

func (a *app) deliveries(ctx context.Context, f deliveriesFlags) error {
	c, err := a.control()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(f.limit)}}
	if err := addSince(query, f.since); err != nil {
		return err
	}
	setIf(query, "webhook", f.webhook)
	setIf(query, "state", f.state)
	setIf(query, "event", f.event)
	if f.id != 0 {
		query.Set("id", strconv.FormatInt(f.id, 10))
	}
	resp, err := c.do(ctx, http.MethodGet, "/deliveries", query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if f.json {
		return lines(resp.Body, func(d deliveryLine) error { return json.NewEncoder(a.Stdout).Encode(d) })
	}
	if err := a.printDeliveries(resp.Body, f.id); err != nil || f.id != 0 {
		return err
	}
	return a.printWaits(ctx, c, f.webhook)
}

// printWaits says on stderr why deliveries of a webhook wait beyond the times in the list.
func (a *app) printWaits(ctx context.Context, c *control, webhook string) error {
	resp, err := c.do(ctx, http.MethodGet, "/webhooks", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return lines(resp.Body, func(w webhookLine) error {
		if why := whyWaiting(w); why != "" && (webhook == "" || webhook == w.Name) {
			fmt.Fprintf(a.Stderr, "%s: %s\n", w.Name, why)
		}
		return nil
	})
}

// whyWaiting is "" for a webhook that is delivered to.
func whyWaiting(w webhookLine) string {
	switch {
	case !w.Enabled:
		return "not enabled in the configuration; its deliveries wait"
	case w.Off == notify.SwitchedByGone:
		return fmt.Sprintf("disabled since its receiver answered 410 (%s); its deliveries wait until: bellbuoy enable %s", shortTime(w.OffFrom), w.Name)
	case w.Off != "":
		return fmt.Sprintf("disabled by command (%s); its deliveries wait until: bellbuoy enable %s", shortTime(w.OffFrom), w.Name)
	case w.Failing:
		return fmt.Sprintf("its receiver fails; one delivery tries at %s, and the others wait until one gets through", shortTime(w.NextTry))
	}
	return ""
}

func (a *app) printDeliveries(answer io.Reader, id int64) error {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWEBHOOK\tSTATE\tATTEMPTS\tLAST\tEVENT\tCREATED\tNEXT")
	found := 0
	var log []attemptLine
	err := lines(answer, func(d deliveryLine) error {
		found++
		log = d.Log
		what := d.Repository
		if d.Tag != "" {
			what += ":" + d.Tag
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%s\t%s %s\t%s\t%s\n", d.ID, d.Webhook, d.State, d.Attempts, lastOf(d), d.Type, what, shortTime(d.CreatedAt), shortTime(d.NextAt))
		return nil
	})
	if flushed := t.Flush(); err == nil {
		err = flushed
	}
	if err == nil && id != 0 && found == 0 {
		return fmt.Errorf("there is no delivery %d", id)
	}
	for _, at := range log {
		fmt.Fprintf(a.Stdout, "  %s  %s  %.1f ms  %s\n", shortTime(at.At), statusText(at.Status), at.Millis, strings.TrimSpace(at.Error))
		if at.Response != "" {
			fmt.Fprintf(a.Stdout, "    %s\n", strings.ReplaceAll(strings.TrimSpace(at.Response), "\n", "\n    "))
		}
	}
	return err
}

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

func statusText(status int) string {
	if status == 0 {
		return "no answer"
	}
	return strconv.Itoa(status) + " " + http.StatusText(status)
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("01-02 15:04:05")
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
	c.Flags().StringVar(&since, "since", "", "those created since then: a time (RFC 3339) or a duration (2h, 3d)")
	c.Flags().StringSliceVar(&states, "state", []string{"dead"}, "in these states: dead, delivered, pending")
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
			t, err := sinceTime(since)
			if err != nil {
				return err
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
