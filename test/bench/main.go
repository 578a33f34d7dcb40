// Command bench measures bellbuoy beside its peers (nginx, HAProxy, Caddy, and no proxy at all) and
// against its budgets, and prints Markdown that can be quoted:
//
//	go run ./test/bench                        everything, about eight minutes
//	go run ./test/bench -quick                 less precise, in a minute
//	go run ./test/bench -only blob-down,idle   some of it; -list prints the names
//
// The first part is a table of workloads by peers (matrix.go, peers.go). It is measured round by
// round, so that other load of the machine affects all peers alike. It counts the CPU time of the
// proxy's own processes, because on a small machine the load, the upstream and the proxy compete
// for the same cores. The second part measures webhooks, which peers do not have. It runs against
// an upstream in memory (upstream.go) with a receiver of webhooks in this process (sink.go).
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := defaults
	quick := flag.Bool("quick", false, "one short round of everything: for seeing that it works")
	list := flag.Bool("list", false, "name what there is to measure")
	only := flag.String("only", "", "measure these alone, separated by commas")
	among := flag.String("peers", "", "only these columns of the table, separated by commas")
	flag.IntVar(&opts.rounds, "rounds", 0, "rounds of the table (default 3, or 1 with -quick)")
	lasting := flag.Duration("time", 0, "how long a load by requests lasts (default 2s, or 1s with -quick)")
	flag.StringVar(&opts.profiles, "profiles", "", "put CPU and heap profiles of bellbuoy into this `directory`; they cost something themselves")
	flag.Parse()
	if *list {
		fmt.Println(strings.Join(names(), "\n"))
		return
	}
	opts.choose(*quick, *only, *among)
	opts.time = cmp.Or(*lasting, opts.time)
	if err := run(ctx, os.Stdout, os.Stderr, opts); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options choose the measurements and their precision.
type options struct {
	quick    bool
	only     []string // nil: everything
	among    []string // peers; nil: all
	rounds   int
	profiles string
	blobSize int64
	blobs    int           // transfers of a measurement
	time     time.Duration // of a load of requests
}

var defaults = options{blobSize: 256 << 20, blobs: 6, time: 2 * time.Second}

func (o *options) choose(quick bool, only, among string) {
	o.quick = quick
	if quick {
		o.blobSize, o.blobs, o.time = 64<<20, 8, time.Second
	}
	if o.rounds == 0 {
		o.rounds = 3
		if quick {
			o.rounds = 1
		}
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if among != "" {
		o.among = strings.Split(among, ",")
	}
}

func (o options) selects(name string) bool { return o.only == nil || slices.Contains(o.only, name) }

// scaled returns n, or a tenth of it with -quick.
func (o options) scaled(n int) int {
	if o.quick {
		return n / 10
	}
	return n
}

// A trial is a measurement of bellbuoy alone.
type trial struct {
	name string
	run  func(s *stage, opts options) []row
}

var trials = []trial{
	{"idle", idleMemory},
	{"pulls", pullMemory(mix{"HTTP/1.1", false, []protocol{tls1}})},
	{"pulls-h2", pullMemory(mix{"HTTP/2", false, []protocol{tls2}})},
	{"pulls-both", pullMemory(mix{"half HTTP/2", false, []protocol{tls1, tls2}})},
	{"pulls-tls", pullMemory(mix{"HTTP/1.1, of an upstream with TLS", true, []protocol{tls1}})},
	{"pulls-tls-h2", pullMemory(mix{"HTTP/2, of an upstream with TLS", true, []protocol{tls2}})},
	{"latency", latency},
	{"fanout", fanout},
	{"growth", growth},
	{"store", outbox},
	{"pending", pending},
	{"viewers", viewers},
}

func names() []string {
	var all []string
	for _, w := range workloads {
		all = append(all, w.name)
	}
	for _, t := range trials {
		all = append(all, t.name)
	}
	return all
}

func run(ctx context.Context, out, log io.Writer, opts options) error {
	for _, name := range opts.only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("there is no %q to measure, only %s", name, strings.Join(names(), ", "))
		}
	}
	heading(out, opts)
	rows, err := compare(ctx, out, log, opts)
	for _, t := range trials {
		if !opts.selects(t.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintln(log, t.name)
		failed := within(ctx, log, opts.profiles, func(s *stage) { rows = append(rows, t.run(s, opts)...) })
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", t.name, failed))
		}
	}
	if len(rows) > 0 {
		listed(out, rows)
	}
	return err
}

// compare fills and prints the table, and returns the budgets that it decides.
func compare(ctx context.Context, out, log io.Writer, opts options) (rows []row, err error) {
	var selected []workload
	for _, w := range workloads {
		if opts.selects(w.name) {
			selected = append(selected, w)
		}
	}
	if len(selected) == 0 {
		return nil, nil
	}
	err = within(ctx, log, opts.profiles, func(s *stage) {
		g := newGrid(s, opts)
		g.measure(selected)
		g.report(out, selected)
		rows = g.budgets()
	})
	return rows, err
}
