package track

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// reads observe requests: what clients read, and when they are busy in a repository.
type reads struct {
	*services
	tags     *tagIndex
	sessions sessions
	indexing atomic.Int64 // bytes of index.yaml files that wait to be read
}

// Start begins a transfer: the request is about to be forwarded. The caller hands the Transfer to
// Answered and End.
func (t *reads) Start(op *detect.Operation) Transfer {
	if !t.concerns(op) {
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
func (t *reads) concerns(op *detect.Operation) bool {
	return op.Kind != detect.ChartMuseum && op.Action != detect.Other && op.Repository != ""
}

// enter locks the shard of a transfer's session and returns the session. If the session was evicted
// meanwhile, a new one is begun.
func (t *reads) enter(tr *Transfer, op *detect.Operation, now time.Time) *session {
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

// Answered takes in the answer's status and headers. The answer of a blob decides whether a pull is
// a download.
func (t *reads) Answered(tr *Transfer, op *detect.Operation) {
	if !t.concerns(op) {
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

// End takes in the end of the answer's body, whole or broken off. op.Got and op.Complete are set.
func (t *reads) End(tr *Transfer, op *detect.Operation) {
	if op.Kind == detect.ChartMuseum {
		t.endChart(op)
		return
	}
	if !t.concerns(op) {
		return
	}
	now := time.Now()
	var c *content
	whole := op.Action == detect.ManifestGet && op.WholeAnswer() && op.Complete
	if whole {
		c = t.contentOf(op)
	}
	s := t.enter(tr, op, now)
	p := pass{t: t, s: s, now: now, cfg: t.cfg.Load()}
	if tr.reading {
		s.reading--
	}
	switch {
	case whole:
		t.adoptHalfOf(s, tr, op)
		p.head = tr.head
		p.manifest(op, c)
	case op.Action == detect.ManifestGet:
		s.giveHeadBack(tr.head, p.cfg.Bounds.Session)
	case op.Action == detect.BlobGet && !op.Complete:
		s.unask(tr.full)
	}
	if s.reading == 0 {
		s.strays = nil
	}
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
	t.observeRead(op, c)
}

// observeRead adds an answer to the observations of the tag index.
func (t *reads) observeRead(op *detect.Operation, c *content) {
	if !op.WholeAnswer() || op.Action != detect.ManifestHead && (op.Action != detect.ManifestGet || !op.Complete) {
		return
	}
	tag := op.Reference
	if detect.IsDigest(tag) {
		tag = ""
	}
	t.tags.observe(op, tag, digestRead(op), c)
}

// digestRead returns the digest of the manifest that an answer shows, or "".
func digestRead(op *detect.Operation) string {
	switch {
	case op.ContentDigest != "":
		return op.ContentDigest
	case op.Got.Digest != "":
		return op.Got.Digest
	case detect.IsDigest(op.Reference):
		return op.Reference
	}
	return ""
}

// contentOf returns the content of a manifest that was read, or nil. The bytes of a digest are
// parsed once.
func (t *reads) contentOf(op *detect.Operation) *content {
	digest := op.Got.Digest
	if digest == "" {
		digest = digestRead(op)
	}
	c := t.tags.contents.get(digest)
	if c != nil && c.noted || op.Got.Bytes == nil {
		return c
	}
	m, err := detect.ReadManifest(op.Got.Bytes, op.Got.MediaType)
	if err != nil {
		return c
	}
	c = contentOf(m, int64(len(op.Got.Bytes)))
	c.noted = true
	if op.Got.Digest != "" {
		t.tags.contents.keep(op.Got.Digest, c)
	}
	return c
}

// mounted takes in the mount of a blob from another repository, which counts as a download there.
func (t *reads) mounted(op *detect.Operation, now time.Time) {
	k, b := sessionKeyOf(op, op.From), idOf(op.Mount)
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
func (t *reads) mounter(sh *shard, k sessionKey, id uint64, b blobID, now time.Time) *session {
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

// busyWith makes a client busy while its write is on its way.
func (t *reads) busyWith(in *Intent, op *detect.Operation) {
	if !t.concerns(op) {
		return
	}
	now := time.Now()
	k := sessionKeyOf(op, op.Repository)
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	s := sh.enter(k, id, now).self()
	in.transfer = Transfer{session: s}
	s.busy++
	if s.writing.IsZero() {
		s.writing = now
	}
	sh.touch(s, now)
	sh.evict(t.cfg.Load().Bounds, now)
	sh.mu.Unlock()
}

// doneWith ends what busyWith began. If the write was done, reads that were part of it are no
// pulls.
func (t *reads) doneWith(in *Intent, out settlement) {
	s := in.transfer.session
	if s == nil {
		return
	}
	in.transfer = Transfer{}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if s.gone {
		return
	}
	s = s.self()
	now := time.Now()
	s.busy = max(s.busy-1, 0)
	s.shard.touch(s, now)
	if out.done {
		t.keepPut(&in.w)
		t.wrote(s, &in.w, out, now)
	}
	s.shard.weigh(s)
}

// keepPut caches the content of a manifest that was put, because its client or others will read it.
func (t *reads) keepPut(w *write) {
	if w.Do != doPut || w.Manifest == nil || w.Digest == "" {
		return
	}
	m := w.Manifest.manifest()
	m.Annotations, m.Others = w.Notes, w.Others
	c := contentOf(m, w.Manifest.Own)
	c.noted = len(m.Layers) > 0 || len(m.Children) > 0
	t.tags.contents.keep(w.Digest, c)
}

// wrote removes the reads that were part of a write (rows 4 and 5 of the table of pulls).
func (t *reads) wrote(s *session, w *write, out settlement, now time.Time) {
	limit := t.cfg.Load().Bounds.Session
	part := func(q *pull) bool { return q.digest == out.digest }
	if w.Do == doPut {
		s.hasPut(out.digest, limit)
		t.tellHalf(s.key, out.digest, limit, now)
		if len(out.tags) == 0 {
			return
		}
	} else {
		digest, tag := w.Digest, ""
		if digest == "" {
			digest, tag = w.Before.Digest, w.Reference
		}
		part = func(q *pull) bool { return digest != "" && q.digest == digest || tag != "" && q.tag == tag }
	}
	isPart := func(q *pull) bool { return q.state == undecided && !q.config && part(q) }
	if s.newest(isPart) == nil {
		t.adoptHalf(s, func(a *session) bool { return a.newest(isPart) != nil })
	}
	s.pulls = slices.DeleteFunc(s.pulls, isPart)
}
