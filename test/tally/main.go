// Command tally runs `go test` once for each group of arguments, and prints a short report: one
// line for each package, failures in full, skipped tests with their reason, and at the end one line
// that counts the tests of all groups:
//
//	go run ./test/tally -race ./config -- -timeout 30m ./test/...
//	…
//	120 passed, 0 failed, 3 skipped
//
// It fails if any of the groups failed, after all of them have run.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := newTally(os.Stdout)
	stopHeartbeat := t.heartbeat()
	var err error
	for _, group := range groups(os.Args[1:]) {
		err = errors.Join(err, goTest(ctx, t, group))
	}
	stopHeartbeat()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println(t.summary())
	if err != nil || t.failed > 0 {
		os.Exit(1)
	}
}

// groups splits the command line at each "--".
func groups(args []string) [][]string {
	var out [][]string
	for {
		i := slices.Index(args, "--")
		if i < 0 {
			return append(out, args)
		}
		out, args = append(out, args[:i]), args[i+1:]
	}
}

// goTest runs one `go test` to its end. It returns no error for failing tests: the tally has
// counted them.
func goTest(ctx context.Context, t *tally, args []string) error {
	argv := []string{"test"}
	if len(args) > 1 && args[0] == "-C" { // another module's directory; go requires it first
		argv, args = append(argv, args[:2]...), args[2:]
	}
	cmd := exec.CommandContext(ctx, "go", append(append(argv, "-json"), args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that tests can clean up their child processes
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := t.failed
	readErr := readLines(out, t.line)
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && t.failed > before && ctx.Err() == nil {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("go test: %w", err)
	}
	return errors.Join(readErr, err)
}

// readLines calls f with every line of r, whatever its length.
func readLines(r io.Reader, f func([]byte)) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			f(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
