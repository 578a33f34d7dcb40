package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/api"
)

const shownFindings = 20 // of one image

func newScanCommand(a *app) *cobra.Command {
	var upstream string
	var asJSON bool
	c := &cobra.Command{Use: "scan REPOSITORY[:TAG|@DIGEST]", Short: "Scan an image now", Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		Long: "Have an image scanned now, or each image of an index, by every scanner whose match selects its repository.\n" +
			"The tag is latest by default. Print each result when it comes. The scans go on if the command is interrupted.\n\n" +
			"The exit code is 1 if a scan failed.",
		Example: "  bellbuoy scan team/app:v1.2\n  bellbuoy scan team/app@sha256:…",
		RunE: func(c *cobra.Command, args []string) error {
			r := api.V1Scan{Upstream: upstream}
			r.Repository, r.Reference = cutReference(args[0])
			return runScan(c.Context(), a, r, asJSON)
		}}
	c.Flags().StringVar(&upstream, "upstream", "", "`NAME` of the upstream, if there are several registries")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object a line, with every finding")
	return c
}

// cutReference splits a repository from its tag or digest, which is latest where there is none.
func cutReference(text string) (repository, reference string) {
	if repository, digest, ok := strings.Cut(text, "@"); ok {
		repository, _ = cutTag(repository)
		return repository, digest
	}
	return cutTag(text)
}

func cutTag(text string) (repository, tag string) {
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, '/') {
		return text[:i], text[i+1:]
	}
	return text, "latest"
}

func runScan(ctx context.Context, a *app, r api.V1Scan, asJSON bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, v1("/scans"), nil, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	done, failed, ended := false, false, 0
	err = lines(resp.Body, func(l api.V1ScanLine) error {
		if l.Event != nil {
			ended++
			failed = failed || l.Event.Type == detect.ScanningFailed
		}
		done = done || l.Done
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(l)
		}
		printScan(a, &l)
		if l.Error != "" {
			return errors.New(oneLine(l.Error))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !done:
		return errors.New("bellbuoy stopped in the middle; the scan goes on when it runs again: bellbuoy events --type SCANNING_COMPLETED")
	case failed:
		return errSilent
	case ended == 0 && !asJSON:
		fmt.Fprintln(a.Stdout, "there was no image to scan")
	}
	return nil
}

func printScan(a *app, l *api.V1ScanLine) {
	switch {
	case l.Job != nil:
		fmt.Fprintf(a.Stdout, "%s: %s %s %s\n", oneLine(l.Job.Scanner), l.Job.Digest, oneLine(l.Job.Platform), strings.TrimRight(l.Job.State+": "+oneLine(l.Job.Why), ": "))
	case l.Event != nil:
		printScanned(a, l.Event)
	}
}

func printScanned(a *app, e *api.V1Event) {
	s := e.Scan
	fmt.Fprintf(a.Stdout, "%s %s ", e.Digest, oneLine(strings.Join(e.Platforms, ",")))
	if s.Summary == nil {
		fmt.Fprintf(a.Stdout, "failed: %s\n", oneLine(s.Reason))
		return
	}
	fmt.Fprintf(a.Stdout, "%s: %s, %d of them fixable, %d new\n", oneLine(s.Severity), plural(s.Summary.Total, "finding"), s.Summary.Fixable, s.New)
	t := tabwriter.NewWriter(terminalWriter{a.Stdout}, 0, 0, 2, ' ', 0)
	for i, f := range s.Findings {
		if i == shownFindings {
			fmt.Fprintf(t, "  and %d more: --json\n", s.Summary.Total-i)
			break
		}
		fixed := "no fix"
		if f.FixedVersion != "" {
			fixed = "fixed in " + f.FixedVersion
		}
		fresh := ""
		if f.New {
			fresh = "new"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s %s\t%s\t%s\n", f.Severity, f.ID, f.Package, f.Version, fixed, fresh)
	}
	_ = t.Flush()
}
