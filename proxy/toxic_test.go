package proxy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// toxic passes connections on to an address, in pieces of any length and with pauses of any length,
// and cuts some of them anywhere. The pauses are longer than the time in which carry expects an
// answer first.
func toxic(t *testing.T, address string, cut func() bool) string {
	return serveRaw(t, func(c net.Conn) {
		up, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer up.Close()
		go func() {
			defer c.Close()
			passOn(c, up, cut)
		}()
		passOn(up, c, cut)
	})
}

func passOn(to, from net.Conn, cut func() bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf[:1+rand.IntN(len(buf))])
		for b := buf[:n]; len(b) > 0; {
			m := 1 + rand.IntN(len(b))
			switch r := rand.IntN(200); {
			case r == 0:
				time.Sleep(time.Duration(rand.Int64N(int64(2 * haste))))
			case r == 1 && cut():
				_ = to.(*net.TCPConn).SetLinger(rand.IntN(2) - 1) // closed, or reset
				to.Close()
				from.Close()
				return
			}
			if _, err := to.Write(b[:m]); err != nil {
				return
			}
			b = b[m:]
		}
		if err != nil {
			return
		}
	}
}

// contentOf returns the content of a path: different for each, of lengths around those at which
// bellbuoy changes its way of copying.
func contentOf(path string) []byte {
	h := fnv.New32a()
	_, _ = io.WriteString(h, path)
	lengths := []int{0, 1, 100, buffers.ReaderSize, buffers.RecordSize - 1, buffers.RecordSize, spliced - 1, spliced, spliced + 1, 300 << 10}
	return bytes.Repeat([]byte(path+"\n"), 1+300<<10/len(path))[:lengths[h.Sum32()%uint32(len(lengths))]]
}

// faithful is an upstream that answers with what it got.
func faithful(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	if r.Method == http.MethodPatch || r.Method == http.MethodPut {
		fmt.Fprintf(w, "%s %x", r.URL.Path, sum.Sum(nil))
		return
	}
	body := contentOf(r.URL.Path)
	w.Header().Set("X-Path", r.URL.Path)
	if !strings.HasSuffix(r.URL.Path, "7") { // otherwise the answer is chunked
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	_, _ = w.Write(body)
}

// Through connections that are slow, come in pieces and are cut anywhere, on both sides, no client
// gets the answer of another, or half an answer that looks complete.
// gets what is not his, or half of it for all.
const (
	haste   = 250 * time.Millisecond // in this time carry does not watch whether the client is connected
	spliced = 64 << 10               // the kernel moves bodies of at least so many bytes
)

func TestAnswersAreNeverMixedUp(t *testing.T) {
	t.Parallel()
	var calm atomic.Bool
	cut := func() bool { return !calm.Load() }
	back := httptest.NewServer(http.HandlerFunc(faithful))
	t.Cleanup(back.Close)
	fast, _ := pair(t, toxic(t, back.Listener.Addr().String(), cut))
	front := toxic(t, frontOf(t, fast), cut)
	var done sync.WaitGroup
	var good atomic.Int32
	for i := range 12 {
		transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 2}
		t.Cleanup(transport.CloseIdleConnections)
		c := &http.Client{Transport: transport, Timeout: patience}
		done.Go(func() {
			for n := range 24 {
				if i == 0 && n == 16 {
					calm.Store(true)
				}
				if err := exact(c, "http://"+front, fmt.Sprintf("%d-%d", i, n)); errors.Is(err, errMistaken) {
					t.Error(err)
				} else if err == nil {
					good.Add(1)
				}
			}
		})
	}
	done.Wait()
	if good.Load() < 60 {
		t.Errorf("only %d requests went well", good.Load())
	}
	for n := range 12 {
		if err := exact(http.DefaultClient, "http://"+front, fmt.Sprint("calm", n)); err != nil {
			t.Errorf("in the calm: %v", err)
		}
	}
}

var errMistaken = errors.New("mistaken")

// exact makes one request. It returns errMistaken for a complete answer that is not the right one.
func exact(c *http.Client, base, name string) error {
	method, path, want := http.MethodGet, "/v2/a/blobs/"+name, ""
	body := []byte(nil)
	switch rand.IntN(4) {
	case 0:
		method = http.MethodHead
	case 1, 2:
		method, path = http.MethodPatch, "/v2/a/blobs/uploads/"+name
		body = bytes.Repeat([]byte(name), rand.IntN(60_000)+1)
		want = fmt.Sprintf("%s %x", path, sha256.Sum256(body))
	}
	if method == http.MethodGet {
		want = string(contentOf(path))
	}
	var sent io.Reader
	if body != nil {
		sent = bytes.NewReader(body)
		if rand.IntN(2) == 0 {
			sent = unsized{sent}
		}
	}
	r, err := http.NewRequest(method, base+path, sent)
	if err != nil {
		return err
	}
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusBadGateway || res.StatusCode == http.StatusBadRequest:
		return fmt.Errorf("got the status %s", res.Status)
	case res.StatusCode != http.StatusOK || string(got) != want || method != http.MethodPatch && res.Header.Get("X-Path") != path:
		return fmt.Errorf("%w: %s %s was answered %s with %d bytes of %s (%.60q), want %d", errMistaken, method, path, res.Status, len(got), res.Header.Get("X-Path"), got, len(want))
	}
	return nil
}
