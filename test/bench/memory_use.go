package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// idleMemory is what bellbuoy holds when nothing happens.
func idleMemory(s *stage, _ options) []row {
	b := harness.Bellbuoy(s, fmt.Sprintf(bellbuoyConfig, newMemory(s).address, newSink(s).url("/")))
	s.pause(5 * time.Second)
	rss := measure(b.Pid()).rss
	return []row{atMost("idle: RSS", mib(rss), float64(rss), 25<<20, "25 MiB")}
}

// pullMemory is what it holds while a thousand clients, each on a connection of its own, pull over TLS.
func pullMemory(s *stage, opts options) []row {
	var rows []row
	for _, p := range []protocol{tls1, tls2} {
		const clients = 1000
		rss := pulling(s, p, clients, time.Duration(opts.scaled(50))*100*time.Millisecond)
		work := fmt.Sprintf("%d concurrent pulls over TLS, %s: RSS", clients, [...]string{tls1: "HTTP/1.1", tls2: "HTTP/2"}[p])
		rows = append(rows, atMost(work, mib(rss), float64(rss), 100<<20, "100 MiB"))
	}
	return rows
}

// pulling lets clients read a manifest and then its blob for some time, all at once, and returns the most memory held.
func pulling(s *stage, p protocol, clients int, long time.Duration) (rss int64) {
	cert, upstream := newCertificate(s), newMemory(s)
	upstream.blobSize = 1 << 40 // nobody gets to its end
	manifest := newManifest(1)
	upstream.put("/v2/"+repository+"/manifests/v1", manifest)
	c := startBellbuoy(s, upstream.address, &cert)
	w := watch(c.pid)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var reading atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			err := pullOn(ctx, p, "https://"+c.address, fmt.Sprintf("node/%d", i), &reading)
			if err != nil && ctx.Err() == nil {
				failed.Store(&err)
			}
		})
	}
	for reading.Load() < int64(clients) && failed.Load() == nil {
		s.pause(50 * time.Millisecond)
	}
	s.pause(long)
	rss = w.stop().rss
	cancel()
	wg.Wait()
	if err := failed.Load(); err != nil {
		s.Fatalf("pulling: %w", *err)
	}
	return rss
}

// pullOn is one client: a manifest, then a blob until ctx ends. It counts itself once the blob flows.
func pullOn(ctx context.Context, p protocol, base, agent string, reading *atomic.Int64) error {
	client := newClient(p)
	defer client.CloseIdleConnections()
	body, err := open(ctx, client, base+"/v2/"+repository+"/manifests/v1", agent)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	body.Close()
	if err != nil {
		return err
	}
	if body, err = open(ctx, client, base+"/v2/"+repository+"/blobs/"+digestOf([]byte("1")), agent); err != nil {
		return err
	}
	defer body.Close()
	if _, err = io.CopyN(io.Discard, body, 64<<10); err != nil {
		return err
	}
	reading.Add(1)
	_, err = io.Copy(io.Discard, body)
	return err
}

func open(ctx context.Context, c *http.Client, url, agent string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent)
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return resp.Body, nil
}
