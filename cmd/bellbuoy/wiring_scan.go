package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/detect/scan/adapter"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// wireScanners makes the clients of the scanners.
func (w *wiring) wireScanners() error {
	c := w.config
	w.scanners = scan.Config{Upstreams: scannedUpstreams(c), Visibility: visibility(c.Projects)}
	for i := range c.Scanners {
		s, err := newScanner(&c.Scanners[i], w.guard)
		if err != nil {
			return problemAt(c, fmt.Sprintf("scanners[%d]", i), err)
		}
		w.scanners.Scanners = append(w.scanners.Scanners, s)
	}
	return nil
}

func newScanner(s *config.Scanner, guard *webhook.Guard) (scan.Scanner, error) {
	t, err := clientTLS(s.TLS)
	if err != nil {
		return scan.Scanner{}, fmt.Errorf("tls: %w", err)
	}
	transport := realmTransport(guard)
	transport.TLSClientConfig, transport.ForceAttemptHTTP2, transport.DisableCompression = t, true, true
	client, err := adapter.New(adapter.Options{
		URL: s.URL.Reveal(), Transport: transport, UserAgent: userAgent(),
		Auth: adapter.Auth{Type: s.Auth.Type, Username: s.Auth.Username, Password: s.Auth.Password.Reveal(), Token: s.Auth.Token.Reveal()},
	})
	if err != nil {
		return scan.Scanner{}, err
	}
	out := scan.Scanner{
		Name: s.Name, Adapter: client, OnPush: s.Trigger == "push", Matches: repositoryMatcher(s.Match.Repositories),
		Every: time.Duration(s.Every), Timeout: time.Duration(s.Timeout), RegistryURL: s.RegistryURL, Operator: s.RegistryCredentials.Username,
	}
	if out.Operator != "" {
		login := out.Operator + ":" + s.RegistryCredentials.Password.Reveal()
		out.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(login))
	}
	return out, nil
}

// repositoryMatcher returns a function that reports whether a pattern matches a repository. As in a
// webhook's match, library/nginx also matches nginx.
func repositoryMatcher(patterns []string) func(string) bool {
	return func(repository string) bool {
		for _, p := range patterns {
			if ok, _ := doublestar.Match(p, repository); ok { // patterns were checked by config
				return true
			}
			if detect.Project(repository) == "library" {
				if ok, _ := doublestar.Match(p, "library/"+repository); ok {
					return true
				}
			}
		}
		return false
	}
}

// scannedUpstreams returns the registries by name: the URLs by which scanners reach them, and those
// by which users name them.
func scannedUpstreams(c *config.Config) map[string]scan.Upstream {
	all := map[string]scan.Upstream{}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		if u.Type != config.TypeRegistry {
			continue
		}
		named := u.ExternalURL
		if named == "" {
			named = u.URL
		}
		external, err := url.Parse(named)
		if err != nil {
			continue // cannot happen: config has checked it
		}
		all[u.Name] = scan.Upstream{URL: u.URL, Insecure: u.TLS.InsecureSkipVerify, External: detect.External{Scheme: external.Scheme, Host: external.Host}}
	}
	return all
}

// scannedTags gives package scan the tags of the tag index.
type scannedTags struct{ *daemon }

// Page implements scan.Tags.
func (t scannedTags) Page(ctx context.Context, after string, limit int) ([]scan.Tag, string, error) {
	page, next, err := t.tracker.Tags(ctx, t.outbox, after, limit)
	tags := make([]scan.Tag, 0, len(page))
	for _, s := range page {
		tags = append(tags, scan.Tag(s))
	}
	return tags, next, err
}

// Kind implements scan.Tags.
func (t scannedTags) Kind(ctx context.Context, upstream, repository, digest string) detect.ArtifactKind {
	return t.tracker.Kind(ctx, upstream, repository, digest)
}

// reachScanner asks an adapter for its metadata. It starts no scan.
func reachScanner(ctx context.Context, s *scan.Scanner) error {
	return s.Adapter.(*adapter.Client).Reach(ctx)
}

// logScans logs a line for each change of a scan.
func logScans(log *zap.Logger) func(scan.News) {
	return func(n scan.News) {
		fields := []zap.Field{zap.String("scanner", n.Scanner), zap.String("upstream", n.Upstream), zap.String("repository", n.Repository), zap.String("digest", n.Digest)}
		switch n.State {
		case scan.Scanning:
			log.Debug("scan submitted", fields...)
		case scan.Completed:
			log.Info("scan completed", fields...)
		case scan.Failed:
			log.Warn("scan failed", append(fields, zap.String("why", n.Why))...)
		case scan.Down:
			log.Warn("scan waits", append(fields, zap.String("why", n.Why))...)
		}
	}
}
