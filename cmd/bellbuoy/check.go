package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration: every problem at once, with line and column",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.check() },
	}
}

// check reads the file as serve would, and builds what serve would build of it, without touching anything outside.
func (a *app) check() error {
	path, c, warnings, err := a.load()
	if err != nil {
		fmt.Fprintln(a.Stdout, err)
		return errSilent
	}
	if _, err := wire(c, nil); err != nil {
		fmt.Fprintf(a.Stdout, "%s: %v\n", path, err)
		return errSilent
	}
	if len(warnings) > 0 {
		fmt.Fprintln(a.Stdout, warnings)
	}
	for _, w := range placeWarnings(c) {
		fmt.Fprintf(a.Stdout, "%s: warning: %s\n", path, w)
	}
	fmt.Fprintf(a.Stdout, "%s: ok (%s, %s)\n", path, plural(len(c.Upstreams), "upstream"), plural(len(c.Webhooks), "webhook"))
	return nil
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
