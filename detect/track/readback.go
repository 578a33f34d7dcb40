package track

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const (
	// readers bounds the manifests that are read back at a time, and so the memory for them.
	readers = 2
	// readBackTime is how long a client waits for its answer while its manifest is read back.
	readBackTime = time.Second
)

// understand reads the manifest of a put that the upstream has accepted. Where the bytes could not
// be kept, it reads them from the upstream.
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

// readBack reads a manifest that was put from the upstream. If it cannot, the kind of the artifact
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
