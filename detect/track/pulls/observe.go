package pulls

import (
	"net/http"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// Start begins a transfer: the request is about to be forwarded. The caller hands the Transfer to
// Answered and End.
func (t *Pulls) Start(op *detect.Operation) Transfer {
	if !concerns(op) {
		return Transfer{}
	}
	now := time.Now()
	cfg := t.cfg.Load()
	k := sessionKeyOf(op, op.Repository)
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	s := sh.enter(k, id, now).self()
	tr := Transfer{session: s}
	if s.busy == 0 && now.Sub(s.last) >= cfg.Repeat {
		s.lull++
	}
	s.busy++
	sh.touch(s, now)
	switch op.Action {
	case detect.ManifestGet:
		tr.head = s.takeHead(op.Reference)
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd:
		if s.writing.IsZero() {
			s.writing = now
		}
	}
	sh.evict(cfg.Bounds, now)
	sh.mu.Unlock()
	return tr
}

// concerns reports whether a request is part of what a client does in a repository of a registry.
func concerns(op *detect.Operation) bool {
	return op.Kind != detect.ChartMuseum && op.Action != detect.Other && op.Repository != ""
}

// enter locks the shard of a transfer's session and returns the session. If the session was evicted
// meanwhile, a new one is begun.
func (t *Pulls) enter(tr *Transfer, op *detect.Operation, now time.Time) *session {
	if s := tr.session; s != nil {
		s.shard.mu.Lock()
		if !s.gone {
			return s.self()
		}
		s.shard.mu.Unlock()
	}
	k := sessionKeyOf(op, op.Repository)
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	s := sh.enter(k, id, now).self()
	*tr = Transfer{session: s}
	s.busy++
	return s
}

// Answered observes the answer's status and headers. The answer of a blob decides whether a pull is
// a download.
func (t *Pulls) Answered(tr *Transfer, op *detect.Operation) {
	if !concerns(op) {
		return
	}
	now := time.Now()
	s := t.enter(tr, op, now)
	s.shard.touch(s, now)
	p := pass{t: t, s: s, now: now, cfg: t.cfg.Load()}
	ok := op.Status >= 200 && op.Status < 300
	switch {
	case op.Action == detect.ManifestHead && ok:
		s.resolved(op, now, p.cfg.Bounds.Session)
	case op.Action == detect.ManifestGet && op.WholeAnswer():
		tr.reading = true
		s.reading++
	case op.Action == detect.BlobGet && (ok || redirects(op.Status)):
		p.blob(op)
		tr.full = p.full
	case op.Action == detect.Referrers && ok:
		s.listedOf(op.Reference, p.cfg.Bounds.Session)
	}
	s.shard.weigh(s)
	s.shard.mu.Unlock()
	t.emit(p.events)
	if op.Action == detect.UploadStart && op.Status == http.StatusCreated && op.Mount != "" && op.From != "" {
		t.mounted(op, now)
	}
}

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// End observes the end of the answer's body, whole or broken off. op.Got and op.Complete are set.
func (t *Pulls) End(tr *Transfer, op *detect.Operation) {
	if op.Kind == detect.ChartMuseum {
		t.endChart(op)
		return
	}
	if !concerns(op) {
		return
	}
	now := time.Now()
	var c *tagindex.Content
	whole := op.Action == detect.ManifestGet && op.WholeAnswer() && op.Complete
	if whole {
		c = t.tags.ContentRead(op)
	}
	s := t.enter(tr, op, now)
	p := pass{t: t, s: s, now: now, cfg: t.cfg.Load()}
	p.end(tr, op, c, whole)
	s.busy = max(s.busy-1, 0)
	if op.Client.Operator != "" {
		s.operator = op.Client.Operator
	}
	s.shard.touch(s, now)
	s.shard.weigh(s)
	s.shard.evict(p.cfg.Bounds, now)
	s.shard.mu.Unlock()
	*tr = Transfer{}
	t.emit(p.events)
	t.tags.Observe(op, c)
}

// end handles the end of a transfer. whole means that a manifest was read in full.
func (p *pass) end(tr *Transfer, op *detect.Operation, c *tagindex.Content, whole bool) {
	if tr.reading {
		p.s.reading--
	}
	switch {
	case whole:
		p.t.adoptHalfOf(p.s, tr, op)
		p.head = tr.head
		p.manifest(op, c)
	case op.Action == detect.ManifestGet:
		p.s.giveHeadBack(tr.head, p.cfg.Bounds.Session)
	case op.Action == detect.BlobGet && !op.Complete:
		p.s.unask(tr.full)
	}
	if p.s.reading == 0 {
		p.s.strays = nil
	}
}

// mounted observes the mount of a blob from another repository, which counts as a download there.
func (t *Pulls) mounted(op *detect.Operation, now time.Time) {
	k, b := sessionKeyOf(op, op.From), tagindex.IDOf(op.Mount)
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	s := t.mounter(sh, k, id, b, now)
	if s == nil {
		sh.mu.Unlock()
		return
	}
	if op.Client.Operator != "" {
		s.operator = op.Client.Operator
	}
	sh.touch(s, now)
	p := pass{t: t, s: s, now: now, cfg: t.cfg.Load()}
	p.mounted(b)
	sh.mu.Unlock()
	t.emit(p.events)
}

// mounter returns the session that has read the manifest of a mounted blob: the session of the
// client itself or, where it knows the blob, that of its anonymous half.
func (t *Pulls) mounter(sh *shard, k sessionKey, id uint64, b tagindex.BlobID, now time.Time) *session {
	s, _ := sh.session(k, id)
	if s != nil && (s.self().reads(b) || t.half(k) == nil) {
		return s.self()
	}
	if a := t.half(k); a == nil || !a.self().reads(b) {
		return s
	}
	s = sh.enter(k, id, now)
	t.adoptHalf(s, func(a *session) bool { return a.reads(b) })
	return s
}
