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

func (a *app) checkCommand() *cobra.Command {
	var online, asJSON bool
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate the configuration: every problem at once, with line and column",
		Long: "Validate the configuration: every problem at once, with line and column. Nothing outside the file and those that it names is\n" +
			"touched, but for --online: then every upstream is asked whether it answers and takes the login, and every webhook's host\n" +
			"whether it can be reached. Nothing is sent to a webhook.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.configFlag = args[0]
			}
			return a.check(c.Context(), online, asJSON)
		},
	}
	c.Flags().BoolVar(&online, "online", false, "also reach every upstream and every webhook's host, sending nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkAnswer is what check has to say, in JSON.
type checkAnswer struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Problems []checkProblem `json:"problems"`
}

type checkProblem struct {
	Line    int    `json:"line,omitempty"` // none: it is about no place in the file
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Warning bool   `json:"warning"`
}

// check reads the file as serve would, and builds what serve would build of it, without touching anything outside. Warnings are told
// beside problems too: whoever mends the file wants to do it once.
func (a *app) check(ctx context.Context, online, asJSON bool) error {
	path, c, warnings, err := a.load()
	if err == nil {
		warnings = slices.Concat(warnings, placeWarnings(c))
		var w *wiring
		if w, err = wire(c, func() []netip.AddrPort { return declaredBy(c) }); err == nil {
			if online {
				err = reachProblems(ctx, w)
			}
			w.close()
		}
	}
	problems, inFile := errors.AsType[config.Problems](err)
	if asJSON {
		return a.printCheck(path, problems, warnings, err)
	}
	if err != nil && !inFile {
		fmt.Fprintln(a.Stdout, err) // there is no file to speak of
		return errSilent
	}
	for _, p := range inOrder(problems, warnings) {
		fmt.Fprintln(a.Stdout, oneLine(p.String()))
	}
	if err != nil {
		fmt.Fprintf(a.Stdout, "%s: not ok (%s, %s)\n", path, plural(len(problems), "problem"), plural(len(warnings), "warning"))
		return errSilent
	}
	for i := range c.Webhooks {
		a.showFilled(&c.Webhooks[i])
	}
	fmt.Fprintf(a.Stdout, "%s: ok (%s, %s)\n", path, plural(len(c.Upstreams), "upstream"), plural(len(c.Webhooks), "webhook"))
	return nil
}

// showFilled shows where the POST of a sample event goes, where the webhook's URL has placeholders.
func (a *app) showFilled(w *config.Webhook) {
	names, err := webhook.Placeholders(w.URL.Reveal())
	if err != nil || len(names) == 0 {
		return
	}
	e := format.Sample(detect.Type(w.Events[0]))
	fmt.Fprintf(a.Stdout, "webhook %s: %s of %s:%s goes to %s\n", w.Name, e.Type, e.Repository, strings.Join(e.Tags, ","), webhook.Filled(w.URL.Reveal(), format.Values(e, 0)))
}

func (a *app) printCheck(path string, problems config.Problems, warnings config.Warnings, err error) error {
	answer := checkAnswer{File: path, OK: err == nil, Problems: []checkProblem{}}
	if err != nil && len(problems) == 0 {
		answer.Problems = append(answer.Problems, checkProblem{Message: err.Error()})
	}
	for _, p := range inOrder(problems, warnings) {
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

// inOrder is what there is to say about a file, from its first line to its last.
func inOrder(problems config.Problems, warnings config.Warnings) []config.Problem {
	all := slices.Concat(problems, config.Problems(warnings))
	slices.SortStableFunc(all, func(a, b config.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// problemAt is an error about the value at path, with its place in the file.
func problemAt(c *config.Config, path string, err error) error {
	return config.Problems{c.Problem(path, err.Error())}
}

// load finds and reads the configuration.
func (a *app) load() (path string, c *config.Config, w config.Warnings, err error) {
	path, err = config.Find(a.configFlag, a.LookupEnv)
	if err != nil {
		return "", nil, nil, err
	}
	c, w, err = config.Load(path, a.LookupEnv)
	return path, c, w, err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
