package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/api"
)

// eventsFlags selects events.
type eventsFlags struct {
	follow, json                        bool
	limit                               int
	types, repositories, tags, operator []string
	span
}

func newEventsCommand(a *app) *cobra.Command {
	var f eventsFlags
	c := &cobra.Command{Use: "events", Short: "List or follow events", Args: cobra.NoArgs,
		Long: "List events, newest last; with --follow, also those that come. Different flags must all match. If a flag is\n" +
			"given several times, one of its values must match.\n\n" +
			"A GLOB has * (any characters, within a segment of a repository), ** (any characters, also /), ? (one\n" +
			"character), [0-9] (one of these) and {a,b} (either).",
		Example: "  bellbuoy events --since 09:00 --repository 'team/**' --tag 'v*'\n  bellbuoy events -f --type PUSH_ARTIFACT",
		RunE:    func(c *cobra.Command, _ []string) error { return runEvents(c.Context(), a, f) }}
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "also print new events, until interrupted")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
	c.Flags().IntVarP(&f.limit, "limit", "n", 20, "most events to list: the newest `N`")
	c.Flags().StringSliceVar(&f.types, "type", nil, "only events of this `TYPE`, such as PUSH_ARTIFACT")
	c.Flags().StringArrayVar(&f.repositories, "repository", nil, "only events of repositories that match `GLOB`")
	c.Flags().StringArrayVar(&f.tags, "tag", nil, "only events of tags, or of versions of charts, that match `GLOB`")
	c.Flags().StringArrayVar(&f.operator, "operator", nil, "only events of operators that match `GLOB`")
	addSpan(c, &f.span)
	_ = c.RegisterFlagCompletionFunc("type", completeTypes)
	return c
}

func addSpan(c *cobra.Command, s *span) {
	c.Flags().StringVar(&s.since, "since", "", "only those since `TIME`: "+timeHelp)
	c.Flags().StringVar(&s.until, "until", "", "only those before `TIME`, in the same forms; the day of a date is included")
}

func runEvents(ctx context.Context, a *app, f eventsFlags) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGPIPE)
	defer stop()
	if f.follow && f.until != "" {
		return errors.New("--follow and --until cannot be combined")
	}
	query := url.Values{"type": f.types, "repository": f.repositories, "tag": f.tags, "operator": f.operator}
	if err := f.span.add(query); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	newest, looked, last, err := newestOf[api.V1Event](ctx, c, v1("/events"), query, f.limit)
	if err != nil {
		return err
	}
	if !f.json && !f.follow {
		fmt.Fprintf(a.Stdout, eventColumns, "TIME", "ID", "TYPE", "OPERATOR", "WHAT")
	}
	for _, e := range slices.Backward(newest) {
		if err := printEvent(a, e, f.json); err != nil {
			return err
		}
	}
	if !looked.IsZero() {
		fmt.Fprintf(a.Stderr, "searched back to %s; to search earlier events: --until %s\n", fullTime(looked), looked.Format(time.RFC3339))
	}
	if f.follow {
		return followEvents(ctx, a, c, query, last, f.json)
	}
	return nil
}

// followEvents prints the events after a position as they come, until ctx ends.
func followEvents(ctx context.Context, a *app, c *controlClient, query url.Values, after string, asJSON bool) error {
	for _, key := range []string{"since", "limit", "cursor"} {
		query.Del(key)
	}
	query.Set("after", after)
	resp, err := c.do(ctx, http.MethodGet, v1("/events/stream"), query, nil)
	if err == nil {
		defer resp.Body.Close()
		err = lines(resp.Body, func(e api.V1Event) error { return printEvent(a, e, asJSON) })
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

const eventColumns = "%-23s  %-36s  %-18s  %-12s  %s\n"

func printEvent(a *app, e api.V1Event, asJSON bool) error {
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
	if e.Unnamed {
		what = "a chart without a name"
	}
	if e.Digest != "" && !strings.Contains(what, e.Digest) {
		what += " " + e.Digest
	}
	_, err := fmt.Fprintf(a.Stdout, eventColumns, fullTime(e.Time), e.ID, e.Type, oneLine(who), oneLine(what))
	return err
}
