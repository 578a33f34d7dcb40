package main

import "fmt"

// A row is one line of the list of budgets: a measured value beside its limit.
type row struct {
	work, measured, budget string
	verdict                verdict
}

type verdict uint8

const (
	none verdict = iota // there is no budget
	met
	missed
)

func (v verdict) String() string { return [...]string{"", "ok", "MISSED"}[v] }

func verdictOf(ok bool) verdict {
	if ok {
		return met
	}
	return missed
}

// atMost and atLeast return the row of a value with a limit.
func atMost(work, measured string, value, limit float64, budget string) row {
	return row{work, measured, "≤ " + budget, verdictOf(value <= limit)}
}

func atLeast(work, measured string, value, limit float64, budget string) row {
	return row{work, measured, "≥ " + budget, verdictOf(value >= limit)}
}

// A ratio is a budget that is relative to a peer.
type ratio struct {
	workload, peer string
	limit          float64
	throughput     bool // at least so much of the peer's throughput; else at most so much of its CPU time
}

var ratios = []ratio{
	{"blob-down", "HAProxy", 1.1, false}, {"blob-down", "nginx", 0.6, false}, {"blob-down", "Caddy", 0.75, false},
	{"blob-down-tls", "Caddy", 0.9, false}, {"blob-down-tls", "nginx", 0.9, false},
	{"blob-down-h2", "Caddy", 1.0, false}, {"blob-down-h2", "nginx", 1.35, false},
	{"manifest-get", "Caddy", 0.7, false}, {"manifest-get", "nginx", 0.85, true},
	{"blob-up", "HAProxy", 1.15, false}, {"blob-up-chunked", "HAProxy", 1.15, false},
}

// budgets compares medians of the table with their limits.
func (g *grid) budgets() []row {
	var rows []row
	for _, b := range ratios {
		ours, theirs := g.median(b.workload, "bellbuoy"), g.median(b.workload, b.peer)
		if ours == nil || theirs == nil {
			continue
		}
		work := fmt.Sprintf("%s: CPU, to %s", titleOf(b.workload), b.peer)
		value := float64(ours.cpu) / float64(max(theirs.cpu, 1))
		if b.throughput {
			work = fmt.Sprintf("%s: throughput, to %s", titleOf(b.workload), b.peer)
			value = ours.rate / theirs.rate
			rows = append(rows, atLeast(work, times(value), value, b.limit, times(b.limit)))
			continue
		}
		rows = append(rows, atMost(work, times(value), value, b.limit, times(b.limit)))
	}
	return rows
}

func times(ratio float64) string { return fmt.Sprintf("%.2f ×", ratio) }
