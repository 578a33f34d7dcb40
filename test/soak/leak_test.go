package soak

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// sample has the resources that bellbuoy uses at one moment, by its own metrics.
type sample struct {
	at         time.Time
	goroutines float64
	memory     float64
}

// observe takes a sample every second. The function that it returns stops it and returns all
// samples.
func (s *scene) observe(t *testing.T) func() []sample {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []sample, 1)
	go func() {
		var all []sample
		for ctx.Err() == nil {
			if now, err := s.metrics(); err == nil { // if bellbuoy has ended, the clients fail
				all = append(all, now)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		done <- all
	}()
	return func() []sample { cancel(); return <-done }
}

func (s *scene) sample(t *testing.T) sample {
	t.Helper()
	now, err := s.metrics()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func (s *scene) metrics() (sample, error) {
	resp, err := http.Get(s.buoy.HealthURL + "/metrics")
	if err != nil {
		return sample{}, err
	}
	defer resp.Body.Close()
	values, err := parse(resp.Body)
	return sample{time.Now(), values["go_goroutines"], values["process_resident_memory_bytes"]}, err
}

// parse reads the metrics without labels.
func parse(r io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.ContainsAny(name, "#{") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("parsing the metric %s: %w", name, err)
		}
		values[name] = value
	}
	return values, lines.Err()
}

// flat compares the middle of the run, when caches are full, with its end: what grows without a
// bound has grown by then.
func flat(t *testing.T, all []sample, long time.Duration) {
	t.Helper()
	if len(all) < 10 {
		t.Errorf("only %d samples were taken", len(all))
		return
	}
	grow, room := 1.15, 24.0*(1<<20)
	if long < 10*time.Minute { // caches and the heap still fill
		grow, room = 1.5, 32*(1<<20)
	}
	if harness.Race() { // the race detector needs memory of its own
		grow, room = 2, 256*(1<<20)
	}
	n := len(all)
	early, late := all[n*3/10:n*5/10], all[n*8/10:]
	memory, goroutines := func(s sample) float64 { return s.memory }, func(s sample) float64 { return s.goroutines }
	a, b := middle(early, memory), middle(late, memory)
	t.Logf("resident memory %.0f MiB in the middle, %.0f MiB at the end", a/(1<<20), b/(1<<20))
	if b > a*grow+room {
		t.Errorf("memory grew from %.0f to %.0f MiB", a/(1<<20), b/(1<<20))
	}
	a, b = middle(early, goroutines), middle(late, goroutines)
	t.Logf("goroutines: %.0f in the middle, %.0f at the end", a, b)
	if b > a*1.3+40 {
		t.Errorf("goroutines grew from %.0f to %.0f", a, b)
	}
}

func middle(all []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range all {
		values = append(values, of(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// checkReturn waits until there are as few goroutines as before the clients came. Idle connections
// are closed after limits.idle. Each webhook's lane keeps a few, and more if its receiver hangs.
func (s *scene) checkReturn(t *testing.T) {
	t.Helper()
	allowed := s.baseline.goroutines + 16*float64(len(goodHooks)+len(badHooks))
	var now sample
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if now = s.sample(t); now.goroutines <= allowed {
			t.Logf("goroutines: %.0f before, %.0f after", s.baseline.goroutines, now.goroutines)
			return
		}
	}
	t.Errorf("%.0f goroutines remain, there were %.0f before", now.goroutines, s.baseline.goroutines)
}

func TestParseMetrics(t *testing.T) {
	got, err := parse(strings.NewReader("# HELP go_goroutines x\ngo_goroutines 12\nprocess_resident_memory_bytes 1.5e+07\nother{a=\"b c\"} 3\n"))
	if err != nil || len(got) != 2 || got["go_goroutines"] != 12 || got["process_resident_memory_bytes"] != 1.5e7 {
		t.Errorf("got %v, %v", got, err)
	}
}
