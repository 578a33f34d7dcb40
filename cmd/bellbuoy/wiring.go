package main

import (
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/replication"
	"github.com/bellbuoy/bellbuoy/detect/scan"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
	"github.com/bellbuoy/bellbuoy/proxy"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// wiring holds the options of every package for one configuration. A reload replaces it. To make
// one, files are read and nothing is changed.
type wiring struct {
	config        *config.Config
	guard         *webhook.Guard
	numbers       *notify.Numbers // nil: numbers are hashes of names
	hooks         []*manage.Hook  // of the file; their clients are closed with the wiring
	set           *notify.Set     // of the file's webhooks
	upstreams     []proxy.Upstream
	lookupClients map[string]*upstream.Client
	verifier      *proxy.Verifier
	quotas        *quota.Quotas // nil: no project has one
	replications  replication.Rules
	scanners      scan.Config
	tls, adminTLS *listen.Certificates // nil: plain HTTP
}

// wire makes the wiring of c. own returns the addresses on which bellbuoy listens, which no webhook
// and no upstream may use; nil: none. numbers has the numbers of projects for cloudevents bodies;
// nil: they are hashes of names.
func wire(c *config.Config, own func() []netip.AddrPort, numbers *notify.Numbers) (*wiring, error) {
	guard := newGuard(c, own)
	w := &wiring{config: c, guard: guard, numbers: numbers, lookupClients: map[string]*upstream.Client{}}
	if own != nil {
		if err := checkAddresses(c, guard, own()); err != nil {
			return nil, err
		}
	}
	w.quotas, w.replications = newQuotas(c.Projects), newReplications(c.Replication)
	for _, step := range []func() error{w.wireWebhooks, w.wireScanners, w.wireUpstreams, w.wireVerifier, w.wireTLS} {
		if err := step(); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *wiring) wireTLS() error {
	for _, one := range []struct {
		into **listen.Certificates
		key  string
		tls  config.ServerTLS
	}{{&w.tls, "tls", w.config.TLS}, {&w.adminTLS, "admin.tls", w.config.Admin.TLS}} {
		if !one.tls.On() {
			continue
		}
		certificates, err := listen.LoadCertificates(one.tls.CertFile, one.tls.KeyFile, one.tls.ClientCAFile)
		if err != nil {
			return problemAt(w.config, one.key, err)
		}
		*one.into = certificates
	}
	return nil
}

func (w *wiring) wireUpstreams() error {
	for i := range w.config.Upstreams {
		u := &w.config.Upstreams[i]
		target, asker, err := newUpstream(u, w.config, w.guard)
		if err != nil {
			return problemAt(w.config, fmt.Sprintf("upstreams[%d]", i), err)
		}
		w.upstreams = append(w.upstreams, target)
		w.lookupClients[u.Name] = asker
	}
	return nil
}

func (w *wiring) wireVerifier() (err error) {
	if w.verifier, err = newVerifier(w.config.Identity.Verify, w.guard); err != nil {
		return problemAt(w.config, "identity.verify", err)
	}
	return nil
}

// close releases what only this wiring uses. POSTs in flight continue.
func (w *wiring) close() {
	for _, h := range w.hooks {
		h.Client.Close()
	}
}

// dataPlaneParts are the running parts that the proxy uses. The zero value is for a handler that
// only classifies.
type dataPlaneParts struct {
	tracker proxy.Tracker // nil: nothing is observed
	healthy func() error
	log     *zap.Logger
	metrics *proxy.Metrics
}

func (w *wiring) proxyOptions(d dataPlaneParts) proxy.Options {
	c := w.config
	o := proxy.Options{
		Upstreams:      w.upstreams,
		TrustedProxies: c.TrustedProxies,
		Identity:       proxy.Identity{Header: c.Identity.Header, Claims: c.Identity.JWTClaims, Verify: w.verifier, TrustClaims: c.Identity.TrustClaims},
		Limits: proxy.Limits{
			UpstreamConnect: time.Duration(c.Limits.UpstreamConnect), UpstreamResponseHeader: time.Duration(c.Limits.UpstreamResponseHeader),
			StalledBody: time.Duration(c.Limits.StalledBody), WriteTimeout: time.Duration(c.Limits.WriteTimeout),
		},
		Refuse:       c.Store.OnFailure == "refuse",
		StoreHealthy: d.healthy,
		Log:          d.log,
		Metrics:      d.metrics,
	}
	if d.tracker != nil {
		o.Tracker = d.tracker
	}
	if c.Log.Access {
		o.Access = d.log
	}
	return o
}

func (w *wiring) serverOptions(h *proxy.Handler, log *zap.Logger) listen.Options {
	c := w.config
	return listen.Options{
		Handler: h, HeaderRead: time.Duration(c.Limits.HeaderRead), Idle: time.Duration(c.Limits.Idle),
		Stalled: time.Duration(c.Limits.StalledBody), HeaderSize: int(c.Limits.HeaderSize),
		Connections: c.Limits.Connections, ConnectionsPerClient: c.Limits.ConnectionsPerClient,
		TLS: w.tls, ProxyProtocol: c.ProxyProtocol, TrustedProxies: c.TrustedProxies, Log: log,
	}
}

func (w *wiring) trackerConfig(log *zap.Logger) track.Config {
	c := w.config.Correlation
	return track.Config{
		Accessories:  w.config.Detection.Accessories,
		UntaggedPush: time.Duration(c.UntaggedPush), UntaggedPushMax: time.Duration(c.UntaggedPushMax),
		Pull: time.Duration(c.Pull), Repeat: time.Duration(c.Repeat),
		Visibility: visibility(w.config.Projects),
		GivenUp: func(upstream, repository, reference string) {
			log.Warn("intent given up: the outcome of a push or delete stayed unknown for 7 days, so it has no event",
				zap.String("upstream", upstream), zap.String("repository", repository), zap.String("reference", reference))
		},
	}
}

func (w *wiring) retention() store.Retention {
	r := w.config.Store.Retention
	return store.Retention{
		Delivered: time.Duration(r.Delivered), Pulls: time.Duration(r.Pulls), Dead: time.Duration(r.Dead), Attempts: time.Duration(r.Attempts),
		Unmatched: time.Duration(r.Unmatched), MaxSize: int64(r.MaxSize),
	}
}
