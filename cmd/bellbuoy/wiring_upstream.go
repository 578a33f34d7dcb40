package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
	"github.com/bellbuoy/bellbuoy/proxy"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// newUpstream translates one upstream: the proxy's options, and the client of bellbuoy's own
// look-ups.
func newUpstream(u *config.Upstream, c *config.Config, guard *webhook.Guard) (proxy.Upstream, *upstream.Client, error) {
	target, err := url.Parse(u.URL)
	if err != nil {
		return proxy.Upstream{}, nil, errors.New("url: is not a URL")
	}
	tlsConfig, err := clientTLS(u.TLS)
	if err != nil {
		return proxy.Upstream{}, nil, fmt.Errorf("tls: %w", err)
	}
	var external *url.URL
	if u.ExternalURL != "" {
		if external, err = url.Parse(u.ExternalURL); err != nil {
			return proxy.Upstream{}, nil, errors.New("external_url: is not a URL")
		}
	}
	asker := upstream.New(upstream.Options{
		URL: target, Host: lookupHost(u, external), PathPrefix: u.PathPrefix, Paths: u.Paths, External: external,
		Transport: lookupTransport(tlsConfig, c), RealmTransport: realmTransport(guard),
		Username: u.Credentials.Username, Password: u.Credentials.Password.Reveal(), Realms: u.Credentials.Realms,
		UserAgent: userAgent(),
	})
	return proxy.Upstream{
		Name: u.Name, Kind: detect.Kind(u.Type), URL: target, External: external, OwnHost: u.Host == config.HostUpstream,
		Hosts: u.Hosts, PathPrefix: u.PathPrefix, Paths: u.Paths, TLS: tlsConfig, Asker: asker,
	}, asker, nil
}

// lookupHost returns the Host of bellbuoy's own look-ups. It is the one that users use, so that
// token scopes and virtual hosts are the same.
func lookupHost(u *config.Upstream, external *url.URL) string {
	if external == nil || u.Host == config.HostUpstream {
		return ""
	}
	return external.Host
}

func lookupTransport(t *tls.Config, c *config.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig: t, DisableCompression: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: time.Duration(c.Limits.UpstreamConnect), ResponseHeaderTimeout: 30 * time.Second,
	}
}

// realmTransport connects to token servers that are not on the upstream's host. It uses the egress
// guard.
func realmTransport(guard *webhook.Guard) *http.Transport {
	return &http.Transport{
		DialContext: guard.DialContext, Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
	}
}

// clientTLS returns nil if nothing is configured, which means the system's roots.
func clientTLS(t config.ClientTLS) (*tls.Config, error) {
	if t == (config.ClientTLS{}) {
		return nil, nil
	}
	return webhook.TLS(t).Config()
}

// visibility returns the repo_type of a repository: that of the first matching project, else
// private.
func visibility(projects []config.Project) func(repository string) string {
	return func(repository string) string {
		project := detect.Project(repository)
		for _, p := range projects {
			// config has checked the patterns
			if ok, _ := doublestar.Match(p.Match, project); ok {
				return p.Visibility
			}
		}
		return "private"
	}
}

// newVerifier returns a verifier of tokens; nil if none are configured. A file of keys must exist;
// keys of a URL are fetched with the first token.
func newVerifier(v config.Verify, guard *webhook.Guard) (*proxy.Verifier, error) {
	o := proxy.VerifierOptions{File: v.JWKSFile, Audience: v.Audience, Issuer: v.Issuer}
	switch {
	case o.File != "":
		verifier := proxy.NewVerifier(o)
		return verifier, verifier.Load(context.Background())
	case !v.JWKSURL.IsZero():
		o.URL = v.JWKSURL.Reveal()
		o.Client = &http.Client{
			Transport:     realmTransport(guard),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		return proxy.NewVerifier(o), nil
	}
	return nil, nil
}
