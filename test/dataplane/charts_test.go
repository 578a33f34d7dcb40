package dataplane

import (
	"bytes"
	"io"
	multiparts "mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// formOf returns a form with n equal parts.
func formOf(t *testing.T, part string, content []byte, n int) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multiparts.NewWriter(&b)
	for range n {
		p, err := w.CreateFormFile(part, "a.tgz")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = p.Write(content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

// TestHostileCharts uploads charts that cost the reader much more than the sender, to a ChartMuseum
// that refuses every login. bellbuoy keeps running in bounded memory, and serves others meanwhile.
func TestHostileCharts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts bellbuoy")
	}
	museum := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(museum.Close)
	b := harness.Bellbuoy(t, "upstreams: [{type: chartmuseum, url: "+museum.URL+"}]\n"+nowhere)

	type upload struct {
		contentType string
		body        []byte
	}
	uploads := map[string]upload{}
	for name, text := range map[string]string{
		"brackets": strings.Repeat("[", 100_000),
		"flat":     strings.Repeat("k: v\n", 200_000),
		"flow":     "a: [" + strings.Repeat("1,", 30_000) + "]",
		"zeros":    strings.Repeat("\x00", 64<<20),
	} {
		uploads[name] = upload{"application/gzip", harness.ChartArchive("a/Chart.yaml", text)}
	}
	bomb := harness.ChartArchive("a/zeros", strings.Repeat("\x00", 64<<20), "a/Chart.yaml", "name: a\nversion: 1.0.0\n")
	contentType, body := formOf(t, "chart", bomb, 300)
	uploads["300 bombs"] = upload{contentType, body}
	contentType, body = formOf(t, "other", bomb, 300)
	uploads["300 other bombs"] = upload{contentType, body}

	var hostile sync.WaitGroup
	for name, u := range uploads {
		for range 8 {
			hostile.Go(func() {
				for range 3 {
					res, err := http.Post(b.ProxyURL+"/api/charts", u.contentType, bytes.NewReader(u.body))
					if err != nil {
						t.Errorf("upload of %s: %v", name, err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusUnauthorized {
						t.Errorf("upload of %s: got %d", name, res.StatusCode)
					}
				}
			})
		}
	}
	ended := make(chan struct{})
	go func() { hostile.Wait(); close(ended) }()
	var slowest time.Duration
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-time.After(50 * time.Millisecond):
		}
		began := time.Now()
		res, err := http.Get(b.ProxyURL + "/index.yaml")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		slowest = max(slowest, time.Since(began))
	}
	sound(t, b)
	t.Logf("at most %d MiB resident, an honest client waited at most %v", harness.MostResidentMiB(t, b.Pid()), slowest)
	if mib := harness.MostResidentMiB(t, b.Pid()); mib > 256 {
		t.Errorf("%d MiB resident", mib)
	}
	if slowest > soon/20 {
		t.Errorf("an honest client waited for %v", slowest)
	}
}
