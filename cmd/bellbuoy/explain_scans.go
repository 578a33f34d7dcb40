package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// scannersOf returns, for each configured scanner, whether it scans a push, and why not.
func scannersOf(scanners *scan.Config, configured []config.Scanner, push *detect.Event) (lines []api.V1ScanVerdict) {
	for i, v := range scanners.Explain(push) {
		line := api.V1ScanVerdict{Scanner: v.Scanner, Scans: v.Because == "", Because: v.Because}
		switch v.Because {
		case "trigger":
			line.Because = "trigger: it is " + configured[i].Trigger + "; bellbuoy scan starts a scan by hand"
		case "match.repositories":
			line.Because = "match.repositories: the push has " + push.Repository + ", it wants " + "[" + strings.Join(configured[i].Match.Repositories, ", ") + "]"
		case scan.NotScannable:
			line.Because = "only images and indexes of images are scanned"
		case scan.Mirrored:
			line.Because = "a push with ?ns= is not scanned"
		case "":
			if push.Artifact == nil {
				line.Because = "if it is an image, or an index of images"
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// scannersOfRequest is scannersOf for a push of which only the request is known.
func scannersOfRequest(scanners *scan.Config, configured []config.Scanner, r *detect.Request, push detect.Event) []api.V1ScanVerdict {
	push.Hint = r.Hint
	if _, _, accessory := detect.FallbackTag(r.Reference); accessory {
		push.Artifact = &detect.Artifact{Kind: detect.Referrer}
	}
	return scannersOf(scanners, configured, &push)
}

// ExplainScans returns, for each scanner, whether it scans a push, and the state or the outcome of
// each scan that the push started.
func (d *daemon) ExplainScans(ctx context.Context, e *detect.Event) ([]api.V1ScanVerdict, error) {
	if e.Type != detect.PushArtifact {
		return nil, nil
	}
	w := d.wiring.Load()
	lines := scannersOf(&w.scanners, w.config.Scanners, e)
	if len(lines) == 0 {
		return nil, nil
	}
	became := map[string][]string{} // by scanner
	jobs, err := d.scans.Jobs(ctx, e.Upstream, e.Repository, mostScans)
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		if j := &jobs[i]; j.Run == e.ID {
			became[j.Scanner] = append(became[j.Scanner], strings.TrimSuffix(fmt.Sprintf("%s %s: %s", j.Digest, j.State, j.Why), ": "))
		}
	}
	ended, err := d.dispatcher.Events(ctx, store.EventQuery{Types: []string{string(detect.ScanningCompleted), string(detect.ScanningFailed)},
		Upstream: e.Upstream, Repository: e.Repository, After: e.Seq, Ascending: true, Limit: manage.MostPage})
	if err != nil {
		return nil, err
	}
	for i := range ended {
		if s := ended[i].Scan; s != nil && s.Run == e.ID {
			became[s.By] = append(became[s.By], fmt.Sprintf("%s %s: %s", ended[i].Digest, ended[i].Type, ended[i].ID))
		}
	}
	for i := range lines {
		lines[i].Became = became[lines[i].Scanner]
	}
	return lines, nil
}

// printScanners prints which scanners scan a push; nothing if there are none.
func printScanners(out io.Writer, lines []api.V1ScanVerdict) {
	if len(lines) == 0 {
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "\nSCANNER\tSCANS\tBECAUSE")
	for _, l := range lines {
		scans, because := "no", l.Because
		switch {
		case len(l.Became) > 0:
			scans, because = "yes", strings.Join(l.Became, "; ")
		case l.Scans && because == "":
			because = "its configuration matches now; then it did not, or an earlier scan of the same digest was under way; bellbuoy scan starts another"
		case l.Scans:
			scans = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", oneLine(l.Scanner), scans, oneLine(because))
	}
}
