package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bellbuoy/bellbuoy/test/docpage"
)

const commandsIntro = "`bellbuoy COMMAND --help` shows the same, and the packages have it as manual pages. Results are on the standard output, logs and errors on the standard error.\n\n" +
	"**The configuration** is the file of `-c FILE`, else of `$BELLBUOY_CONFIG`, else `./bellbuoy.yaml`, else `/etc/bellbuoy/bellbuoy.yaml`.\n\n" +
	"**The running bellbuoy** is asked by most commands, over the socket `admin.sock` in its `data_dir`. Only its user and root can use " +
	"it. Such a command needs nothing of the configuration but `data_dir`, and not even that with `--data-dir DIRECTORY`."

var exitCodes = [][]string{
	{fmt.Sprint(exitDone), "done"},
	{fmt.Sprint(exitFailed), "failed: the error is on the standard error, or the command says below what it means"},
	{fmt.Sprint(exitUsage), "the command line is wrong: nothing was done"},
}

// TestCommandsPage makes docs/reference/commands.md of the commands and their help.
func TestCommandsPage(t *testing.T) {
	root := newTestRoot()
	page := docpage.New("commands", "Commands", "go generate ./cmd/bellbuoy")
	page.Paragraph(commandsIntro)
	commands := shownCommands(root)
	var rows [][]string
	for _, c := range commands {
		rows = append(rows, []string{fmt.Sprintf("[`%s`](#%s)", c.Name(), c.Name()), docpage.Plain(c.Short)})
	}
	page.Table([]string{"Command", "What it does"}, rows)
	page.Heading(2, "Exit codes")
	page.Table([]string{"Code", "Meaning"}, exitCodes)
	page.Heading(2, "Flags of many commands")
	common := pflag.NewFlagSet("", pflag.ContinueOnError)
	common.AddFlagSet(root.PersistentFlags())
	common.AddFlagSet(newTestCommand(t, "status").Flags())
	for _, own := range []string{"json", "help"} {
		_ = common.MarkHidden(own)
	}
	writeFlagTable(page, common)
	page.Paragraph("Every command has `--config`, and `-h` for its help. Those that ask the running bellbuoy have `--data-dir`.")
	for _, c := range commands {
		page.Heading(2, c.Name())
		page.Paragraph(strings.TrimSuffix(c.Short, ".") + ".")
		page.Block("text", usageOf(c))
		for paragraph := range strings.SplitSeq(c.Long, "\n\n") {
			page.Paragraph(docpage.Plain(strings.Join(strings.Fields(paragraph), " ")))
		}
		writeFlagTable(page, ownFlags(c))
		if c.Example != "" {
			page.Block("sh", unindented(c.Example))
		}
	}
	page.Check(t, *update)
}

func newTestRoot() *cobra.Command {
	root := newRoot(system{LookupEnv: func(string) (string, bool) { return "", false }}, new(bool))
	describeCompletion(root)
	return root
}

// shownCommands returns the commands that help lists, by name.
func shownCommands(root *cobra.Command) (commands []*cobra.Command) {
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "help" {
			commands = append(commands, c)
		}
	}
	return commands
}

func newTestCommand(t *testing.T, name string) *cobra.Command {
	t.Helper()
	c, _, err := newTestRoot().Find([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ownFlags returns the flags of a command without those of many commands.
func ownFlags(c *cobra.Command) *pflag.FlagSet {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "data-dir" || c.Name() == "salvage" {
			own.AddFlag(f)
		}
	})
	return own
}

func usageOf(c *cobra.Command) string {
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	if len(names) > 0 {
		return c.CommandPath() + " " + strings.Join(names, "|")
	}
	return c.UseLine()
}

func unindented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

func writeFlagTable(page *docpage.Page, flags *pflag.FlagSet) {
	var rows [][]string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := docpage.Code(strings.TrimSpace("--" + f.Name + " " + value))
		if f.Shorthand != "" {
			name = docpage.Code("-"+f.Shorthand) + ", " + name
		}
		fallback := strings.Trim(f.DefValue, "[]")
		if fallback == "false" {
			fallback = ""
		}
		rows = append(rows, []string{name, docpage.Plain(usage), docpage.Code(fallback)})
	})
	if len(rows) > 0 {
		page.Table([]string{"Flag", "Meaning", "Default"}, rows)
	}
}

// TestHelpIsWhole: each command says more than its name, with an example that its arguments and
// flags accept.
func TestHelpIsWhole(t *testing.T) {
	for _, c := range shownCommands(newTestRoot()) {
		if c.Name() != "version" && c.Long == "" || c.Example == "" {
			t.Errorf("%s has no description or no example", c.Name())
		}
		for line := range strings.SplitSeq(c.Long, "\n") {
			if len(line) > 115 {
				t.Errorf("%s: a line of %d bytes: %s", c.Name(), len(line), line)
			}
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			if err := acceptsExample(line); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if value, _ := pflag.UnquoteUsage(f); f.Value.Type() != "bool" && value != strings.ToUpper(value) {
				t.Errorf("%s --%s: name its value in the usage: `VALUE`", c.Name(), f.Name)
			}
		})
	}
	for _, wrong := range []string{"  bellbuoy status now", "  bellbuoy events --colour blue", "  bellbuoy replay deploy"} {
		if acceptsExample(wrong) == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}

// acceptsExample returns what is wrong with a command line.
func acceptsExample(line string) error {
	words := strings.Fields(strings.ReplaceAll(line, "'", ""))
	if len(words) == 0 || words[0] != "bellbuoy" {
		return fmt.Errorf("is no command line of bellbuoy")
	}
	c, args, err := newTestRoot().Find(words[1:])
	if err != nil {
		return err
	}
	if err := c.ParseFlags(args); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}
