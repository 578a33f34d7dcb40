package track

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const (
	// readers bounds the manifests that are being read back at once, and so their memory.
	readers = 2
	// readBackTime is how long a client waits for its answer because its manifest is read back.
	readBackTime = time.Second
)

// understand reads a manifest that the upstream has taken. What could not be kept while it passed is
// read back.
func (t *writes) understand(ctx context.Context, w *write, sent detect.Body, digest string) {
	switch {
	case w.Do != doPut:
	case sent.Bytes != nil:
		w.readManifest(sent.Bytes, sent.MediaType)
	case sent.Size <= detect.MaxManifest:
		ctx, cancel := context.WithTimeout(ctx, readBackTime)
		defer cancel()
		t.readBack(ctx, w, digest)
	}
}

// readBack reads a manifest that was put from the upstream. Where it cannot, the artifact's kind
// stays unknown.
func (t *writes) readBack(ctx context.Context, w *write, digest string) {
	if w.Do != doPut || w.Manifest != nil || !detect.IsDigest(digest) {
		return
	}
	select {
	case t.reading <- struct{}{}:
		defer func() { <-t.reading }()
	case <-ctx.Done():
		return
	}
	found, err := t.ask.Read(ctx, w.Upstream, w.Hint, w.Repository, digest)
	if err == nil && found.Manifest != nil {
		w.readManifest(found.Manifest, found.MediaType)
	}
}
