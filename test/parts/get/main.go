// Command get prepares the named parts, or all of them, and prints where each one is:
//
//	go run ./test/parts/get crane helm3
//	go run ./test/parts/get -q golangci-lint     # only look: exit 1 where one is missing
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/bellbuoy/bellbuoy/test/parts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	quick := flag.Bool("q", false, "build and install nothing; fail where a part is missing")
	flag.Parse()
	if err := get(ctx, os.Stdout, *quick, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(ctx context.Context, out io.Writer, quick bool, names []string) error {
	if len(names) == 0 {
		names = parts.Names()
	}
	for _, name := range names {
		if quick && !parts.Present(name) {
			return fmt.Errorf("%s is not there yet", name)
		}
		paths, err := parts.Find(ctx, name)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, paths[0])
	}
	return nil
}
