package proxy

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// series returns all series of a stand's metrics with their values, without those at zero. Of
// durations it has the counts only.
func series(t *testing.T, s *stand) (all []string) {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			n := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if n == 0 {
				continue
			}
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			slices.Sort(labels)
			all = append(all, fmt.Sprintf("%s %s %v", strings.TrimPrefix(f.GetName(), "bellbuoy_"), strings.Join(labels, " "), n))
		}
	}
	slices.Sort(all)
	return all
}

// Requests are counted by upstream, operation and class of status, and failures by their kind. A
// gauge has the requests in flight.
func TestMetricsByLabel(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/waits"):
			close(entered)
			<-release
		case strings.HasSuffix(r.URL.Path, "/none"):
			w.WriteHeader(http.StatusNotFound)
		case strings.HasSuffix(r.URL.Path, "/dies"):
			panic(http.ErrAbortHandler)
		case strings.HasSuffix(r.URL.Path, "/late"):
			<-r.Context().Done()
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "an answer")
		}
	}), nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.do("HEAD", "/v2/a/manifests/waits", nil)
	}()
	<-entered
	if got := metric(t, s, "bellbuoy_requests_in_flight"); got != 1 {
		t.Errorf("%v requests are in flight", got)
	}
	close(release)
	<-done
	s.do("GET", "/v2/a/manifests/v1", nil)
	s.do("GET", "/v2/a/manifests/none", nil)
	s.do("PATCH", "/v2/a/blobs/uploads/1", strings.NewReader("a piece of a blob"))
	s.do("GET", "/v2/a/blobs/dies", nil)
	o := s.handler.now.Load().Options
	o.Limits.UpstreamResponseHeader = 50 * time.Millisecond
	if err := s.handler.Configure(o); err != nil {
		t.Fatal(err)
	}
	s.do("GET", "/v2/a/blobs/late", nil)
	s.back.CloseClientConnections()
	s.back.Close()
	s.do("GET", "/v2/a/tags/list", nil)
	s.front.Close()
	want := []string{
		"request_bytes_total registry upload_chunk 17",
		"requests_total 2xx manifest_get registry 1", "requests_total 2xx manifest_head registry 1", "requests_total 2xx registry upload_chunk 1",
		"requests_total 4xx manifest_get registry 1", "requests_total 5xx blob_get registry 2", "requests_total 5xx registry tags_list 1",
		"upstream_errors_total broken registry 1", "upstream_errors_total connect registry 1", "upstream_errors_total registry timeout 1",
		"request_duration_seconds 5xx blob_get registry 2", "time_to_first_byte_seconds 2xx manifest_get registry 1", "response_bytes_total manifest_get registry 9",
	}
	got := series(t, s)
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s is not among\n%s", w, strings.Join(got, "\n"))
		}
	}
	sent := 0
	for _, line := range got {
		if strings.HasPrefix(line, "response_bytes_total ") {
			n, _ := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			sent += n
		}
	}
	s.handler.now.Load().Metrics.Traffic(func(upstream string, got Traffic) {
		want := Traffic{}
		if upstream == "registry" {
			want = Traffic{Requests: 7, In: 17, Out: int64(sent), Errors: 3}
		}
		if got != want {
			t.Errorf("traffic of %q: %+v, want %+v", upstream, got, want)
		}
	})
	if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "requests_in_flight") }) {
		t.Errorf("nothing is in flight, but for\n%s", strings.Join(got, "\n"))
	}
}
