package proxy

import (
	"context"
	"crypto/x509"
	"hash/maphash"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Identity configures the source of the operator's name; the first source that yields a name
// counts: the trusted header, the token's claims, the Basic user, the client certificate.
type Identity struct {
	// Header holds the name, if a trusted proxy sets it. "": none.
	Header string
	// Claims of a Bearer token that may hold the name, in order; dots lead into objects.
	Claims []string
	// Verify checks tokens' signatures. Nil: a token's name counts if the upstream vouches for
	// it.
	Verify *Verifier
	// TrustClaims accepts names even if the upstream requires no credentials.
	TrustClaims bool
}

// identification finds the operator's name in a request, and what vouches for it. The goroutine
// that owns the Operation uses it.
type identification struct {
	x         *exchange
	asking    *probe        // asks the upstream whether it vouches for the name; nil: it is not asked
	through   *probe        // sends the token server a made-up login; nil: the name is not that of a login that fetched a token
	fetches   *fetchedToken // of the token in the answer; nil: the request fetches none
	unsure    bool          // it is not known whether the upstream vouches for the name
	forbidden bool          // the upstream vouches for the name if it answers 2xx
}

// identify finds the name of the client. A name that nothing vouches for is Claimed. If it is
// unknown whether the upstream vouches for names, a probe is sent: for a write at once, for a read
// when it has succeeded (otherwise its name does not matter). vouch waits for the probe's answer.
func (n *identification) identify(op *detect.Operation) {
	name, vouched := n.name(op)
	if name == "" {
		return
	}
	if !vouched {
		policy := n.policy(op)
		vouched = policy == detect.RequiresLogin && n.through.refused()
		n.unsure = policy == detect.UnknownPolicy
		n.forbidden = policy == detect.ForbidsAnonymous
	}
	setName(op, name, vouched)
	if n.unsure && op.Action.Writes() {
		n.asking = n.ask(op)
	}
}

func setName(op *detect.Operation, name string, vouched bool) {
	if vouched {
		op.Client.Operator, op.Client.Claimed = name, ""
	} else {
		op.Client.Operator, op.Client.Claimed = "", name
	}
}

// policy returns the policy of the upstream for requests like this one.
func (n *identification) policy(op *detect.Operation) detect.LoginPolicy {
	return n.x.g.h.evidence.LoginPolicy(op.Upstream, op.Repository, op.Action.Access(), time.Now())
}

// name returns the first name that the request yields, and whether something other than the
// upstream vouches for it.
func (n *identification) name(op *detect.Operation) (name string, vouched bool) {
	x := n.x
	id := &x.g.Identity
	if id.Header != "" && x.fwd.trusted {
		if name = bounded(strings.TrimSpace(x.in.Header.Get(id.Header)), detect.MaxOperator); name != "" {
			return name, true
		}
	}
	if authorization := x.in.Header.Get("Authorization"); authorization != "" {
		if name, vouched = id.credentials(authorization, x.start); name != "" {
			return name, vouched || id.TrustClaims
		}
		if token, ok := detect.BearerToken(authorization); ok && id.Verify == nil {
			if name = n.fetchedBy(token); name != "" {
				return name, false
			}
		}
	}
	return certificateName(x.in), true
}

// credentials returns the name in an Authorization header, and whether its signature vouches for
// it.
func (id *Identity) credentials(authorization string, now time.Time) (name string, verified bool) {
	if token, ok := detect.BearerToken(authorization); ok {
		if id.Verify != nil {
			name, ok = id.Verify.name(token, id.Claims, now)
			return name, ok
		}
		name, _ = detect.TokenName(token, id.Claims)
		return name, false
	}
	name, _ = detect.BasicUser(authorization)
	return name, false
}

// certificateName returns the common name of a client certificate that was verified, or "".
func certificateName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	return bounded(commonName(r.TLS.VerifiedChains[0][0]), detect.MaxOperator)
}

func commonName(c *x509.Certificate) string { return c.Subject.CommonName }

// probe is a request without credentials to an upstream, to learn whether it checks names.
type probe struct {
	done    chan struct{}
	at      time.Time
	refuses bool // of a token server: it refuses a made-up login; read after done
}

// refused reports whether a token server has refused a made-up login. It is true for a nil probe:
// there was no token server.
func (p *probe) refused() bool { return p == nil || !p.pending() && p.refuses }

// await waits for the answer, at most probeTime. For a nil probe it returns at once.
func (p *probe) await() {
	if p == nil {
		return
	}
	select {
	case <-p.done:
	case <-time.After(probeTime):
	}
}

// pending reports whether the upstream has not answered yet. A nil probe is not pending.
func (p *probe) pending() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

type probeKey struct {
	upstream, repository string
	access               detect.Access
}

const (
	probeEvery = 10 * time.Minute
	probeTime  = 2 * time.Second
)

// ask sends the client's request again without credentials, unless that was done recently or the
// client has caused too many look-ups. It returns nil if there is no answer to wait for.
func (n *identification) ask(op *detect.Operation) *probe {
	x := n.x
	method, uri, as := n.anonymously(op)
	if method == "" || x.route.Asker == nil {
		return nil
	}
	key := probeKey{op.Upstream, op.Repository, as.Access()}
	x.g.h.probing.Lock()
	defer x.g.h.probing.Unlock()
	if p, ok := x.g.h.probed.Get(key); ok && x.start.Sub(p.at) < probeEvery {
		return p
	}
	if !x.g.h.lookups.AllowN(op.Client.Address, dearLookup) {
		return nil
	}
	p := &probe{done: make(chan struct{}), at: x.start}
	x.g.h.probed.Add(key, p)
	go n.probe(p, key, method, uri, as)
	return p
}

// probe sends the request. The answer is evidence about the action as.
func (n *identification) probe(p *probe, key probeKey, method, uri string, as detect.Action) {
	x := n.x
	defer close(p.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.in.Context()), probeTime)
	defer cancel()
	x.guarded("Probe", func() {
		if status, err := x.route.Asker.Probe(ctx, method, uri); err == nil {
			x.g.h.evidence.Probed(key.upstream, key.repository, as, status, time.Now())
		}
	})
}

// anonymously returns the request that shows whether a client without credentials could have done
// the same: for a read, HEAD of the same (GET of a chart); for the write of a chart, an empty POST;
// for a write to a repository, the end of an upload that was never begun, without body and digest,
// which creates nothing even if it is allowed. as is the action that the answer is evidence about.
// method "" means that there is no such request.
func (n *identification) anonymously(op *detect.Operation) (method, uri string, as detect.Action) {
	x := n.x
	switch a := op.Action; a {
	case detect.ManifestHead, detect.ManifestGet, detect.BlobHead, detect.BlobGet:
		return http.MethodHead, x.target, a
	case detect.ChartGet, detect.ArchiveGet:
		return http.MethodGet, x.target, a // ChartMuseum answers every HEAD with 404; the body is not read
	case detect.ManifestPut, detect.ManifestDelete, detect.UploadStart, detect.UploadEnd:
		path := url.URL{Path: x.route.PathPrefix + "/v2/" + op.Repository + "/blobs/uploads/" + uuid.NewString()}
		return http.MethodPut, path.EscapedPath(), detect.UploadEnd
	case detect.ChartPost:
		path, _, _ := strings.Cut(x.target, "?")
		return http.MethodPost, path, a
	case detect.ChartDelete:
		head, _, _ := strings.Cut(x.target, "/charts/"+op.Chart)
		return http.MethodPost, head + "/charts", detect.ChartPost
	}
	return "", "", detect.Other
}

// answered learns from the upstream's answer. op has its status.
func (n *identification) answered(op *detect.Operation, res *http.Response) {
	if n.x.in.Header.Get("Authorization") == "" {
		n.noteAnonymous(op)
	}
	if res.StatusCode == http.StatusUnauthorized {
		n.noteRealm(res.Header)
	}
	if res.StatusCode < 400 {
		n.succeeded(op)
	}
}

// noteAnonymous remembers how the upstream answered a client without credentials.
func (n *identification) noteAnonymous(op *detect.Operation) {
	switch op.Action {
	case detect.Other, detect.Catalog:
		return
	}
	n.x.g.h.evidence.Anonymous(op.Upstream, op.Repository, op.Action, op.Status, time.Now())
}

// succeeded records that the upstream has executed the client's request, or is about to.
func (n *identification) succeeded(op *detect.Operation) {
	if n.unsure && n.asking == nil && op.Client.Claimed != "" {
		n.asking = n.ask(op)
	}
	n.unsure = false
	if op.Status >= 300 {
		return
	}
	if n.forbidden && op.Client.Claimed != "" && n.through.refused() {
		setName(op, op.Client.Claimed, true)
	}
	if op.Action.Writes() {
		n.x.g.h.proven.Add(n.login(op), struct{}{})
	}
}

// vouch waits until it is known whether the upstream vouches for the name, and sets the name
// accordingly.
func (n *identification) vouch(op *detect.Operation) {
	if op.Client.Claimed == "" || n.asking == nil && n.through == nil {
		return
	}
	n.asking.await()
	n.through.await()
	n.asking = nil
	policy := n.policy(op)
	n.forbidden = policy == detect.ForbidsAnonymous
	if policy.Vouches(op.Status >= 200 && op.Status < 300) && n.through.refused() {
		setName(op, op.Client.Claimed, true)
	}
}

// undecided reports whether vouch would have to wait for a probe.
func (n *identification) undecided() bool { return n.asking.pending() || n.through.pending() }

// login stands for a client's address and credentials.
func (n *identification) login(op *detect.Operation) uint64 {
	var h maphash.Hash
	h.SetSeed(loginSeed)
	_, _ = h.WriteString(op.Client.Address + " " + n.x.in.Header.Get("Authorization"))
	return h.Sum64()
}

var loginSeed = maphash.MakeSeed()
