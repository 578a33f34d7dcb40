package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

const reachHostTimeout = 10 * time.Second

// reachProblems tests all upstreams (including the login) and all scanners, and connects to the
// hosts of all webhooks, at the same time. It sends nothing to a webhook. It returns nil if all can
// be reached.
func reachProblems(ctx context.Context, w *wiring) error {
	c := w.config
	var mu sync.Mutex
	var found config.Problems
	var tests sync.WaitGroup
	try := func(path string, do func(ctx context.Context) error) {
		tests.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, reachHostTimeout)
			defer cancel()
			if err := do(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				found = append(found, c.Problem(path, reachText(err)))
			}
		})
	}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		try(fmt.Sprintf("upstreams[%d].url", i), func(ctx context.Context) error {
			err := w.lookupClients[u.Name].Reach(ctx, u.Type == config.TypeChartMuseum)
			if errors.Is(err, upstream.ErrNoLogin) {
				return nil // an upstream may need no login
			}
			return err
		})
	}
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		if !h.Enabled {
			continue
		}
		try(fmt.Sprintf("webhooks[%d].url", i), func(ctx context.Context) error { return w.hooks[i].Client.Reach(ctx) })
	}
	for i := range w.scanners.Scanners {
		try(fmt.Sprintf("scanners[%d].url", i), func(ctx context.Context) error { return reachScanner(ctx, &w.scanners.Scanners[i]) })
	}
	tests.Wait()
	if len(found) == 0 {
		return nil
	}
	return found
}

// reachText describes an error, with the key that likely fixes it. It never shows a URL, whose path
// may be a secret.
func reachText(err error) string {
	text := err.Error()
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		text = inURL.Err.Error()
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown):
		text += "; tls.ca_file names the CA of a private certificate"
	case errors.As(err, &name):
		text += "; tls.server_name names what the certificate is for"
	case errors.As(err, &record), strings.Contains(text, "HTTP response to HTTPS client"):
		text += "; does it speak http, not https?"
	case strings.Contains(text, "malformed HTTP response"):
		text += "; does it speak https, not http?"
	case errors.As(err, &dns):
		text = "the name does not resolve: " + dns.Error()
	}
	return "cannot be reached: " + text
}
