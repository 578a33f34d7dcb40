package carry

import (
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// The first downloads get large buffers, further ones smaller ones. Each buffer returns to the pool
// that it came from.
func TestLongBuffersForFewAndMany(t *testing.T) {
	bulk, long, some, crowd := buffers.Bulk.Size(), buffers.Long.Size(), buffers.Some.Size(), buffers.Crowd.Size()
	for _, row := range []struct {
		copies                  int32
		lend                    func() *buffers.Buffer
		first, ninth, afterMost int
	}{
		{1, borrowForConn, bulk, long, some},
		{longMany + 1, borrowForConn, long, long, some},
		{someMany + 1, borrowForConn, some, some, some},
		{1, borrowForStream, bulk, long, some},
		{longMany + 1, borrowForStream, some, some, some},
		{someMany + 1, borrowForStream, crowd, crowd, crowd},
	} {
		longCopies.Add(row.copies)
		var got []*buffers.Buffer
		for range buffers.Bulk.Most() + buffers.Long.Most() + 1 {
			got = append(got, row.lend())
		}
		for at, want := range map[int]int{0: row.first, buffers.Bulk.Most(): row.ninth, buffers.Bulk.Most() + buffers.Long.Most(): row.afterMost} {
			if len(got[at].Bytes) != want {
				t.Errorf("with %d transfers buffer %d has %d bytes, want %d", row.copies, at, len(got[at].Bytes), want)
			}
		}
		for _, b := range got {
			b.Return()
		}
		longCopies.Add(-row.copies)
	}
	for _, l := range []*buffers.Pool{&buffers.Bulk, &buffers.Long} {
		if n := l.Lent(); n != 0 {
			t.Errorf("%d buffers of %d bytes are still lent", n, l.Size())
		}
	}
}

// Each of many downloads over TLS gets every byte, at any pace: fast ones with large buffers, all
// with small ones, and in between as buffers become free.
func TestCrowdOverTLS(t *testing.T) {
	content := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{5}).Read(content)
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
	}))
	defer back.Close()
	trusted, client := certificates(t)
	address := serving(t, listen.Options{Handler: carrying(New(Options{URL: parsed(t, back.URL)})), TLS: trusted, HeaderRead: patience})
	var crowd sync.WaitGroup
	for i := range 3 * longMany {
		transport := client.Clone()
		transport.ForceAttemptHTTP2, transport.DisableKeepAlives = i%2 == 0, true
		crowd.Go(func() {
			res, err := (&http.Client{Transport: transport}).Get("https://" + address + "/v2/a/blobs/sha256:" + strings.Repeat("ab", 32))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond) // until all downloads are in flight
			}
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
			}
		})
	}
	crowd.Wait()
	if n := longCopies.Load(); n != 0 {
		t.Errorf("%d transfers are still counted", n)
	}
	if n := buffers.Bulk.Lent() + buffers.Long.Lent(); n != 0 {
		t.Errorf("%d buffers are still lent", n)
	}
}

// A long body of an upstream with TLS arrives completely. If it breaks off, it breaks off for the
// client too, alone and beside many others.
func TestLongBodiesOfHTTPSUpstream(t *testing.T) {
	body := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{3}).Read(body)
	back := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if r.URL.Path == "/v2/cut/blobs/x" {
			_, _ = w.Write(body[:200<<10])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body)
	}))
	defer back.Close()
	roots := back.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	front := httptest.NewServer(carrying(New(Options{URL: parsed(t, back.URL), TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"}})))
	defer front.Close()
	for _, others := range []int32{0, someMany + 1} {
		longCopies.Add(others)
		got, err := get(t, front.URL+"/v2/a/blobs/x")
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("beside %d others: got %d bytes, %v", others, len(got), err)
		}
		got, err = get(t, front.URL+"/v2/cut/blobs/x")
		if err == nil || !bytes.HasPrefix(body, got) {
			t.Errorf("beside %d others: a body that breaks off came with %d bytes and no error", others, len(got))
		}
		longCopies.Add(-others)
	}
}
