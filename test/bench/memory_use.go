package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// idleMemory is what bellbuoy holds when nothing happens.
func idleMemory(s *stage, _ options) []row {
	b := startBuoy(s, fmt.Sprintf(bellbuoyConfig, newMemory(s).address, newSink(s).url("/")))
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
	connecting := make(chan struct{}, 32)
	for i := range clients {
		wg.Go(func() {
			err := pullOn(ctx, p, "https://"+c.address, fmt.Sprintf("node/%d", i), connecting, &reading)
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
	c.buoy.profile(s, fmt.Sprintf("pulls-%d", p), "heap")()
	cancel()
	wg.Wait()
	if err := failed.Load(); err != nil {
		s.Fatalf("pulling: %w", *err)
	}
	return rss
}

// pullOn is one client: a manifest, then a blob until ctx ends, at a pace that a thousand can keep up on few cores. It counts itself
// once the blob flows. No more connect at once than connecting takes.
func pullOn(ctx context.Context, p protocol, base, agent string, connecting chan struct{}, reading *atomic.Int64) error {
	client := newClient(p)
	defer client.CloseIdleConnections()
	connecting <- struct{}{}
	body, err := open(ctx, client, base+"/v2/"+repository+"/manifests/v1", agent)
	<-connecting
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
	return trickle(ctx, body)
}

func trickle(ctx context.Context, body io.Reader) error {
	for ctx.Err() == nil {
		if _, err := io.CopyN(io.Discard, body, 32<<10); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
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
