// Command bellbuoy is a reverse proxy in front of registries and ChartMuseums. It forwards requests
// unchanged, detects pushes, pulls and deletes, and delivers webhooks for them.
//
// Where things are:
//
//	main.go            signals, exit codes, the list of commands, and what they share (app)
//	serve.go           the command serve: builds everything in one straight line
//	daemon.go          what serve built, running: start, reload of its parts, drain
//	reload.go          the command reload, and watching of the configuration's files
//	wiring*.go         options of each package, made from the configuration
//	listen.go health.go metrics.go logging.go    sockets, health checks, metrics, the log
//	admin.go                                     the admin address: its handlers and accounts
//	derivers.go        what joins quotas and replications to the tracker and the outbox
//	quotausage.go      usage of projects, and its metrics
//	harbor.go                                    projects and history of Harbor's API
//	lookups.go selfloop.go datadir.go            helpers of serve,
//	storewarnings.go gctuning.go                 and more of them
//	control_client.go  the client of admin.sock, by which commands reach the daemon
//	control_server.go  the server of admin.sock
//	control_*.go waits.go    its answers, by subject: index, recount, scan, status, waits
//	NAME.go            the command NAME: backup, check, console, deliveries, enable (and
//	                   disable), events, explain, index, man, ping, preset, quota, redeliver,
//	                   replay, salvage, scan, status, version
//	explain_*.go       explain METHOD URL, and what explain says of scanners
//	reach.go           check --online
//	completion.go terminal.go text.go times.go   helpers of commands
//
// Only this package imports all others.
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

	"github.com/bellbuoy/bellbuoy/config"
)

// version is set by the linker (-X main.version=…).
var version = "dev"

// Exit codes.
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

// system is the process's environment; tests replace it.
type system struct {
	Stdin          io.Reader // nil: there is no input
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
}

// errSilent makes a command exit with 1 without another message.
var errSilent = errors.New("failed")

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, sys system) int {
	began := false // the command has started: an earlier error is one of usage
	stdout, stderr := sys.Stdout, terminalWriter{sys.Stderr}
	sys.Stdout = terminalWriter{stdout}
	root := newRoot(sys, &began)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(sys.Stderr)
	describeCompletion(root)
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
		Use:   "bellbuoy",
		Short: "Webhooks for container registries and ChartMuseum",
		Long: "bellbuoy is a reverse proxy in front of container registries and ChartMuseums. It sends webhooks for pushes,\n" +
			"pulls and deletes. Without a command it runs the proxy, as bellbuoy serve does.\n\n" +
			"The other commands ask or change the bellbuoy that runs on this machine. They reach it by a socket in its\n" +
			"data_dir, so only its user and root can use them.",
		Example:          "  bellbuoy check bellbuoy.yaml\n  bellbuoy -c bellbuoy.yaml\n  bellbuoy status",
		Args:             refuseUnknownCommand,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { *began = true },
		Version:          buildVersion(),
		RunE:             func(c *cobra.Command, _ []string) error { return runServe(c.Context(), app) },

		SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate("bellbuoy {{.Version}}\n")
	root.PersistentFlags().StringVarP(&app.configFlag, "config", "c", "", "configuration `FILE` (default: $BELLBUOY_CONFIG, else ./bellbuoy.yaml, else /etc/bellbuoy/bellbuoy.yaml)")
	root.AddCommand(
		&cobra.Command{Use: "serve", Short: "Run the proxy and deliver webhooks (the default command)", Args: cobra.NoArgs,
			Long: "Run the proxy, and deliver webhooks, until SIGTERM or SIGINT. Requests and deliveries in flight may then\n" +
				"end, for shutdown_grace at most.\n\n" +
				"SIGHUP and a change of the file reload the configuration.",
			Example: "  bellbuoy serve -c /etc/bellbuoy/bellbuoy.yaml",
			RunE:    func(c *cobra.Command, _ []string) error { return runServe(c.Context(), app) }},
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Example: "  bellbuoy version",
			Run:     func(*cobra.Command, []string) { fmt.Fprintf(sys.Stdout, "bellbuoy %s\n", buildVersion()) }},
		newCheckCommand(app), newPresetCommand(app), newSalvageCommand(app), newManCommand(app, root),
	)
	for _, command := range []*cobra.Command{ // those that talk to a running bellbuoy
		newBackupCommand(app), newConsoleCommand(app), newDeliveriesCommand(app), newEventsCommand(app), newExplainCommand(app),
		newIndexCommand(app), newPingCommand(app), newQuotaCommand(app), newRedeliverCommand(app), newReloadCommand(app),
		newReplayCommand(app), newScanCommand(app), newStatusCommand(app),
		newSwitchCommand(app, "enable", "Enable a webhook that was disabled",
			"Enable a webhook that was disabled: by bellbuoy disable, at the console, by the API, or because its receiver\n"+
				"answered 410 Gone. Deliveries that waited are sent.\n\n"+
				"A webhook with enabled: false in the file stays off. bellbuoy replay sends what it missed."),
		newSwitchCommand(app, "disable", "Disable a webhook; its deliveries wait",
			"Disable a webhook. Nothing is sent to it until bellbuoy enable; its deliveries wait. It stays disabled when\n"+
				"bellbuoy restarts."),
	} {
		root.AddCommand(app.withDataDirFlag(command))
	}
	return root
}

// describeCompletion gives a help of ours to the command that cobra adds. It is called after
// SetOut: the command keeps the output of that time.
func describeCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short = "Print the script that completes commands in a shell"
			c.Long = "Print the script by which a shell completes commands, flags and names of webhooks. bellbuoy completion SHELL\n" +
				"--help says how to install it."
			c.Example = "  bellbuoy completion bash"
		}
	}
}

// refuseUnknownCommand names the command that an unknown one was probably meant to be.
func refuseUnknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf("; did you mean %q?", near[0])
	}
	return errors.New(text)
}

// app is shared by all commands.
type app struct {
	system
	configFlag string
	dataDir    string // the flag --data-dir
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
