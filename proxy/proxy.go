// Package proxy is the data plane: it carries the requests of clients to upstreams, and reports to
// the tracker what it observes.
//
// The way of a request through the package:
//
//	Handler.ServeHTTP   finds the route (route.go), the client's end of the connection
//	                    (forward.go) and what the request means (detect.Classify)
//	exchange            is that request from here on (exchange.go); its bytes are
//	                    proxy/carry's
//	  identification    finds the operator, and what vouches for the name (identity.go,
//	                    tokens.go)
//	  read              a request that changes nothing: observed, never delayed (read.go)
//	  write             PUT and DELETE of manifests, POST and DELETE of charts (write.go): its
//	                    gate withholds the last byte until the intent is committed (gate.go),
//	                    a lookup asks what stands there now (lookup.go), and the answer waits
//	                    until the event is committed
//	failure             bellbuoy's own answer if the upstream gives none (errors.go)
//
// Observing never breaks or delays a read. Every call into detect is guarded (guard.go): a panic
// there is counted and logged, and the request goes on.
//
// proxy/listen is the server in front of the Handler. proxy/upstream makes bellbuoy's look-ups.
package proxy

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// Tracker makes events of requests. track.Tracker implements it. It keeps no pointer to an
// Operation, which the proxy goes on to use.
type Tracker interface {
	Observer
	Intents
	TagIndex
}

// Observer observes reads, and the uploads of blobs. Its methods never block.
//
// While it is not known whether the upstream vouches for the name of a client, Operation.Client has
// it as Claimed. At End it is the Operator, if the upstream vouches for it. Both name the same
// client.
type Observer interface {
	// Start returns what is remembered of the request until its End.
	Start(op *detect.Operation) track.Transfer
	Answered(tr *track.Transfer, op *detect.Operation)
	End(tr *track.Transfer, op *detect.Operation)
}

// Intents makes the intents of writes. Each ends in one call of Settle, LeaveOpen or Drop.
type Intents interface {
	// Intend commits what a write is about to do. On a failure of the store it returns an
	// intent that is in memory only, and an error that wraps detect.ErrStore.
	Intend(ctx context.Context, op *detect.Operation) (*track.Intent, error)
	// Settle turns an intent into its event or none, by a clear answer (2xx to 4xx).
	Settle(ctx context.Context, in *track.Intent, op *detect.Operation) error
	// LeaveOpen ends the intent of a write whose outcome is unknown.
	LeaveOpen(in *track.Intent)
	// Drop ends the intent of a write that certainly never reached the upstream.
	Drop(ctx context.Context, in *track.Intent) error
	// Acknowledged is called when the client of a settled write has got its answer.
	Acknowledged(in *track.Intent)
}

// TagIndex has the known tags and manifests, so that fewer look-ups are needed.
type TagIndex interface {
	// Standing returns the digest on which a tag stands, and whether anything is known of the
	// tag.
	Standing(upstream, hint, repository, tag string) (digest string, absent, known bool)
	// TagsOf returns the tags known for a digest.
	TagsOf(ctx context.Context, upstream, hint, repository, digest string) []string
	// Indexed reports whether every tag of a repository is known, so that TagsOf returns all.
	Indexed(ctx context.Context, upstream, hint, repository string) bool
	// SizeOf returns an artifact's size, so that a delete needs no GET for it.
	SizeOf(ctx context.Context, upstream, hint, repository, digest string) (size int64, known bool)
}

// Asker makes look-ups at an upstream. upstream.Client implements it.
type Asker interface {
	Head(ctx context.Context, repository, reference string, as upstream.As) (upstream.Manifest, error)
	BeforeDelete(ctx context.Context, repository, reference string, knownTags []string, needBody bool, as upstream.As) (upstream.Deleted, error)
	BeforeChartDelete(ctx context.Context, tenant, name, version string, as upstream.As) (upstream.Chart, error)
	Probe(ctx context.Context, method, uri string) (status int, err error)
	Refuses(ctx context.Context, uri string) (bool, error)
}

// Options say where requests go and what is observed on the way.
type Options struct {
	// Upstreams in the order of the configuration. At least one.
	Upstreams []Upstream
	// TrustedProxies are the peers whose X-Forwarded-*, Forwarded and identity headers are
	// believed.
	TrustedProxies []netip.Prefix
	// Identity says where the operator's name comes from.
	Identity Identity
	// Limits of transfers; zero fields are no limit.
	Limits Limits
	// Refuse answers writes with 503 where their event cannot be kept (store.on_failure:
	// refuse).
	Refuse bool
	// StoreHealthy returns an error while the store is known to be down. It must not block.
	// Nil: always healthy.
	StoreHealthy func() error
	// Tracker makes the events. Required.
	Tracker Tracker
	// Log gets warnings. Nil: nothing is logged.
	Log *zap.Logger
	// Access gets a line for each request. Nil: nothing is logged.
	Access *zap.Logger
	// Metrics count what happens. Nil: nobody can read them.
	Metrics *Metrics
}

// Limits bound transfers (configuration: limits). Zero is no limit.
type Limits struct {
	UpstreamConnect        time.Duration
	UpstreamResponseHeader time.Duration // not for requests after which a registry hashes a blob
	StalledBody            time.Duration // a body that moves no byte for this long is cut
	WriteTimeout           time.Duration // of a write that is detached from its client
}

// Handler carries requests to the upstreams. It is safe for concurrent use.
type Handler struct {
	now atomic.Pointer[generation]

	evidence *detect.Evidence
	probing  sync.Mutex                   // guards get-or-add of probed
	probed   *lru.Cache[probeKey, *probe] // recent probes
	tokens   *tokens
	budget   *budget // of the copies of bodies that are kept for reading
	lookups  *upstream.Limiter
	proven   *lru.Cache[uint64, struct{}] // logins that have written recently
	warned   warnings
	leaving  atomic.Bool
}

// generation is everything that a reload replaces. Requests finish with the one that they began
// with.
type generation struct {
	Options
	h      *Handler
	routes []*route
}

const (
	lookupsPerSecond = 50  // look-ups of a client in the long run
	lookupBurst      = 500 // … and at once
	lookupClients    = 10_000
	rememberedProbes = 10_000
	rememberedLogins = 10_000
)

// New returns a Handler for o.
func New(o Options) (*Handler, error) {
	probed, err := lru.New[probeKey, *probe](rememberedProbes)
	if err != nil {
		return nil, err
	}
	proven, err := lru.New[uint64, struct{}](rememberedLogins)
	if err != nil {
		return nil, err
	}
	h := &Handler{
		evidence: detect.NewEvidence(),
		budget:   newBudget(),
		proven:   proven,
		tokens:   newTokens(),
		probed:   probed,
		lookups:  upstream.NewLimiter(lookupsPerSecond, lookupBurst, lookupClients),
	}
	return h, h.Configure(o)
}

// Configure replaces the options. Requests in flight are not touched; on an error nothing changes.
func (h *Handler) Configure(o Options) error {
	g, err := newGeneration(h, o)
	if err != nil {
		return err
	}
	if old := h.now.Swap(g); old != nil {
		old.retire()
	}
	return nil
}

func newGeneration(h *Handler, o Options) (*generation, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.StoreHealthy == nil {
		o.StoreHealthy = func() error { return nil }
	}
	g := &generation{Options: o, h: h}
	for _, u := range o.Upstreams {
		rt, err := newRoute(u, o)
		if err != nil {
			return nil, err
		}
		g.routes = append(g.routes, rt)
	}
	return g, nil
}

// retire closes idle connections. Those in use are closed when their requests are done.
func (g *generation) retire() {
	for _, rt := range g.routes {
		rt.carriers.Close()
	}
}

// Leave makes every answer from now on end its connection: clients come back on a new one, which
// another bellbuoy accepts. It is to be called some time before the server's Shutdown, so that
// Shutdown closes few connections on which a request may just be arriving.
func (h *Handler) Leave() { h.leaving.Store(true) }

// ServeHTTP carries one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g := h.now.Load()
	x := g.begin(w, r)
	defer x.finish()
	switch {
	case x.route == nil:
		x.refuse(http.StatusNotFound, codeUnknownName, "no upstream is configured for this host and path")
	case !unambiguous(r, g.Identity.Header):
		x.refuse(http.StatusBadRequest, codeUnknown, "the request is ambiguous: its target, its Host or a header named by Connection")
	case x.route.escapes(r.URL.Path):
		x.refuse(http.StatusBadRequest, codeUnknown, "the request is ambiguous: its path has . or .. as a segment")
	case x.op.TooLong != "":
		x.refuse(http.StatusBadRequest, codeInvalidName, x.op.TooLong)
	case x.op.Action.Writes():
		(&write{x: x}).carry()
	default:
		x.read.carry()
	}
}
