package dataplane

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Reloads, new settings and new certificates come one after the other, during handshakes and
// transfers. No client notices.
func TestReloadStorm(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	registry := harness.Registry(t, harness.RegistryOptions{})
	image := harness.NewImage(harness.ImageOptions{LayerSize: 2 << 20})
	pushOver(t, plain(t), registry.URL, "app", "v1", image)
	blob := image.Layers[0].Digest
	b := front(t, registry.URL, fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\nshutdown_grace: 20s\n", a.File("server.pem"), a.File("server.key")))
	text, err := os.ReadFile(b.Config)
	if err != nil {
		t.Fatal(err)
	}
	goroutines := b.Metric("go_goroutines")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients, storm sync.WaitGroup
	var transfers atomic.Int64
	for i := range 8 {
		c := overTLS(t, a, i%2 == 0, "")
		c.Transport.(*http.Transport).DisableKeepAlives = i%4 > 1
		clients.Go(func() {
			defer c.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				base := "https://" + b.Host + "/v2/app/"
				got, err := send(c, http.MethodGet, base+"blobs/"+blob.String(), nil)
				if err != nil || got.Body != string(image.Blob(blob)) {
					t.Errorf("client %d: a blob came as %d with %d bytes: %v", i, got.Status, len(got.Body), err)
					return
				}
				start, err := send(c, http.MethodPost, base+"blobs/uploads/", nil)
				if err != nil || start.Status != http.StatusAccepted {
					t.Errorf("client %d: an upload began with %d %v", i, start.Status, err)
					return
				}
				size := rand.IntN(1 << 20)
				up, err := send(c, http.MethodPatch, start.Header.Get("Location"), struct{ io.Reader }{io.LimitReader(zeros{}, int64(size))}, "Content-Type", "application/octet-stream")
				if want := fmt.Sprintf("0-%d", max(size-1, 0)); err != nil || up.Status != http.StatusAccepted || up.Header.Get("Range") != want {
					t.Errorf("client %d: an upload of %d bytes ended with %d, Range %s, %v", i, size, up.Status, up.Header.Get("Range"), err)
					return
				}
				transfers.Add(1)
			}
		})
	}
	storm.Go(func() { // new certificates
		for ctx.Err() == nil {
			a.Issue("server")
			time.Sleep(30 * time.Millisecond)
		}
	})
	storm.Go(func() { // new settings, and reloads of the old ones
		for n := 0; ctx.Err() == nil; n++ {
			next := strings.Replace(string(text), "shutdown_grace: 20s\n", fmt.Sprintf("shutdown_grace: 20s\nlimits: {idle: %ds, connections: %d}\ntrusted_proxies: [10.0.0.%d]\n", 5+n%60, n%2*1000, n%250), 1)
			if err := os.WriteFile(b.Config, []byte(next), 0o600); err != nil {
				t.Error(err)
			}
			b.Signal(syscall.SIGHUP)
			time.Sleep(20 * time.Millisecond)
		}
	})
	time.Sleep(4 * time.Second)
	cancel()
	clients.Wait()
	storm.Wait()
	if n := strings.Count(b.Logs(), "configuration reloaded"); n < 10 || transfers.Load() < 20 {
		t.Errorf("%d reloads, %d transfers", n, transfers.Load())
	}
	if !harness.Eventually(soon, func() bool { return b.Metric("go_goroutines") <= goroutines+6 }) {
		t.Errorf("%v goroutines, %v before", b.Metric("go_goroutines"), goroutines)
	}
	if b.Metric("bellbuoy_panics_total") != 0 {
		t.Error("bellbuoy panicked")
	}
}
