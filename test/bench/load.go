package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A load sends requests over connections that stay open, each as soon as the one before it is
// answered. It implements only the HTTP/1.1 that this needs, because it shares the cores with the
// proxy and the upstream.
type load struct {
	address string
	workers int
	// request returns a whole request. n counts from first over all workers; no two have the
	// same.
	request func(buf []byte, n int64) []byte
	want    int           // the status
	first   int64         // the first n
	total   int64         // how many requests; 0: as many as fit into time
	time    time.Duration // 0: until total is reached
	rate    float64       // requests per second in all; 0: as fast as they are answered
	// answered is called after each answer, by the worker that sent request n. It may be nil.
	answered func(n int64, at time.Time)
}

// result is the result of a load.
type result struct {
	requests int64
	took     time.Duration
	latency  []time.Duration // sorted
}

func (r result) rate() float64 { return float64(r.requests) / r.took.Seconds() }

// percentile returns a percentile of sorted durations, 0 of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// run sends the load, and fails at the first answer with another status than the wanted one.
func (l load) run(ctx context.Context) (result, error) {
	limited := ctx
	if l.time > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, l.time)
		defer cancel()
	}
	var (
		next   atomic.Int64
		wg     sync.WaitGroup
		lists  = make([][]time.Duration, l.workers)
		errs   = make([]error, l.workers)
		start  = time.Now()
		nextOf = func() (int64, bool) { n := next.Add(1) - 1; return l.first + n, l.total == 0 || n < l.total }
	)
	for i := range l.workers {
		wg.Go(func() { lists[i], errs[i] = l.work(limited, start, nextOf) })
	}
	wg.Wait()
	r := result{took: time.Since(start), latency: slices.Concat(lists...)}
	r.requests = int64(len(r.latency))
	slices.Sort(r.latency)
	return r, errors.Join(append(errs, ctx.Err())...) // an interrupted load has no result
}

func (l load) work(ctx context.Context, start time.Time, next func() (int64, bool)) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewReaderSize(conn, 16<<10)
	var latency []time.Duration
	var buf []byte
	for n, ok := next(); ok; n, ok = next() {
		began := l.pace(ctx, start, n)
		if ctx.Err() != nil {
			break
		}
		buf = l.request(buf[:0], n)
		if _, err := conn.Write(buf); err != nil {
			return latency, fmt.Errorf("request %d: %w", n, err)
		}
		status, _, err := readAnswer(answers)
		if err != nil {
			return latency, fmt.Errorf("answer %d: %w", n, err)
		}
		if status != l.want {
			return latency, fmt.Errorf("answer %d: status %d, want %d", n, status, l.want)
		}
		now := time.Now()
		latency = append(latency, now.Sub(began))
		if l.answered != nil {
			l.answered(n, now)
		}
	}
	return latency, nil
}

// pace waits until request n is due, and returns that time. The latency of a request that is sent
// late, because no worker was free, counts from there.
func (l load) pace(ctx context.Context, start time.Time, n int64) time.Time {
	if l.rate == 0 {
		return time.Now()
	}
	due := start.Add(time.Duration(float64(n-l.first) / l.rate * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
	case <-ctx.Done():
	}
	return due
}

var errNoLength = errors.New("an answer without Content-Length")

// readAnswer reads one answer and discards its body. It returns the status and the entity tag.
func readAnswer(r *bufio.Reader) (status int, tag string, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, "", err
	}
	if len(line) < 12 {
		return 0, "", fmt.Errorf("not a status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, "", err
	}
	h, err := readHeader(r)
	switch {
	case err != nil:
		return 0, "", err
	case status == http.StatusNotModified:
		return status, h.tag, nil
	case h.length < 0:
		return status, h.tag, errNoLength
	}
	_, err = r.Discard(int(h.length))
	return status, h.tag, err
}

// header is what is read of a header.
type header struct {
	length int64  // Content-Length; -1: none
	tag    string // ETag
}

func readHeader(r *bufio.Reader) (header, error) {
	h := header{length: -1}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return h, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return h, err
			}
		case len(name) == len("ETag") && bytes.EqualFold(name, []byte("ETag")):
			h.tag = string(bytes.TrimSpace(value))
		}
	}
}
