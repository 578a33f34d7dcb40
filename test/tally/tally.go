package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string // "" if it is about the whole package
	Elapsed    float64
	Output     string
}

// A tally counts the tests of one or more runs and prints their failures, skips and counts.
type tally struct {
	mu                      sync.Mutex // the heartbeat prints too
	w                       io.Writer
	passed, failed, skipped int
	lastPrint               time.Time
	packages                map[string]*pkg // those that have not ended
}

// pkg has the state of a package while its tests run.
type pkg struct {
	passed, failed, skipped int
	outputs                 map[string][]string // by test, while it runs; "" for the package's own
	skips                   map[string][]string // tests by the reason why they were skipped
	started                 map[string]time.Time
}

func newTally(w io.Writer) *tally {
	return &tally{w: w, lastPrint: time.Now(), packages: map[string]*pkg{}}
}

func (t *tally) summary() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// line takes one line of `go test -json`. It prints a line that is no JSON unchanged.
func (t *tally) line(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var e event
	if err := json.Unmarshal(b, &e); err != nil {
		t.printf("%s", b)
		return
	}
	switch {
	case e.Action == "build-output":
		t.printf("%s", e.Output)
	case e.Package == "":
	case e.Test == "":
		t.packageEvent(e)
	default:
		t.testEvent(e)
	}
}

func (t *tally) testEvent(e event) {
	p := t.pkg(e.Package)
	switch e.Action {
	case "run":
		p.started[e.Test] = time.Now()
		return
	case "output":
		p.outputs[e.Test] = append(p.outputs[e.Test], e.Output)
		return
	case "pass":
		t.passed, p.passed = t.passed+1, p.passed+1
	case "skip":
		t.skipped, p.skipped = t.skipped+1, p.skipped+1
		why := reason(p.outputs[e.Test])
		p.skips[why] = append(p.skips[why], e.Test)
	case "fail":
		t.failed, p.failed = t.failed+1, p.failed+1
		t.printf("%s", strings.Join(p.outputs[e.Test], ""))
	default:
		return
	}
	delete(p.outputs, e.Test)
	delete(p.started, e.Test)
}

func (t *tally) packageEvent(e event) {
	p := t.pkg(e.Package)
	if e.Action != "output" && e.Action != "start" {
		t.printSkips(e.Package, p)
	}
	switch e.Action {
	case "output":
		p.outputs[""] = append(p.outputs[""], e.Output)
	case "pass", "skip":
		if p.passed+p.failed+p.skipped > 0 {
			t.printf("ok    %s %.1fs (%s)\n", short(e.Package), e.Elapsed, p.counts())
		}
		delete(t.packages, e.Package)
	case "fail":
		t.packageFailed(e, p)
		delete(t.packages, e.Package)
	}
}

// printSkips prints the tests that a package skipped, those with one reason together.
func (t *tally) printSkips(name string, p *pkg) {
	for _, why := range slices.Sorted(maps.Keys(p.skips)) {
		t.printf("skip  %s %s: %s\n", short(name), strings.Join(p.skips[why], ", "), why)
	}
}

// packageFailed prints why a package failed: a test, or a crash, a time-out or a failed build,
// which count as one failed test.
func (t *tally) packageFailed(e event, p *pkg) {
	if p.failed == 0 || len(p.started) > 0 {
		for _, test := range slices.Sorted(maps.Keys(p.outputs)) {
			t.printf("%s", strings.Join(p.outputs[test], ""))
		}
		unfinished := max(1, len(p.started))
		t.failed, p.failed = t.failed+unfinished, p.failed+unfinished
	}
	t.printf("FAIL  %s %.1fs (%s)\n", short(e.Package), e.Elapsed, p.counts())
}

func (t *tally) pkg(name string) *pkg {
	p, ok := t.packages[name]
	if !ok {
		p = &pkg{outputs: map[string][]string{}, skips: map[string][]string{}, started: map[string]time.Time{}}
		t.packages[name] = p
	}
	return p
}

func (p *pkg) counts() string {
	s := fmt.Sprintf("%d passed", p.passed)
	if p.failed > 0 {
		s += fmt.Sprintf(", %d failed", p.failed)
	}
	if p.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", p.skipped)
	}
	return s
}

// heartbeat prints which tests are running, if nothing else was printed for half a minute.
func (t *tally) heartbeat() (stop func()) {
	quit := make(chan struct{})
	go func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Second):
				t.beat()
			}
		}
	}()
	return func() { close(quit) }
}

func (t *tally) beat() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.lastPrint) < 30*time.Second {
		return
	}
	var running []string
	for name, p := range t.packages {
		for test, since := range p.started {
			if !strings.Contains(test, "/") {
				running = append(running, fmt.Sprintf("%s %s (%.0f s)", short(name), test, time.Since(since).Seconds()))
			}
		}
	}
	slices.Sort(running)
	t.printf("…     %s\n", strings.Join(append(running, ""), "\n      "))
}

func (t *tally) printf(format string, args ...any) {
	t.lastPrint = time.Now()
	fmt.Fprintf(t.w, format, args...)
}

// short returns a package's path within the module.
func short(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/bellbuoy/bellbuoy/")
}

// place matches the place in a test file at which something was logged.
var place = regexp.MustCompile(`^[\w.-]+_test\.go:\d+: `)

// reason returns the text of a skipped test: its output without the marks of the testing package.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, place.ReplaceAllString(line, ""))
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
