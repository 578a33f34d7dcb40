package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
)

// idleMemory measures the memory of an idle bellbuoy.
func idleMemory(s *stage, _ options) []row {
	b := startBuoy(s, fmt.Sprintf(bellbuoyConfig, newMemory(s).entry(), newSink(s).url("/")))
	s.pause(5 * time.Second)
	rss := measure(b.Pid()).rss
	return []row{atMost("idle: RSS", mib(rss), float64(rss), 25<<20, "25 MiB")}
}

// A mix has the protocols of the clients of a crowd, which use them in turn, and says whether the
// upstream speaks TLS.
type mix struct {
	name      string
	secure    bool
	protocols []protocol
}

// pullMemory measures the memory of bellbuoy while a thousand clients, each on a connection of its
// own, pull over TLS.
func pullMemory(m mix) func(*stage, options) []row {
	const clients = 1000
	return func(s *stage, opts options) []row {
		rss := pulling(s, m, clients, time.Duration(opts.scaled(30))*100*time.Millisecond)
		work := fmt.Sprintf("%d concurrent pulls over TLS, %s: RSS", clients, m.name)
		return []row{atMost(work, mib(rss), float64(rss), 100<<20, "100 MiB")}
	}
}

// A crowd is many clients that read at the same pace.
type crowd struct {
	pace    atomic.Int32
	reading atomic.Int64 // clients that have begun to read their blob
	failed  atomic.Pointer[error]
	// connecting bounds how many clients connect at once, by its capacity.
	connecting chan struct{}
}

const (
	trickling int32 = iota // at a pace that a thousand clients can keep on few cores
	holding                // no client reads
	flooding               // as fast as possible
)

// pulling lets clients read a manifest and then its blob. It returns the greatest memory that was
// used: while they connect, while all read slowly, while none reads, and while all read at full
// speed.
func pulling(s *stage, m mix, clients int, each time.Duration) (rss int64) {
	cert := authority.New(s).Issue("bench")
	upstream := newMemory(s)
	if m.secure {
		upstream = newSecureMemory(s, cert)
	}
	upstream.blobSize = 1 << 40 // no client reads it to the end
	upstream.put("/v2/"+repository+"/manifests/v1", newManifest(1))
	c := startBellbuoyWith(s, upstream.entry(), &cert, "")
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	all := &crowd{connecting: make(chan struct{}, 32)}
	w := watch(c.pid)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			err := all.pull(ctx, m.protocols[i%len(m.protocols)], "https://"+c.address, fmt.Sprintf("node/%d", i))
			if err != nil && ctx.Err() == nil {
				all.failed.Store(&err)
			}
		})
	}
	for all.reading.Load() < int64(clients) && all.failed.Load() == nil {
		s.pause(50 * time.Millisecond)
	}
	for _, pace := range []int32{trickling, holding, flooding} {
		all.pace.Store(pace)
		s.pause(each)
		c.buoy.profile(s, fmt.Sprintf("pulls-%s-%d", strings.NewReplacer("/", "", " ", "-", ",", "").Replace(m.name), pace), "heap")()
	}
	rss = w.stop().rss
	cancel()
	wg.Wait()
	if err := all.failed.Load(); err != nil {
		s.Fatalf("pulling: %w", *err)
	}
	return rss
}

// pull is one client: a manifest, then a blob until ctx ends.
func (c *crowd) pull(ctx context.Context, p protocol, base, agent string) error {
	client := newClient(p)
	defer client.CloseIdleConnections()
	c.connecting <- struct{}{}
	body, err := open(ctx, client, base+"/v2/"+repository+"/manifests/v1", agent)
	<-c.connecting
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
	c.reading.Add(1)
	return c.read(ctx, body)
}

func (c *crowd) read(ctx context.Context, body io.Reader) error {
	for ctx.Err() == nil {
		pace := c.pace.Load()
		if pace != holding {
			if _, err := io.CopyN(io.Discard, body, 32<<10); err != nil {
				return err
			}
		}
		if pace == flooding {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
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
