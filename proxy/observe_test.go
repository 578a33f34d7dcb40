package proxy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// chartArchive returns a chart as helm packages it, padded to about size bytes.
func chartArchive(t *testing.T, name, version string, size int) string {
	t.Helper()
	var b bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	tw := tar.NewWriter(zw)
	for file, content := range map[string]string{
		name + "/Chart.yaml": "apiVersion: v2\nname: " + name + "\nversion: " + version + "\ntype: application\nappVersion: \"9\"\n",
	} {
		_ = tw.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content))})
		_, _ = io.WriteString(tw, content)
	}
	_ = tw.WriteHeader(&tar.Header{Name: name + "/pad", Mode: 0o644, Size: int64(size)})
	_, _ = tw.Write(make([]byte, size))
	_, _ = tw.Close(), zw.Close()
	return b.String()
}

// museum is a small ChartMuseum.
func museum(archive string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.Method {
		case http.MethodPost:
			w.WriteHeader(201)
			_, _ = io.WriteString(w, `{"saved":true}`)
		case http.MethodDelete:
			_, _ = io.WriteString(w, `{"deleted":true}`)
		default:
			_, _ = io.WriteString(w, archive)
		}
	}
}

func charts(o *Options) { o.Upstreams[0].Kind, o.Upstreams[0].Name = detect.ChartMuseum, "charts" }

func TestChartUploads(t *testing.T) {
	for _, size := range []int{10, 30 << 20} {
		archive := chartArchive(t, "demo", "1.0.0-2", size)
		var form bytes.Buffer
		mw := multipart.NewWriter(&form)
		part, _ := mw.CreateFormFile("chart", "demo-1.0.0-2.tgz")
		_, _ = io.WriteString(part, archive)
		_ = mw.Close()
		for contentType, body := range map[string]string{"application/x-www-form-urlencoded": archive, mw.FormDataContentType(): form.String()} {
			for _, chunked := range []bool{true, false} {
				s := newStand(t, museum(""), charts)
				var r io.Reader = strings.NewReader(body)
				if chunked {
					r = io.MultiReader(r)
				}
				res, answer := s.do("POST", "/api/t/charts?force", r, "Content-Type", contentType)
				if res.StatusCode != 201 || answer != `{"saved":true}` {
					t.Fatalf("got the answer %d %q", res.StatusCode, answer)
				}
				op := s.tracker.settled[0]
				want := detect.Chart{Name: "demo", Version: "1.0.0-2", Type: "application", AppVersion: "9", Digest: digestOf(archive), Size: int64(len(archive))}
				if op.Upload.Chart == nil || *op.Upload.Chart != want || op.Repository != "t" {
					t.Errorf("%s, %d bytes: %+v, want %+v", contentType, size, op.Upload.Chart, want)
				}
			}
		}
	}
}

func TestNoChart(t *testing.T) {
	s := newStand(t, museum(""), charts)
	s.do("POST", "/api/charts", strings.NewReader("this is no archive"))
	if c := s.tracker.intended[0].Upload.Chart; c == nil || c.Digest == "" || c.Name != "" {
		t.Errorf("got the chart %+v", c)
	}
}

func TestChartDownload(t *testing.T) {
	archive := chartArchive(t, "demo", "1.0.0-2", 10)
	s := newStand(t, museum(archive), charts)
	if _, body := s.do("GET", "/charts/demo-1.0.0-2.tgz", nil); body != archive {
		t.Error("the archive was altered")
	}
	op := s.tracker.lastEnded(1)
	if !op.Complete || op.GotChart == nil || op.GotChart.Name != "demo" || op.GotChart.Version != "1.0.0-2" || op.GotChart.Digest != digestOf(archive) {
		t.Errorf("operation %+v, chart %+v", op, op.GotChart)
	}
	s.do("GET", "/index.yaml", nil)
	if op := s.tracker.lastEnded(2); op.Action != detect.ChartIndex || string(op.Got.Bytes) != archive {
		t.Errorf("the body of index.yaml is not kept: %+v", op.Action)
	}
}

// A list of tags is kept if it is complete.
func TestTagsList(t *testing.T) {
	const list = `{"name":"app","tags":["v1"]}`
	for target, tt := range map[string]struct {
		link string
		kept bool
	}{
		"/v2/app/tags/list":         {"", true},
		"/v2/app/tags/list?n=5":     {"", false},
		"/v2/app/tags/list?last=v0": {"", false},
		"/v2/all/tags/list":         {`</v2/all/tags/list?last=v1>; rel="next"`, false},
	} {
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.link != "" {
				w.Header().Set("Link", tt.link)
			}
			_, _ = io.WriteString(w, list)
		}), nil)
		s.do("GET", target, nil)
		if op := s.tracker.lastEnded(1); op.Action != detect.TagsList || (string(op.Got.Bytes) == list) != tt.kept {
			t.Errorf("%s: kept %q", target, op.Got.Bytes)
		}
	}
}

func TestChartDelete(t *testing.T) {
	a := &asker{chart: func(tenant, name, version string) (upstream.Chart, error) {
		if tenant+" "+name+" "+version != "t demo 1.0.0" {
			return upstream.Chart{}, errors.New("asked for something else")
		}
		return upstream.Chart{Digest: "sha256:aa", Size: 5, Exists: true}, nil
	}}
	s := newStand(t, museum(""), func(o *Options) { charts(o); o.Upstreams[0].Asker = a })
	s.do("DELETE", "/api/t/charts/demo/1.0.0", nil)
	if f := s.tracker.intended[0].Before; f == nil || f.Digest != "sha256:aa" || f.Size != 5 {
		t.Errorf("got the look-up %+v", f)
	}
	a.chart = func(string, string, string) (upstream.Chart, error) { return upstream.Chart{}, upstream.ErrNotFound }
	s.do("DELETE", "/api/t/charts/demo/1.0.0", nil)
	if f := s.tracker.intended[1].Before; f == nil || !f.Absent {
		t.Errorf("got the look-up %+v", f)
	}
}

// A slow probe about a name does not delay the answer.
func TestVouchingDelaysNoRead(t *testing.T) {
	release := make(chan struct{})
	a := &asker{probe: func(string, string) (int, error) { <-release; return 401, nil }}
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Upstreams[0].Asker = a })
	c := s.dial()
	defer c.Close()
	fmt.Fprintf(c, "GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n", basic("ann"))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != manifest {
		t.Errorf("got the body %q, %v", b, err)
	}
	close(release)
	if op := s.tracker.lastEnded(1); op.Client.Operator != "ann" || string(op.Got.Bytes) != manifest || !op.Complete {
		t.Errorf("got the operation %+v", op)
	}
}

func TestTrailers(t *testing.T) {
	var got http.Header
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got = r.Trailer
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-More", "2")
	}), nil)
	for _, method := range []string{"GET", "PATCH"} {
		r, _ := http.NewRequest(method, s.front.URL+"/v2/a/blobs/uploads/1", nil)
		if method == "PATCH" {
			r.Body, r.ContentLength, r.Trailer = io.NopCloser(strings.NewReader("x")), -1, http.Header{"X-In": {"3"}}
		}
		res, err := s.front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.Trailer.Get("X-Sum") != "1" || res.Trailer.Get("X-More") != "2" {
			t.Errorf("%s: trailers of the answer %v", method, res.Trailer)
		}
		if method == "PATCH" && got.Get("X-In") != "3" {
			t.Errorf("trailers of the request %v", got)
		}
	}
}

func TestInformational(t *testing.T) {
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "body")
	}), nil)
	for _, method := range []string{"GET", "POST"} {
		answer := s.raw(method + " /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		hints, rest, _ := strings.Cut(answer, "\r\n\r\n")
		if !strings.HasPrefix(hints, "HTTP/1.1 103") || !strings.Contains(hints, "rel=preload") || !strings.HasPrefix(rest, "HTTP/1.1 200") || strings.Contains(rest, "preload") {
			t.Errorf("%s: got %q", method, answer)
		}
	}
}

// bellbuoy adds no header that the upstream did not send.
func TestHeadersAreTheUpstreams(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: a/b\r\nX-Two: 1\r\nX-Two: 2\r\nEtag: W/\"x\"\r\n\r\n<html>",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n",
	} {
		for _, method := range []string{"GET", "POST"} {
			s := newRawStand(t, newRecorder(t, answer).Addr().String(), nil)
			got := s.raw(method + " /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			for line := range strings.SplitSeq(got, "\r\n") {
				if !strings.Contains(answer, line) && !strings.HasPrefix(line, "Date: ") && line != "Connection: close" {
					t.Errorf("%s: %q was added to %q", method, line, answer)
				}
			}
		}
	}
}

func TestHTTP2(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1<<20)
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			_, _ = w.Write(body)
			return
		}
		registry(w, r)
	}), nil)
	s.front.Close()
	s.front = httptest.NewUnstartedServer(s.handler)
	s.front.EnableHTTP2 = true
	s.front.StartTLS()
	t.Cleanup(s.front.Close)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			res, err := s.front.Client().Get(s.front.URL + "/v2/a/blobs/sha256:aa")
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if b, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(b, body) || res.ProtoMajor != 2 {
				t.Errorf("stream %d: got %d bytes, %v, %s", i, len(b), err, res.Proto)
			}
		})
	}
	all.Wait()
	r, _ := http.NewRequest("PUT", s.front.URL+"/v2/a/manifests/v1", strings.NewReader(manifest))
	res, err := s.front.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 201 || string(s.tracker.settled[0].Sent.Bytes) != manifest || s.tracker.settled[0].External.Scheme != "https" {
		t.Errorf("got %d, %+v", res.StatusCode, s.tracker.settled)
	}
}

func TestAccessLog(t *testing.T) {
	core, lines := observer.New(zap.InfoLevel)
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Access = zap.New(core) })
	s.do("GET", "/v2/a/manifests/v1?ns=docker.io&token=hunter2", nil, "Authorization", basic("ann"), "X-Request-Id", "abc", "User-Agent", "crane/1")
	s.tracker.lastEnded(1)
	s.front.Close() // returns when every handler has returned
	if lines.Len() != 1 {
		t.Fatalf("got %d lines", lines.Len())
	}
	got := lines.All()[0].ContextMap()
	for key, want := range map[string]any{"request_id": "abc", "method": "GET", "path": "/v2/a/manifests/v1", "protocol": "HTTP/1.1", "query": "ns token", "status": int64(200), "client": "127.0.0.1",
		"upstream": "registry", "operation": "manifest_get", "user_agent": "crane/1", "bytes_out": int64(len(manifest))} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
	if all := fmt.Sprint(got); strings.Contains(all, "hunter2") || strings.Contains(all, "YW5u") || strings.Contains(all, "docker.io") {
		t.Errorf("a secret in %s", all)
	}
}

func TestMetrics(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	s.do("GET", "/v2/a/manifests/v1", nil)
	s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest))
	s.front.Close()
	s.back.Close()
	for name, want := range map[string]float64{
		"bellbuoy_requests_total": 2, "bellbuoy_request_bytes_total": float64(len(manifest)), "bellbuoy_response_bytes_total": float64(len(manifest)),
		"bellbuoy_request_duration_seconds": 2, "bellbuoy_time_to_first_byte_seconds": 2, "bellbuoy_requests_in_flight": 0, "bellbuoy_upstream_errors_total": 0,
	} {
		if got := metric(t, s, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	labels := map[string]bool{}
	for action := range detect.Actions {
		labels[detect.Action(action).String()] = true
	}
	if labels[""] || len(labels) != int(detect.ChartInfo)+1 {
		t.Errorf("the actions are labelled %v", labels)
	}
}

func TestRequestIDs(t *testing.T) {
	for id, kept := range map[string]bool{"abc-1.2_3:4/5+6=7@8": true, "": false, "a b": false, strings.Repeat("x", 129): false, "a\"b": false} {
		got := requestID(http.Header(textproto.MIMEHeader{"X-Request-Id": {id}}))
		if (got == id) != kept || got == "" || len(got) > 128 {
			t.Errorf("the id %q becomes %q", id, got)
		}
	}
}

// Whatever clients and upstreams do, no goroutine is left running.
func TestNothingIsLeftRunning(t *testing.T) {
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/die" {
			panic(http.ErrAbortHandler)
		}
		registry(w, r)
	}), nil)
	s.do("GET", "/v2/a/manifests/v1", nil)
	before := runtime.NumGoroutine()
	for i := range 60 {
		c := s.dial()
		switch i % 6 {
		case 0:
			_, _ = io.WriteString(c, "GET /v2/a/blobs/x HTTP/1.1\r\nHost: h\r\n\r\n")
		case 1:
			_, _ = io.WriteString(c, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf")
		case 2:
			_, _ = io.WriteString(c, "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		case 3:
			_, _ = io.WriteString(c, "GET /die HTTP/1.1\r\nHost: h\r\n\r\n")
		case 4:
			_, _ = io.WriteString(c, "POST /die HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
		case 5:
			_, _ = io.WriteString(c, "DELETE /v2/a/manifests/v1 HTTP/1.1\r\nHost: h\r\n\r\n")
		}
		c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		s.handler.now.Load().retire()
		now := runtime.NumGoroutine()
		if now <= before {
			return
		}
		select {
		case <-ctx.Done():
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines more than before\n%s", now-before, buf[:runtime.Stack(buf, true)])
		case <-time.After(10 * time.Millisecond):
		}
	}
}
