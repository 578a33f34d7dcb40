package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/api"
)

func newStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "status", Short: "Show the state of webhooks, upstreams and the store", Args: cobra.NoArgs,
		Long: "Show the webhooks with their queues, the upstreams, the scanners, and the store. What needs attention is\n" +
			"listed at the end: dead letters, receivers that fail, an upstream that cannot be reached, a store that fails.\n\n" +
			"The exit code is 1 if something needs attention.",
		Example: "  bellbuoy status",
		RunE:    func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), a, asJSON) }}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runStatus(ctx context.Context, a *app, asJSON bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var s api.V1Status
	if err := c.call(ctx, http.MethodGet, v1("/status"), nil, nil, &s); err != nil {
		return err
	}
	if asJSON {
		out := json.NewEncoder(a.Stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(s); err != nil {
			return err
		}
	} else {
		printStatus(a, &s, time.Now())
	}
	if len(s.Attention) > 0 {
		return errSilent
	}
	return nil
}

func printStatus(a *app, s *api.V1Status, now time.Time) {
	fmt.Fprintf(a.Stdout, "bellbuoy %s, up %s, configuration %s, %s\n\n", s.Version, lengthOf(now.Sub(s.Started)), s.Config, fullTime(now))
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WEBHOOK\tSTATE\tSINCE\tSUCCESS\tPENDING\tOLDEST\tDEAD\tCIRCUIT\tNEXT ATTEMPT\tLAST FIRED")
	for _, w := range s.Webhooks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\t%s\n", oneLine(w.Name), w.State, fullTime(w.Since), success(w), w.Pending, ago(w.Oldest, now),
			w.Dead, w.Circuit, fullTime(w.NextAttempt), fired(w.LastFired, now))
	}
	if len(s.Webhooks) == 0 {
		fmt.Fprintln(t, "(none)")
	}
	fmt.Fprintln(t, "\nUPSTREAM\tTYPE\tURL\tSTATE")
	for _, u := range s.Upstreams {
		state := fmt.Sprintf("answers in %.0f ms", u.Millis)
		if u.Error != "" {
			state = oneLine(u.Error)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", u.Name, u.Type, u.URL, state)
	}
	if len(s.Scanners) > 0 {
		fmt.Fprintln(t, "\nSCANNER\tWAITING\tSCANNING\tCOMPLETED\tFAILED")
	}
	for _, n := range s.Scanners {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", oneLine(n.Name), n.Waiting, n.Scanning, n.Completed, n.Failed)
	}
	_ = t.Flush()
	printStore(a, &s.Store)
	if len(s.Attention) == 0 {
		fmt.Fprintln(a.Stdout, "\nnothing needs attention")
		return
	}
	fmt.Fprintln(a.Stdout, "\nneeds attention:")
	for _, line := range s.Attention {
		fmt.Fprintf(a.Stdout, "  %s\n", oneLine(line))
	}
}

func printStore(a *app, s *api.V1StoreStatus) {
	limit := "no limit"
	if s.MaxSize > 0 {
		limit = "of " + bytesText(s.MaxSize)
	}
	health := "works"
	if s.Error != "" {
		health = "fails: " + oneLine(s.Error)
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nSTORE\t%s, %s\n", s.Kind, health)
	disk := ""
	if s.DiskSize > 0 {
		disk = fmt.Sprintf(" (%s); disk: %s free of %s", s.Dir, bytesText(s.DiskFree), bytesText(s.DiskSize))
	}
	fmt.Fprintf(t, "size\t%s %s%s\n", bytesText(s.Size), limit, disk)
	fmt.Fprintf(t, "events\t%d in memory, %d lost since the start; open intents: %d\n", s.InMemory, s.Lost, s.OpenIntents)
	for _, w := range s.Warnings {
		fmt.Fprintf(t, "warning\t%s\n", oneLine(w))
	}
	_ = t.Flush()
}

func success(w api.V1WebhookStatus) string {
	if w.SuccessRate == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%% of %d", *w.SuccessRate*100, w.Tried)
}

// fired returns when the webhook last got an event of each type, the latest first.
func fired(last map[detect.Type]time.Time, now time.Time) string {
	types := slices.SortedFunc(maps.Keys(last), func(x, y detect.Type) int { return last[y].Compare(last[x]) })
	var parts []string
	for _, t := range types {
		parts = append(parts, string(t)+" "+ago(last[t], now))
	}
	if len(parts) == 0 {
		return "never"
	}
	return strings.Join(parts, ", ")
}

// bytesText formats a number of bytes with one decimal.
func bytesText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	unit := ""
	for _, u := range units {
		if value < 1<<10 {
			break
		}
		value, unit = value/(1<<10), u
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
