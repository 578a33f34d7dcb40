package soak

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A ledger counts the events that the operations of clients must cause, as "TYPE repository:tag".
type ledger struct {
	mu   sync.Mutex
	owed map[string]int
}

func newLedger() *ledger { return &ledger{owed: map[string]int{}} }

// did records an operation of a client, after it was acknowledged.
func (l *ledger) did(kind, repository, tag string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed[line(kind, repository, tag)]++
}

func line(kind, repository, tag string) string { return fmt.Sprintf("%s %s:%s", kind, repository, tag) }

// missing lists the events that must come and have not arrived (arrived: webhook-id → line).
func (l *ledger) missing(arrived map[string]string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return surplus(l.owed, count(arrived))
}

// extra lists the events that have arrived and must not come.
func (l *ledger) extra(arrived map[string]string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return surplus(count(arrived), l.owed)
}

func count(arrived map[string]string) map[string]int {
	n := map[string]int{}
	for _, line := range arrived {
		n[line]++
	}
	return n
}

// surplus lists what a contains more often than b.
func surplus(a, b map[string]int) (lines []string) {
	for line, n := range a {
		for range n - b[line] {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestLedger(t *testing.T) {
	l := newLedger()
	l.did("PUSH_ARTIFACT", "a", "1")
	l.did("PUSH_ARTIFACT", "a", "2")
	l.did("PUSH_ARTIFACT", "a", "2")
	arrived := map[string]string{"x": "PUSH_ARTIFACT a:2", "y": "PULL_ARTIFACT a:2"}
	if diff := cmp.Diff([]string{"PUSH_ARTIFACT a:1", "PUSH_ARTIFACT a:2"}, l.missing(arrived)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"PULL_ARTIFACT a:2"}, l.extra(arrived)); diff != "" {
		t.Error(diff)
	}
}
