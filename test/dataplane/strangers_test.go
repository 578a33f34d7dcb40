package dataplane

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Attacks that cost the attacker little. The registry refuses everybody in closed/, and nobody in
// open/. Each attack gets a client and the address of bellbuoy. Its open connections are closed
// when the test ends.
var strangers = []struct {
	name string
	do   func(t *testing.T, c *http.Client, host string)
}{
	{"compressed manifests of a million layers, refused", func(t *testing.T, c *http.Client, host string) {
		many(64, func(i int) { put(c, host, "closed/app", i, packed(list(`{"layers":[`, `{}`, `]}`)), true) })
	}},
	{"a media type of 4 MiB", func(t *testing.T, c *http.Client, host string) {
		body := packed(`{"schemaVersion":2,"mediaType":"` + strings.Repeat("<", 4<<20-100) + `"}`)
		many(16, func(i int) { put(c, host, "closed/app", i, body, true); put(c, host, "open/app", i, body, true) })
	}},
	{"layers, children and annotations without end", func(t *testing.T, c *http.Client, host string) {
		child := `{"digest":"sha256:` + strings.Repeat("ab", 32) + `","platform":{"os":"linux","architecture":"arm"}}`
		many(24, func(i int) {
			put(c, host, "open/app", i, []byte(list(`{"layers":[`, `{"digest":"a:b"}`, `]}`)), false)
			put(c, host, "open/app", i, []byte(list(`{"manifests":[`, child, `]}`)), false)
			put(c, host, "open/app", i, []byte(`{"annotations":{"a":"`+strings.Repeat("<", 4<<20-100)+`"}}`), false)
		})
	}},
	{"names of 60 KB", func(t *testing.T, c *http.Client, host string) {
		long := strings.Repeat("x", 60<<10)
		many(1500, func(i int) {
			for _, target := range []string{
				fmt.Sprint("/v2/open/", long, i, "/manifests/v1"), fmt.Sprint("/v2/open/app/referrers/sha256:", long, i), fmt.Sprint("/v2/open/app", i, "/manifests/v1?ns=", long),
				fmt.Sprint("/v2/open/app", i, "/manifests/v1?x=", long),
			} {
				_, _ = send(c, http.MethodHead, "http://"+host+target, nil)
			}
			_, _ = send(c, http.MethodHead, fmt.Sprint("http://", host, "/v2/open/app/manifests/v1"), nil, "User-Agent", fmt.Sprint(i, long))
		})
	}},
	{"pushes that do not end", func(t *testing.T, c *http.Client, host string) {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
		many(64, func(i int) {
			conn, err := dialer.Dial("tcp", host)
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(soon))
			fmt.Fprintf(conn, "PUT /v2/open/app/manifests/v%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", i, 4<<20)
			_, _ = conn.Write(make([]byte, 4<<20-1))
		})
	}},
}

// TestStrangers checks that the attacks use neither memory nor disk, and that others are served
// meanwhile.
func TestStrangers(t *testing.T) {
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(openToAnybody))
	t.Cleanup(up.Close)
	for _, s := range strangers {
		t.Run(s.name, func(t *testing.T) {
			b := front(t, up.URL, "")
			done := make(chan struct{})
			go func() { defer close(done); s.do(t, from(plain(t), "127.0.0.2"), b.Host) }()
			var took []time.Duration
			var most float64
			for over := false; !over; {
				select {
				case <-done:
					over = true
				case <-time.After(20 * time.Millisecond):
				}
				begun := time.Now()
				put(plain(t), b.Host, "honest/app", len(took), []byte(`{"schemaVersion":2}`), false)
				took = append(took, time.Since(begun))
				most = max(most, b.Metric("process_resident_memory_bytes"))
			}
			slices.Sort(took)
			median := took[len(took)/2]
			t.Logf("%.0f MiB in memory, %d KiB on disk; %d honest pushes: median %v, slowest %v", most/(1<<20), size(t, b.DataDir)>>10, len(took), median, took[len(took)-1])
			if most > 300<<20 {
				t.Errorf("%.0f MiB in memory", most/(1<<20))
			}
			if n := size(t, b.DataDir); n > 100<<20 {
				t.Errorf("%d MiB on disk", n>>20)
			}
			if median > time.Second {
				t.Errorf("half of the honest pushes took %v or longer", median)
			}
			if n := b.Metric("bellbuoy_events_total", `"PUSH_ARTIFACT"`); n < float64(len(took)) {
				t.Errorf("%v events of %d honest pushes", n, len(took))
			}
			sound(t, b)
		})
	}
}

func openToAnybody(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	_, _ = io.Copy(sum, r.Body)
	switch {
	case strings.HasPrefix(r.URL.Path, "/v2/closed/"):
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodPut:
		w.Header().Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", sum.Sum(nil)))
		w.WriteHeader(http.StatusCreated)
	default:
		w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("cd", 32))
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	}
}

// many calls a function n times, 16 at a time.
func many(n int, do func(i int)) {
	var all sync.WaitGroup
	places := make(chan struct{}, 16)
	for i := range n {
		places <- struct{}{}
		all.Go(func() { defer func() { <-places }(); do(i) })
	}
	all.Wait()
}

func put(c *http.Client, host, repository string, i int, body []byte, packed bool) {
	header := []string{"Content-Type", "application/vnd.oci.image.manifest.v1+json"}
	if packed {
		header = append(header, "Content-Encoding", "gzip")
	}
	_, _ = send(c, http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/v%d", host, repository, i), bytes.NewReader(body), header...)
}

// list returns a manifest of just under 4 MiB that repeats an element.
func list(begin, one, end string) string {
	return begin + one + strings.Repeat(","+one, (4<<20-len(begin)-len(end))/(len(one)+1)-1) + end
}

func packed(s string) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.Bytes()
}

// size returns the bytes of all files below a directory.
func size(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil { // otherwise it was just removed
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
