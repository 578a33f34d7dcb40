package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/api"
)

func newQuotaCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "quota [PROJECT]", Short: "Show the usage of projects with a quota", Args: cobra.MaximumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Show how much each project with a quota uses in each upstream: the bytes of its manifests and blobs, each\n" +
			"counted once. With a PROJECT: only of that one.\n\n" +
			"Run bellbuoy index to count what was pushed before the quota was configured, or deleted without bellbuoy.",
		Example: "  bellbuoy quota\n  bellbuoy quota team",
		RunE: func(c *cobra.Command, args []string) error {
			return runQuota(c.Context(), a, strings.Join(args, ""), asJSON)
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runQuota(ctx context.Context, a *app, project string, asJSON bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q := url.Values{}
	setIf(q, "project", project)
	var got listPage[api.V1Quota]
	if err := c.call(ctx, http.MethodGet, v1("/quotas"), q, nil, &got); err != nil {
		return err
	}
	lines := got.Items
	if asJSON {
		out := json.NewEncoder(a.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(a.Stdout, "nothing has been counted yet; run bellbuoy index")
		return nil
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "UPSTREAM\tPROJECT\tUSAGE\t\tUSED\tLIMIT\tMANIFESTS\tCOUNTED SINCE")
	for i := range lines {
		l := &lines[i]
		used := bytesText(l.Used)
		if l.Inexact > 0 {
			used = "at least " + used
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.0f%%\t%s\t%s\t%d\t%s\n", oneLine(l.Upstream), oneLine(l.Project), bar(l.Percent()), l.Percent(), used,
			bytesText(l.Limit), l.Manifests, fullTime(l.Since))
	}
	return t.Flush()
}

const barWidth = 20

// bar draws a percentage. More than 100 % is a full bar, and more than 0 % is never an empty one.
func bar(percent float64) string {
	n := min(max(int(math.Round(percent*barWidth/100)), 0), barWidth)
	if percent > 0 {
		n = max(n, 1)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", barWidth-n) + "]"
}
