// Command bellbuoy stands in front of registries and ChartMuseums and rings when traffic moves past it: it carries requests through
// unchanged, works out who pushed, pulled or deleted what, and delivers a webhook for it.
//
// main does signals and the exit code; run parses the command line; serve builds everything in one straight line (serve.go).
// Only this package knows all the others: wiring.go translates the configuration into the options of each.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…).
var version = "dev"

// Exit codes (DESIGN §2).
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], system{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv})
	stop()
	os.Exit(code)
}

// system is what the process has from outside; tests bring their own.
type system struct {
	Stdin          io.Reader // nil: nobody is there to answer
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
}

// errSilent ends a command with exit code 1 when everything has been said already.
var errSilent = errors.New("failed")

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, sys system) int {
	began := false // a command's own code ran: its errors are failures, those before are usage
	stdout, stderr := sys.Stdout, visible{sys.Stderr}
	sys.Stdout = visible{stdout}
	root := newRoot(sys, &began)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(sys.Stderr)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitDone
	case !began:
		fmt.Fprintf(stderr, "bellbuoy: %v\nUsage: %s\nRun '%s --help' for more.\n", err, command.UseLine(), command.CommandPath())
		return exitUsage
	case !errors.Is(err, errSilent):
		fmt.Fprintf(stderr, "bellbuoy: %v\n", err)
	}
	return exitFailed
}

func newRoot(sys system, began *bool) *cobra.Command {
	app := &app{system: sys}
	root := &cobra.Command{
		Use:              "bellbuoy",
		Short:            "Webhooks for any container registry and ChartMuseum: a reverse proxy that tells what passes",
		Args:             cobra.NoArgs,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { *began = true },
		Version:          buildVersion(),
		RunE:             func(c *cobra.Command, _ []string) error { return app.serve(c.Context()) },
	}
	root.SetVersionTemplate("bellbuoy {{.Version}}\n")
	root.PersistentFlags().StringVarP(&app.configFlag, "config", "c", "", "configuration `file` (default: $BELLBUOY_CONFIG, ./bellbuoy.yaml, /etc/bellbuoy/bellbuoy.yaml)")
	root.AddCommand(
		&cobra.Command{Use: "serve", Short: "Run the proxy (the default command)", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return app.serve(c.Context()) }},
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(*cobra.Command, []string) { fmt.Fprintf(sys.Stdout, "bellbuoy %s\n", buildVersion()) }},
		app.checkCommand(), app.talks(app.explainCommand()), app.presetCommand(), app.salvageCommand(),
		app.talks(app.quotaCommand()), app.talks(app.statusCommand()), app.talks(app.reloadCommand()), app.talks(app.pingCommand()),
		app.talks(app.switchCommand("enable", "Deliver to a webhook again (also one that answered 410)")),
		app.talks(app.switchCommand("disable", "Stop delivering to a webhook; its deliveries wait")),
		app.talks(app.eventsCommand()), app.talks(app.deliveriesCommand()), app.talks(app.redeliverCommand()), app.talks(app.replayCommand()), app.talks(app.backupCommand()), app.talks(app.indexCommand()),
	)
	root.AddCommand(app.manCommand(root))
	return root
}

// app is what the commands share.
type app struct {
	system
	configFlag string
	dataDir    string // --data-dir
}
