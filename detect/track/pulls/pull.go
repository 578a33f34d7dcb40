package pulls

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// pull is one reading of an artifact by a client. The requests that follow decide whether it is an
// inspection, a download, or no pull.
type pull struct {
	tag, digest  string
	content      *tagindex.Content // nil if it could not be read
	childReads   []childRead       // children read
	state        pullState
	config       bool      // a blob of it other than a layer was read
	readBack     bool      // the client had just put it: no pull unless a layer follows
	mounted      bool      // a layer of it was mounted elsewhere
	rested       bool      // its client has been quiet since
	times        int       // how many pulls it stands for, each emitted
	again        int       // how often it was read again without being a further pull
	reread       bool      // it was read again after one of its children
	readAt       time.Time // the last time
	downloadedAt time.Time // when it was emitted as a download
	lull         int       // session.lull when it was read

	at                time.Time
	operator, claimed string // the client's; the rest of it is the session's
	external          detect.External
	requestID         string
}

type childRead struct {
	digest  string
	content *tagindex.Content
	fetched bool // a layer of it was asked for
}

type pullState uint8

const (
	undecided  pullState = iota
	inspected            // emitted as an inspection: its client was quiet before a layer moved
	downloaded           // emitted as a download: a layer has moved
)

// lists reports whether a blob belongs to what was read.
func (p *pull) lists(b tagindex.BlobID) bool {
	if p.content != nil && p.content.Lists(b) {
		return true
	}
	for i := range p.childReads {
		if c := p.childReads[i].content; c != nil && c.Lists(b) {
			return true
		}
	}
	return false
}

// downloads reports whether this pull is a download once the blob moves.
func (p *pull) downloads(b tagindex.BlobID) bool {
	if p.content != nil && p.content.Downloads(b) {
		return true
	}
	for i := range p.childReads {
		if c := p.childReads[i].content; c != nil && c.Downloads(b) {
			return true
		}
	}
	return false
}

// unfetched returns the child that a layer belongs to, if no layer of such a child was asked for
// yet.
func (p *pull) unfetched(b tagindex.BlobID) (first *childRead) {
	if p.content != nil && p.content.Downloads(b) {
		return nil
	}
	for i := range p.childReads {
		k := &p.childReads[i]
		if k.content == nil || !k.content.Downloads(b) {
			continue
		}
		if k.fetched {
			return nil
		}
		if first == nil {
			first = k
		}
	}
	return first
}

// fetch marks the children whose layer was asked for.
func (p *pull) fetch(b tagindex.BlobID) {
	for i := range p.childReads {
		if k := &p.childReads[i]; k.content != nil && k.content.Downloads(b) {
			k.fetched = true
		}
	}
}

// lives reports whether the client has not been quiet since. Then its next requests may be part of
// this pull.
func (p *pull) lives() bool { return !p.rested }

// parentOf reports whether a digest is a child of what was read: of the index, or of an index
// within it.
func (p *pull) parentOf(digest string) bool {
	if p.content.HasChild(digest) {
		return true
	}
	for i := range p.childReads {
		if p.childReads[i].content.HasChild(digest) {
			return true
		}
	}
	return false
}

func (p *pull) hasRead(child string) bool {
	for i := range p.childReads {
		if p.childReads[i].digest == child {
			return true
		}
	}
	return false
}

// moved returns the most that the pull has moved.
func (p *pull) moved() detect.Moved {
	switch {
	case p.state == downloaded:
		return detect.MovedLayers
	case p.config:
		return detect.MovedConfig
	}
	return detect.MovedManifest
}

// event returns the event of the pull.
func (p *pull) event(s *session) detect.Event {
	at := s.place()
	e := detect.Event{
		ID: detect.NewID(), Type: detect.PullArtifact, At: p.at, Upstream: at.Upstream, External: p.external,
		Repository: at.Repository, Hint: at.Hint, Digest: p.digest,
		Client: detect.Client{Operator: p.operator, Claimed: p.claimed, Address: s.key.address, UserAgent: s.key.agent}, RequestID: p.requestID, Moved: p.moved(),
	}
	if p.tag != "" {
		e.Tags = []string{p.tag}
	}
	if p.content != nil {
		e.Artifact = p.artifact()
	}
	return e
}

// artifact returns the description of what was read; of an index, with the children that were read.
func (p *pull) artifact() *detect.Artifact {
	if !p.content.IsIndex {
		return p.content.Artifact
	}
	a := *p.content.Artifact
	a.Children, a.Platforms = nil, nil
	a.Size = p.content.Artifact.Own
	for i := range p.content.Artifact.Children {
		c := p.content.Artifact.Children[i]
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
