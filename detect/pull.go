package detect

import "time"

// pull is one reading of an artifact by a client.
type pull struct {
	tag, digest string
	content     *content // nil where it could not be read
	kids        []kid    // children read
	state       pullState
	readBack    bool // of what the client has just put: no pull unless a blob follows
	times       int  // how many pulls it stands for, each counted
	again       int  // how often it was read again, without having become a further pull
	rereadAt    time.Time
	readAt      time.Time
	lull        int // the session's when it was read

	at                time.Time
	operator, claimed string // the client's; the rest of it is the session's
	external          External
	requestID         string
}

type kid struct {
	digest  string
	content *content
}

type pullState uint8

const (
	undecided pullState = iota
	resolved            // quiet passed without a blob: told as manifest_only
	counted             // it downloads: told
)

// lists tells whether a blob belongs to what was read.
func (p *pull) lists(b blobID) bool {
	if p.content != nil && p.content.lists(b) {
		return true
	}
	for i := range p.kids {
		if c := p.kids[i].content; c != nil && c.lists(b) {
			return true
		}
	}
	return false
}

func (p *pull) layer(b blobID) bool {
	if p.content != nil && p.content.isLayer(b) {
		return true
	}
	for i := range p.kids {
		if c := p.kids[i].content; c != nil && c.isLayer(b) {
			return true
		}
	}
	return false
}

// parentOf tells whether a digest is a child of what was read: of the index, or of an index within it.
func (p *pull) parentOf(digest string) bool {
	if p.content.child(digest) {
		return true
	}
	for i := range p.kids {
		if p.kids[i].content.child(digest) {
			return true
		}
	}
	return false
}

func (p *pull) hasRead(child string) bool {
	for i := range p.kids {
		if p.kids[i].digest == child {
			return true
		}
	}
	return false
}

// event tells a pull.
func (p *pull) event(s *session, manifestOnly bool) Event {
	at := s.place()
	e := Event{
		ID: newID(), Type: PullArtifact, At: p.at, Upstream: at.Upstream, External: p.external,
		Repository: at.Repository, Hint: at.Hint, Digest: p.digest,
		Client: Client{p.operator, p.claimed, s.key.address, s.key.agent}, RequestID: p.requestID, ManifestOnly: manifestOnly,
	}
	if p.tag != "" {
		e.Tags = []string{p.tag}
	}
	if p.content != nil {
		e.Artifact = p.artifact()
	}
	return e
}

// artifact is what was read; of an index, with the children chosen.
func (p *pull) artifact() *Artifact {
	if !p.content.index {
		return p.content.artifact
	}
	a := *p.content.artifact
	a.Children, a.Platforms = nil, nil
	a.Size = p.content.own
	for i := range p.content.artifact.Children {
		c := p.content.artifact.Children[i]
		if !p.hasRead(c.Digest) {
			continue
		}
		if c.Platform != unknownPlatform { // an attestation is no platform
			a.Children = append(a.Children, c)
			if c.Platform != "" {
				a.Platforms = append(a.Platforms, c.Platform)
			}
		}
	}
	return &a
}

const unknownPlatform = "unknown/unknown"
