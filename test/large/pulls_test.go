package large

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// crowd is an upstream with one image. It sends the second half of a blob when a given number of
// clients have got the first half, so that so many transfers are in flight at once.
type crowd struct {
	image   harness.Artifact
	invited int64
	come    atomic.Int64
	all     chan struct{}
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, reference, _ := strings.Cut(r.URL.Path, "/manifests/")
	_, blob, isBlob := strings.Cut(r.URL.Path, "/blobs/")
	switch {
	case reference == "v1" || reference == c.image.Digest.String():
		w.Header().Set("Content-Type", c.image.MediaType)
		w.Header().Set("Docker-Content-Digest", c.image.Digest.String())
		w.Write(c.image.Manifest)
	case isBlob && c.image.Blob(digest.Digest(blob)) != nil:
		c.send(w, r, c.image.Blob(digest.Digest(blob)))
	default:
		http.NotFound(w, r)
	}
}

func (c *crowd) send(w http.ResponseWriter, r *http.Request, content []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Write(content[:len(content)/2])
	w.(http.Flusher).Flush()
	if c.come.Add(1) == c.invited {
		close(c.all)
	}
	select {
	case <-c.all:
		w.Write(content[len(content)/2:])
	case <-r.Context().Done():
	}
}

// TestManyPullsOverTLS lets a thousand clients pull at once. All get the image, each is an event,
// and memory stays within the budget.
func TestManyPullsOverTLS(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { pullAtOnce(t, false, 100<<20, func(int) bool { return false }) })
	t.Run("HTTP/2", func(t *testing.T) { pullAtOnce(t, false, 100<<20, func(int) bool { return true }) })
	t.Run("half HTTP/2", func(t *testing.T) { pullAtOnce(t, false, 100<<20, func(i int) bool { return i%2 == 0 }) })
}

// The same with an upstream that speaks TLS: another thousand connections, each with a record in
// its buffer.
func TestManyPullsOfSecureUpstream(t *testing.T) {
	t.Run("HTTP/1.1", func(t *testing.T) { pullAtOnce(t, true, 170<<20, func(int) bool { return false }) })
	t.Run("HTTP/2", func(t *testing.T) { pullAtOnce(t, true, 180<<20, func(int) bool { return true }) })
}

func pullAtOnce(t *testing.T, secure bool, allowed int64, http2 func(i int) bool) {
	clients := 1000
	if testing.Short() {
		clients = 200
	}
	up := &crowd{image: harness.NewImage(harness.ImageOptions{LayerSize: 256 << 10}), invited: int64(clients), all: make(chan struct{})}
	srv := httptest.NewUnstartedServer(up)
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	hooks := harness.NewReceiver(t)
	b := bellbuoy(t, srv.URL, hooks.URL("/all"), tlsConfig(t))
	most := peak(t, b.Pid())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	connecting := make(chan struct{}, 64) // on few cores, all handshakes at once would take longer than limits.header_read
	for i := range clients {
		client := newClient(t, http2(i))
		wg.Go(func() {
			if err := pull(ctx, client, "https://"+b.Host, fmt.Sprintf("node/%d", i), up.image, connecting); err != nil {
				t.Errorf("pull of client %d: %v", i, err)
				cancel() // the others would wait for this one
			}
		})
	}
	wg.Wait()
	atMost(t, most(), allowed)
	if t.Failed() {
		return
	}
	agents := map[string]bool{}
	for _, post := range hooks.Wait(clients, time.Minute) {
		if got := post.Text("type"); got != "PULL_ARTIFACT" {
			t.Errorf("a webhook of type %q", got)
		}
		agents[post.Text("user_agent")] = true
	}
	if len(agents) != clients {
		t.Errorf("%d different clients pulled by the webhooks, want %d", len(agents), clients)
	}
}

// pull reads a manifest, once it may connect, and then its layer.
func pull(ctx context.Context, c *http.Client, base, agent string, image harness.Artifact, connecting chan struct{}) error {
	connecting <- struct{}{}
	err := read(ctx, c, base+"/v2/team/app/manifests/v1", agent, image.Digest)
	<-connecting
	if err != nil {
		return err
	}
	layer := image.Layers[0].Digest
	return read(ctx, c, base+"/v2/team/app/blobs/"+layer.String(), agent, layer)
}

// read reads a body that must have a digest.
func read(ctx context.Context, c *http.Client, url, agent string, want digest.Digest) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", agent)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && digest.FromBytes(body) != want {
		err = fmt.Errorf("%s: got other content than was pushed: %s", url, resp.Status)
	}
	return err
}
