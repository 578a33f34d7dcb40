package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// lookups implements track.Asker with one client for each configured upstream. A reload replaces
// the clients.
type lookups struct {
	byName atomic.Pointer[map[string]*upstream.Client]
}

func (a *lookups) configure(byName map[string]*upstream.Client) { a.byName.Store(&byName) }

func (a *lookups) of(name string) (*upstream.Client, error) {
	if c, ok := (*a.byName.Load())[name]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("upstream %s is not configured any more", name)
}

// Manifest implements track.Asker. It ignores the hint of a mirror, because only writes are looked
// up, and a mirror takes none.
func (a *lookups) Manifest(ctx context.Context, name, _, repository, reference string) (detect.Found, error) {
	c, err := a.of(name)
	if err != nil {
		return detect.Found{}, err
	}
	standing, m, err := c.Stands(ctx, repository, reference, "")
	switch {
	case err != nil:
		return detect.Found{}, err
	case standing == upstream.Absent:
		return detect.Found{Absent: true}, nil
	}
	return detect.Found{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size, Manifest: m.Body}, nil
}

// Read implements track.Asker.
func (a *lookups) Read(ctx context.Context, name, _, repository, digest string) (detect.Found, error) {
	c, err := a.of(name)
	if err != nil {
		return detect.Found{}, err
	}
	m, err := c.Manifest(ctx, repository, digest, upstream.Own)
	switch {
	case err != nil:
		return detect.Found{}, err
	case m.Mismatch:
		return detect.Found{}, fmt.Errorf("reading manifest %s of %s: the upstream sent another manifest", digest, repository)
	}
	return detect.Found{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size, Manifest: m.Body}, nil
}

// Chart implements track.Asker.
func (a *lookups) Chart(ctx context.Context, name, tenant, chart, version string) (detect.Found, error) {
	c, err := a.of(name)
	if err != nil {
		return detect.Found{}, err
	}
	standing, err := c.ChartStands(ctx, tenant, chart, version, "")
	switch {
	case err != nil:
		return detect.Found{}, err
	case standing == upstream.Absent:
		return detect.Found{Absent: true}, nil
	}
	found, err := c.Chart(ctx, tenant, chart, version, upstream.Own)
	if err != nil {
		return detect.Found{}, err
	}
	return detect.Found{Digest: found.Digest, Size: found.Size}, nil
}

// ChartIndex implements track.Asker.
func (a *lookups) ChartIndex(ctx context.Context, name, tenant string) (io.ReadCloser, error) {
	c, err := a.of(name)
	if err != nil {
		return nil, err
	}
	return c.ChartIndex(ctx, tenant, upstream.Own)
}
