package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
)

// FuzzWholeRequests sends requests of every kind, with bodies of every kind, through a Handler and
// a Tracker to an upstream that accepts them all. The cost of a request is bounded, only what the
// limits allow is kept of it, and a request has an intent exactly if Classify makes it a write.
func FuzzWholeRequests(f *testing.F) {
	image := `{"schemaVersion":2,"layers":[{"digest":"sha256:aa","size":1}]}`
	for _, target := range []string{"/v2/a/manifests/v1", "/v2/a//b/./manifests/sha256:ab?tag=x&tag=y&ns=z", "/v2/a/blobs/uploads/?mount=sha256:ab&from=b", "/v2/a/referrers/sha256:ab"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
			f.Add(method, target, "Content-Type: application/vnd.oci.image.manifest.v1+json", []byte(image), uint16(1), byte(len(method)))
		}
	}
	f.Add("PUT", "/v2/a/manifests/v1", "Content-Encoding: gzip", []byte(`{},`), uint16(65535), byte(1))
	f.Add("PUT", "/v2/"+strings.Repeat("a", 300)+"/manifests/v1", "User-Agent: "+strings.Repeat("u", 300), []byte(`<`), uint16(60000), byte(3))
	f.Add("POST", "/api/charts", "Content-Type: multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"chart\"\r\n\r\n"), uint16(9), byte(4))
	f.Add("POST", "/api/t/charts", "Authorization: Basic YTpi", []byte("\x1f\x8b\x08\x00"), uint16(100), byte(5))
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		_, _ = io.Copy(sum, r.Body)
		w.Header().Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", sum.Sum(nil)))
		w.WriteHeader(http.StatusCreated)
	}))
	f.Cleanup(back.Close)
	f.Fuzz(func(t *testing.T, method, target, header string, body []byte, times uint16, mode byte) {
		r := wholeRequest(method, target, header, body, times, mode)
		if r == nil {
			return
		}
		u, _ := url.Parse(back.URL)
		kind := detect.Registry
		if mode&4 != 0 {
			kind = detect.ChartMuseum
		}
		ledger := &measured{T: t, rows: map[detect.Key]detect.Row{}}
		tracker := track.New(track.Config{Accessories: true}, ledger, nobody{})
		h, err := New(Options{Upstreams: []Upstream{{Name: "up", Kind: kind, URL: u}}, Tracker: tracker})
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 {
			t.Errorf("%d MiB for %s %.100q", spent>>20, method, target)
		}
		if p := h.budget; p.large.used+p.small.used != 0 {
			t.Errorf("%d bytes of the budget are not given back", p.large.used+p.small.used)
		}
		_, understood := h.Classify(r)
		switch ambiguous := !unambiguous(r, ""); {
		case ambiguous, understood.TooLong != "":
			if answer.Code != http.StatusBadRequest || ledger.intents > 0 {
				t.Errorf("%s %.100q: answered %d with %d intents", method, target, answer.Code, ledger.intents)
			}
		case understood.Action == detect.ChartPost: // a form may have no chart; if it cannot be read, the intent is written twice
		case answer.Code == http.StatusCreated && understood.Action.Writes() != (ledger.intents == 1):
			t.Errorf("%s %.100q is %v and made %d intents", method, target, understood.Action, ledger.intents)
		}
		if s := tracker.Stats(); s.InFlight > 0 || s.SessionBytes > 64<<10 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

// wholeRequest makes a request of a fuzzer's pieces; nil if net/http would refuse it.
func wholeRequest(method, target, header string, body []byte, times uint16, mode byte) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, breaksLines) || method == "" || strings.ContainsFunc(method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return nil
	}
	name, value, _ := strings.Cut(header, ": ")
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) || strings.ContainsFunc(name, func(c rune) bool { return (c < 'A' || c > 'z') && c != '-' }) {
		return nil
	}
	whole := bytes.Repeat(body, min(int(times), (5<<20)/(len(body)+1)))
	if mode&1 != 0 {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		_, _ = zw.Write(whole)
		_ = zw.Close()
		whole = b.Bytes()
	}
	r := &http.Request{
		Method: method, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "h", RemoteAddr: "192.0.2.1:1",
		Header: http.Header{}, ContentLength: int64(len(whole)), Body: io.NopCloser(bytes.NewReader(whole)),
	}
	if mode&2 != 0 && len(whole) > 0 {
		r.ContentLength = -1
	}
	switch name = http.CanonicalHeaderKey(name); name {
	case "Content-Type", "Content-Encoding", "User-Agent", "Authorization", "X-Request-Id", "X-Forwarded-For", "Range", "If-None-Match":
		r.Header.Set(name, value)
	}
	return r.WithContext(context.Background())
}

// measured is a ledger that checks the bounds of what is stored.
type measured struct {
	*testing.T
	mu      sync.Mutex
	rows    map[detect.Key]detect.Row
	intents int
}

func (m *measured) Commit(_ context.Context, _ string, decide func(detect.View) (detect.Changes, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes, err := decide(m)
	total := 0
	for _, row := range changes.Put {
		if row.Kind == "intent" {
			m.intents++
			if len(row.Value) > detect.MaxIntent {
				m.Errorf("an intent of %d bytes", len(row.Value))
			}
		}
		if len(row.ID) > 8<<10 {
			m.Errorf("a key of %d bytes", len(row.ID))
		}
		total += len(row.Value)
		m.rows[row.Key] = row
	}
	if total > 2<<20 {
		m.Errorf("%d KiB of rows", total>>10)
	}
	for _, k := range changes.Delete {
		delete(m.rows, k)
	}
	for _, e := range changes.Events {
		if len(e.Repository) > detect.MaxRepository || len(e.Client.UserAgent) > detect.MaxUserAgent || len(e.Client.Operator+e.Client.Claimed) > detect.MaxOperator {
			m.Errorf("an event beyond the limits: %+v", e.Client)
		}
	}
	return err
}

func (m *measured) CommitLater(ctx context.Context, scope string, _ bool, decide func(detect.View) (detect.Changes, error)) error {
	return m.Commit(ctx, scope, decide)
}
func (m *measured) Record(...detect.Event) {}
func (m *measured) View(_ context.Context, read func(detect.View) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return read(m)
}
func (m *measured) Due(context.Context, detect.RowKind, time.Time, int) ([]detect.Row, error) {
	return nil, nil
}
func (m *measured) Own(context.Context, detect.RowKind, string, int) ([]detect.Row, error) {
	return nil, nil
}

func (m *measured) Get(k detect.Key) (detect.Row, bool, error) {
	row, ok := m.rows[k]
	return row, ok, nil
}

func (m *measured) Scan(kind detect.RowKind, prefix string, limit int) (found []detect.Row, err error) {
	for k, row := range m.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))], nil
}

// nobody is an upstream that does not answer.
type nobody struct{}

func (nobody) Manifest(context.Context, string, string, string, string) (detect.Found, error) {
	return detect.Found{}, io.EOF
}
func (nobody) Read(context.Context, string, string, string, string) (detect.Found, error) {
	return detect.Found{}, io.EOF
}
func (nobody) Chart(context.Context, string, string, string, string) (detect.Found, error) {
	return detect.Found{}, io.EOF
}
func (nobody) ChartIndex(context.Context, string, string) (io.ReadCloser, error) { return nil, io.EOF }
