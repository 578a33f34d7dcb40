package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A watcher samples a process.
type watcher struct {
	pid    int
	before usage
	most   chan int64 // the largest RSS; sent when done is closed
	done   chan struct{}
}

func watch(pid int) *watcher {
	w := &watcher{pid: pid, most: make(chan int64, 1), done: make(chan struct{})}
	if pid == 0 {
		return w
	}
	w.before = measure(pid)
	go func() {
		most := w.before.rss
		defer func() { w.most <- most }()
		for {
			select {
			case <-w.done:
				return
			case <-time.After(200 * time.Millisecond):
				most = max(most, measure(pid).rss)
			}
		}
	}()
	return w
}

// stop returns the CPU time since watch, and the greatest memory in that time.
func (w *watcher) stop() usage {
	if w.pid == 0 {
		return usage{}
	}
	close(w.done)
	after := measure(w.pid)
	return usage{cpu: after.cpu - w.before.cpu, rss: max(<-w.most, after.rss)}
}

// recorded returns how many events a bellbuoy has recorded; 0 for a peer.
func (c contender) recorded() int64 {
	if c.buoy == nil {
		return 0
	}
	n, err := metric(c.buoy.HealthURL, "bellbuoy_events_total")
	if err != nil {
		return 0 // settle fails then, with the reason
	}
	return int64(n)
}

// settle waits until a bellbuoy has recorded that many events, so that a measurement includes all
// of their cost. It polls rarely, because each answer costs the measured bellbuoy as much CPU time
// as dozens of requests.
func (c contender) settle(ctx context.Context, events int64) error {
	if c.buoy == nil {
		return nil
	}
	last, since := int64(-1), time.Now()
	for {
		n, err := metric(c.buoy.HealthURL, "bellbuoy_events_total")
		if err != nil {
			return err
		}
		switch {
		case int64(n) >= events:
			return nil
		case int64(n) > last:
			last, since = int64(n), time.Now()
		case time.Since(since) > 5*time.Second:
			return fmt.Errorf("%d of %d events are missing", events-int64(n), events)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// metric returns the sum of a metric over its labels.
func metric(health, name string) (float64, error) {
	resp, err := http.Get(health + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var sum float64
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += value
	}
	return sum, lines.Err()
}
