package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func newCheckCommand(a *app) *cobra.Command {
	var online, asJSON bool
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration file and list every problem",
		Long: "Check a configuration file, by default the one that bellbuoy serve would read. Every problem is printed with\n" +
			"its line and column; warnings name what is probably a mistake. Only the file and the files that it names are\n" +
			"read.\n\n" +
			"With --online it also tests whether each upstream answers and accepts its login, and whether the host of each\n" +
			"webhook can be reached. It sends nothing to a webhook.\n\n" +
			"The exit code is 1 if there is a problem, and 0 if there are only warnings.",
		Example: "  bellbuoy check bellbuoy.yaml\n  bellbuoy check --online",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.configFlag = args[0]
			}
			return runCheck(c.Context(), a, online, asJSON)
		},
	}
	c.Flags().BoolVar(&online, "online", false, "also connect to each upstream and to the host of each webhook")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkAnswer is the JSON output of check.
type checkAnswer struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Problems []checkProblem `json:"problems"`
}

type checkProblem struct {
	Line    int    `json:"line,omitempty"` // 0: the problem has no place in the file
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Warning bool   `json:"warning"`
}

// runCheck loads the file and makes the wiring as serve does, but opens neither the store nor a
// socket. It prints warnings together with problems, so that the user can fix all at once.
func runCheck(ctx context.Context, a *app, online, asJSON bool) error {
	path, c, warnings, err := a.load()
	if err == nil {
		warnings = slices.Concat(warnings, dataDirWarnings(c))
		var w *wiring
		if w, err = wire(c, func() []netip.AddrPort { return declaredBy(c) }, nil); err == nil {
			if online {
				err = reachProblems(ctx, w)
			}
			w.close()
		}
	}
	problems, inFile := errors.AsType[config.Problems](err)
	if asJSON {
		return printCheck(a, path, problems, warnings, err)
	}
	if err != nil && !inFile {
		fmt.Fprintln(a.Stdout, err) // no file was read
		return errSilent
	}
	for _, p := range byLine(problems, warnings) {
		fmt.Fprintln(a.Stdout, oneLine(p.String()))
	}
	if err != nil {
		fmt.Fprintf(a.Stdout, "%s: not ok (%s, %s)\n", path, plural(len(problems), "problem"), plural(len(warnings), "warning"))
		return errSilent
	}
	for i := range c.Webhooks {
		printFilledURL(a, &c.Webhooks[i])
	}
	fmt.Fprintf(a.Stdout, "%s: ok (%s, %s)\n", path, plural(len(c.Upstreams), "upstream"), plural(len(c.Webhooks), "webhook"))
	return nil
}

// printFilledURL prints the URL of a sample event's POST if the webhook's URL has placeholders.
func printFilledURL(a *app, w *config.Webhook) {
	names, err := webhook.Placeholders(w.URL.Reveal())
	if err != nil || len(names) == 0 {
		return
	}
	e := format.Sample(detect.Type(w.Events[0]))
	fmt.Fprintf(a.Stdout, "webhook %s: %s of %s:%s goes to %s\n", w.Name, e.Type, e.Repository, strings.Join(e.Tags, ","), webhook.Filled(w.URL.Reveal(), format.Values(e, 0)))
}

func printCheck(a *app, path string, problems config.Problems, warnings config.Warnings, err error) error {
	answer := checkAnswer{File: path, OK: err == nil, Problems: []checkProblem{}}
	if err != nil && len(problems) == 0 {
		answer.Problems = append(answer.Problems, checkProblem{Message: err.Error()})
	}
	for _, p := range byLine(problems, warnings) {
		answer.Problems = append(answer.Problems, checkProblem{Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Warning: p.Warning})
	}
	out := json.NewEncoder(a.Stdout)
	out.SetIndent("", "  ")
	if failed := out.Encode(answer); failed != nil {
		return failed
	}
	if err != nil {
		return errSilent
	}
	return nil
}

// byLine returns problems and warnings in the order of the file.
func byLine(problems config.Problems, warnings config.Warnings) []config.Problem {
	all := slices.Concat(problems, config.Problems(warnings))
	slices.SortStableFunc(all, func(a, b config.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// problemAt returns an error about the value at path, with its place in the file.
func problemAt(c *config.Config, path string, err error) error {
	return config.Problems{c.Problem(path, err.Error())}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
