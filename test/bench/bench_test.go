package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadAnswer(t *testing.T) {
	for _, tc := range []struct {
		name, answers string
		want          []int
		tag           string
		err           error
	}{
		{"one after the other", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", []int{200, 201}, "", nil},
		{"no length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", []int{200}, "", errNoLength},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\nHTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 1\r\n\r\nb", []int{304, 200}, `"a"`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tc.answers))
			for i, want := range tc.want {
				got, tag, err := readAnswer(r)
				if got != want || tag != tc.tag || !errors.Is(err, tc.err) {
					t.Errorf("answer %d: %d, %s, %v; want %d, %s, %v", i, got, tag, err, want, tc.tag, tc.err)
				}
			}
		})
	}
}

func TestLoadSendsEachRequestOnce(t *testing.T) {
	err := within(t.Context(), t.Output(), "", func(s *stage) {
		m := newMemory(s)
		for round := range int64(2) {
			l := pushing(m.address, 100, func(n int64) string { return fmt.Sprintf("a%d", n%3) })
			l.first = 100 * round
			r, err := l.run(s.Context())
			s.must(err)
			if want := int(100 + l.first); r.requests != 100 || len(m.manifests) != want {
				t.Errorf("%d requests, %d manifests, want %d", r.requests, len(m.manifests), want)
			}
		}
		l := load{address: m.address, workers: 1, total: 1, want: http.StatusOK, request: func(buf []byte, _ int64) []byte {
			return append(buf, "GET /v2/b/manifests/x HTTP/1.1\r\nHost: x\r\n\r\n"...)
		}}
		if _, err := l.run(s.Context()); err == nil {
			t.Error("a wrong status was taken")
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLoadKeepsItsPace(t *testing.T) {
	err := within(t.Context(), t.Output(), "", func(s *stage) {
		l := pushing(newMemory(s).address, 20, func(int64) string { return "a" })
		l.rate = 200
		r, err := l.run(s.Context())
		s.must(err)
		if r.took < 95*time.Millisecond {
			t.Errorf("20 requests at 200/s took %v", r.took)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSinkPassesOnWhatArrives(t *testing.T) {
	err := within(t.Context(), t.Output(), "", func(s *stage) {
		k, heard := newSink(s), make(chan string, 10)
		k.tell(func(path string, body []byte, _ time.Time) { heard <- path + " " + string(body) })
		for _, body := range []string{"", "one", strings.Repeat("long", 10_000)} {
			resp, err := http.Post(k.url("/a"), "text/plain", strings.NewReader(body))
			s.must(err)
			resp.Body.Close()
			if got := <-heard; resp.StatusCode != http.StatusOK || got != "/a "+body {
				t.Errorf("got %s with the body %.50s, want %.50s", resp.Status, got, body)
			}
		}
		ctx, cancel := context.WithTimeout(s.Context(), 100*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url("/hang"), strings.NewReader("x"))
		s.must(err)
		if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.DeadlineExceeded) || len(heard) > 0 {
			t.Errorf("/hang answered (error %v), or the function got %d bodies", err, len(heard))
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStageEndsWhatItStarted(t *testing.T) {
	var dir, address string
	err := within(t.Context(), t.Output(), "", func(s *stage) {
		dir, address = s.TempDir(), newSink(s).address
		s.Fatalf("enough")
	})
	if err == nil || err.Error() != "enough" {
		t.Errorf("got the error %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", dir, err)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("the sink still listens")
	}
}

func TestMeasureOfThisProcess(t *testing.T) {
	before := measure(os.Getpid())
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; { // uses CPU time
	}
	after := measure(os.Getpid())
	if used := after.cpu - before.cpu; used < 2*tick {
		t.Errorf("100 ms of work used %v", used)
	}
	if after.rss < 1<<20 {
		t.Errorf("got the RSS %d", after.rss)
	}
}

func TestMedianAndPercentile(t *testing.T) {
	same := func(d time.Duration) time.Duration { return d }
	if got := median([]time.Duration{9, 1, 5}, same); got != 5 {
		t.Errorf("got the median %d", got)
	}
	sorted := []time.Duration{1, 2, 3, 4}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 4} {
		if got := percentile(sorted, p); got != want {
			t.Errorf("percentile %v: %d, want %d", p, got, want)
		}
	}
}

func TestBudgets(t *testing.T) {
	g := &grid{figures: map[string]map[string][]figure{"manifest-get": {
		"bellbuoy": {{cpu: 60, rate: 90}}, "Caddy": {{cpu: 100, rate: 50}}, "nginx": {{cpu: 30, rate: 120}},
	}}}
	rows := g.budgets()
	if len(rows) != 2 || rows[0].verdict != met || rows[1].verdict != missed {
		t.Errorf("got the rows %+v", rows)
	}
}

func TestTableAligns(t *testing.T) {
	var b strings.Builder
	table{{"", "µs"}, {"ab", "1"}}.write(&b)
	if want := "|    | µs |\n|----|----|\n| ab | 1  |\n\n"; b.String() != want {
		t.Errorf("got the table\n%s", b.String())
	}
}
