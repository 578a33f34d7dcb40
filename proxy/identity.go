package proxy

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Identity says where the operator's name comes from; the first source that yields a name counts: the trusted header, the token's claims, the
// Basic user, the client certificate.
type Identity struct {
	// Header holds the name, if a trusted proxy sets it. "": none.
	Header string
	// Claims of a Bearer token that may hold the name, in order; dots lead into objects.
	Claims []string
	// Verify checks tokens' signatures. Nil: a token's name needs the upstream's word.
	Verify *Verifier
	// TrustClaims believes names although the upstream asks nobody for credentials.
	TrustClaims bool
}

// identify finds the name of the client. A name that nothing vouches for is Claimed. Where the upstream's word is not known it is
// asked for: about a write meanwhile, about a read once that has succeeded (the name in any other does not matter). vouch takes it.
func (x *exchange) identify() {
	name, vouched := x.name()
	if name == "" {
		return
	}
	if !vouched {
		word := x.word()
		vouched = word == detect.Asks && x.through.refused()
		x.unsure = word == detect.Unheard
		x.forbidden = word == detect.Forbids
	}
	x.setName(name, vouched)
	if x.unsure && x.op.Action.Writes() {
		x.asking = x.ask()
	}
}

func (x *exchange) setName(name string, vouched bool) {
	if vouched {
		x.op.Client.Operator, x.op.Client.Claimed = name, ""
	} else {
		x.op.Client.Operator, x.op.Client.Claimed = "", name
	}
}

func (x *exchange) word() detect.Word {
	return x.g.h.evidence.Word(x.op.Upstream, x.op.Repository, x.op.Action.Access(), time.Now())
}

// name is the first name that the request yields, and whether something but the upstream vouches for it.
func (x *exchange) name() (name string, vouched bool) {
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
			if name = x.fetchedBy(token); name != "" {
				return name, false
			}
		}
	}
	return certificateName(x.in), true
}

// credentials is the name in an Authorization header, and whether its signature vouches for it.
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

// certificateName is the common name of a client certificate that was verified.
func certificateName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	return bounded(commonName(r.TLS.VerifiedChains[0][0]), detect.MaxOperator)
}

func commonName(c *x509.Certificate) string { return c.Subject.CommonName }

// probe is one question to an upstream: do you let anybody in?
type probe struct {
	done    chan struct{}
	at      time.Time
	refuses bool // of a token server: it refuses a made-up login; read after done
}

// refused reports whether a token server has refused a made-up login. A nil probe is of a name that came without one.
func (p *probe) refused() bool { return p == nil || !p.pending() && p.refuses }

// await waits for the answer, within its time. A nil probe has none.
func (p *probe) await() {
	if p == nil {
		return
	}
	select {
	case <-p.done:
	case <-time.After(probeTime):
	}
}

// pending reports whether the upstream has not answered yet. A nil probe is none.
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

// ask asks the upstream without credentials what the client asks with them, unless it was asked lately or the client has caused
// too many look-ups. It returns nil where there is nothing to wait for.
func (x *exchange) ask() *probe {
	method, uri, as := x.anonymously()
	if method == "" || x.route.Asker == nil {
		return nil
	}
	key := probeKey{x.op.Upstream, x.op.Repository, as.Access()}
	x.g.h.probing.Lock()
	defer x.g.h.probing.Unlock()
	if p, ok := x.g.h.probed.Get(key); ok && x.start.Sub(p.at) < probeEvery {
		return p
	}
	if !x.g.h.lookups.AllowN(x.op.Client.Address, dearLookup) {
		return nil
	}
	p := &probe{done: make(chan struct{}), at: x.start}
	x.g.h.probed.Add(key, p)
	go x.probe(p, method, uri, as)
	return p
}

func (x *exchange) probe(p *probe, method, uri string, as detect.Action) {
	defer close(p.done)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.in.Context()), probeTime)
	defer cancel()
	x.guarded("Probe", func() {
		if status, err := x.route.Asker.Probe(ctx, method, uri); err == nil {
			x.g.h.evidence.Probed(x.op.Upstream, x.op.Repository, as, status, time.Now())
		}
	})
}

// anonymously is the question that tells whether anybody might have done what the client does: a read as HEAD of the same (a chart's
// as GET); a chart's write as POST of nothing; a write to a repository as the end of an upload that nobody began, without body and
// digest: it can complete nothing and creates nothing, whoever lets it in. method "" is no question.
func (x *exchange) anonymously() (method, uri string, as detect.Action) {
	switch a := x.op.Action; a {
	case detect.ManifestHead, detect.ManifestGet, detect.BlobHead, detect.BlobGet:
		return http.MethodHead, x.target, a
	case detect.ChartGet, detect.ArchiveGet:
		return http.MethodGet, x.target, a // ChartMuseum answers every HEAD with 404; the body is not read
	case detect.ManifestPut, detect.ManifestDelete, detect.UploadStart, detect.UploadEnd:
		path := url.URL{Path: x.route.PathPrefix + "/v2/" + x.op.Repository + "/blobs/uploads/" + uuid.NewString()}
		return http.MethodPut, path.EscapedPath(), detect.UploadEnd
	case detect.ChartPost:
		path, _, _ := strings.Cut(x.target, "?")
		return http.MethodPost, path, a
	case detect.ChartDelete:
		head, _, _ := strings.Cut(x.target, "/charts/"+x.op.Chart)
		return http.MethodPost, head + "/charts", detect.ChartPost
	}
	return "", "", detect.Other
}

// noteAnonymous remembers how the upstream answered a client without credentials.
func (x *exchange) noteAnonymous(action detect.Action, status int) {
	switch action {
	case detect.Other, detect.Catalog:
		return
	}
	x.g.h.evidence.Anonymous(x.op.Upstream, x.op.Repository, action, status, time.Now())
}

// succeeded is told that the upstream has done, or is about to do, what the client asked for.
func (x *exchange) succeeded(status int) {
	if x.unsure && x.asking == nil && x.op.Client.Claimed != "" {
		x.asking = x.ask()
	}
	x.unsure = false
	if status >= 300 {
		return
	}
	if x.forbidden && x.op.Client.Claimed != "" && x.through.refused() {
		x.setName(x.op.Client.Claimed, true)
	}
	if x.op.Action.Writes() {
		x.g.h.proven.Add(x.login(), struct{}{})
	}
}

// vouch waits for the upstream's word about the name, if it is still out, and takes it.
func (x *exchange) vouch() {
	if x.op.Client.Claimed == "" || x.asking == nil && x.through == nil {
		return
	}
	x.asking.await()
	x.through.await()
	x.asking = nil
	word := x.word()
	x.forbidden = word == detect.Forbids
	if word.Vouches(x.op.Status >= 200 && x.op.Status < 300) && x.through.refused() {
		x.setName(x.op.Client.Claimed, true)
	}
}

// unheard reports whether vouch would wait.
func (x *exchange) unheard() bool { return x.asking.pending() || x.through.pending() }
