package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/test/parts"
)

// A table is Markdown with aligned columns.
type table [][]string

func (t table) write(out io.Writer) {
	widths := make([]int, len(t[0]))
	for _, line := range t {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range t {
		for i, cell := range line {
			fmt.Fprintf(out, "| %s%s ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(out, "|")
		if n == 0 {
			for _, w := range widths {
				fmt.Fprintf(out, "|%s", strings.Repeat("-", w+2))
			}
			fmt.Fprintln(out, "|")
		}
	}
	fmt.Fprintln(out)
}

// heading writes the time, the machine and the versions of a measurement.
func heading(out io.Writer, opts options) {
	fmt.Fprintf(out, "Measured on %s: %d cores of %s, %s/%s, Linux %s, %s; medians of %d rounds, interleaved.\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, kernel(), runtime.Version(), opts.rounds)
	fmt.Fprintf(out, "%s, HAProxy %s, Caddy %s; upstream: distribution %s, for manifest PUT and the rows about webhooks a small one in memory.\n",
		printed("nginx", "-v"), haproxyVersion(), parts.Version("caddy"), parts.Version("registry"))
	fmt.Fprintf(out, "CPU is the proxy's alone, user and system. Load, upstream and proxy share the cores.\n\n")
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of an unknown release"
	}
	return strings.TrimSpace(string(release))
}

// printed returns the first line of output of a part's program.
func printed(part string, arg string) string {
	paths, err := parts.Find(context.Background(), part)
	if err != nil {
		return part
	}
	out, err := exec.Command(paths[0], arg).CombinedOutput()
	if err != nil {
		return part
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "nginx version: ")
}

func haproxyVersion() string {
	fields := strings.Fields(printed("haproxy", "-v"))
	if len(fields) < 3 {
		return ""
	}
	return fields[2]
}

// report writes a table for each workload.
func (g *grid) report(out io.Writer, selected []workload) {
	for _, w := range selected {
		cpu, rate := "CPU s/GiB", "MiB/s"
		if w.unit == perRequest {
			cpu, rate = "CPU µs/request", "requests/s"
		}
		t := table{{w.title, cpu, rate, "p50", "p99", "RSS"}}
		for _, p := range peers {
			if f := g.median(w.name, p.name); f != nil {
				t = append(t, f.cells(p.name, w.unit))
			}
		}
		t.write(out)
	}
}

func (f figure) cells(name string, u unit) []string {
	cpu, rss := fmt.Sprintf("%.2f", f.cpu.Seconds()), mib(f.rss)
	if u == perRequest {
		cpu = fmt.Sprintf("%.0f", float64(f.cpu)/1e3)
	}
	if f.rss == 0 {
		cpu, rss = "", ""
	}
	return []string{name, cpu, fmt.Sprintf("%.0f", f.rate), brief(f.p50), brief(f.p99), rss}
}

func mib(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }

// brief formats a duration with three digits.
func brief(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	default:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
}

// median returns the median of each column over the rounds; nil if nothing was measured.
func (g *grid) median(workload, peer string) *figure {
	all := g.figures[workload][peer]
	if len(all) == 0 {
		return nil
	}
	return &figure{
		cpu:  median(all, func(f figure) time.Duration { return f.cpu }),
		rate: median(all, func(f figure) float64 { return f.rate }),
		p50:  median(all, func(f figure) time.Duration { return f.p50 }),
		p99:  median(all, func(f figure) time.Duration { return f.p99 }),
		rss:  median(all, func(f figure) int64 { return f.rss }),
	}
}

func median[T any, V cmp.Ordered](all []T, of func(T) V) V {
	values := make([]V, 0, len(all))
	for _, one := range all {
		values = append(values, of(one))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func listed(out io.Writer, rows []row) {
	t := table{{"", "measured", "budget", ""}}
	good, judged := 0, 0
	for _, r := range rows {
		t = append(t, []string{r.work, r.measured, r.budget, r.verdict.String()})
		if r.verdict != none {
			judged++
		}
		if r.verdict == met {
			good++
		}
	}
	t.write(out)
	if judged > 0 {
		fmt.Fprintf(out, "%d of %d budgets met.\n", good, judged)
	}
}
