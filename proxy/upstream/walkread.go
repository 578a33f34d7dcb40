package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"
)

const (
	attempts   = 7
	firstPause = time.Second
	maxPause   = 30 * time.Second // if the upstream sends no Retry-After
)

// politely runs ask within the walk's rate and concurrency, and again after a transient error. A
// pause after one answer holds for all requests of the walk.
func (k *walker) politely(ctx context.Context, ask func(context.Context) error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := k.once(ctx, ask)
		if !k.answers(err) || err == nil || ctx.Err() != nil || !transient(err) || attempt == attempts {
			return err
		}
		k.pauseFor(max(pause, patience(err)))
		pause = min(2*pause, maxPause)
	}
}

// answers reports whether the upstream has answered a request of this walk. Before that, a failure
// of the network is probably an error of configuration (name, port, CA, egress), which will not
// pass.
func (k *walker) answers(err error) bool {
	status := new(StatusError)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = k.answered || err == nil || errors.As(err, &status)
	return k.answered
}

func (k *walker) once(ctx context.Context, ask func(context.Context) error) error {
	if err := put(ctx, k.slots, struct{}{}); err != nil {
		return err
	}
	defer func() { <-k.slots }()
	if err := k.sleep(ctx); err != nil {
		return err
	}
	if err := k.limiter.Wait(ctx); err != nil {
		return err
	}
	return ask(ctx)
}

// patience returns the Retry-After of an error.
func patience(err error) time.Duration {
	var status *StatusError
	if errors.As(err, &status) {
		return status.RetryAfter
	}
	return 0
}

func (k *walker) pauseFor(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if until := time.Now().Add(d); until.After(k.pausedTo) {
		k.pausedTo = until
	}
}

// sleep waits until the current pause has ended.
func (k *walker) sleep(ctx context.Context) error {
	for {
		k.mu.Lock()
		left := time.Until(k.pausedTo)
		k.mu.Unlock()
		if left <= 0 {
			return nil
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listRepositories yields the configured repositories, or those of the catalog, that follow the
// cursor.
func (k *walker) listRepositories(ctx context.Context, yield func([]string) error) error {
	if len(k.Repositories) > 0 {
		return yield(behind(k.Repositories, k.Resume))
	}
	return k.client.catalog(ctx, k.Resume, k.politely, yield)
}

// behind returns the names that follow cursor, or all names if cursor is not among them.
func behind(names []string, cursor string) []string {
	return names[slices.Index(names, cursor)+1:]
}

// repository reads all tags of a repository, those of one page concurrently.
func (k *walker) repository(ctx context.Context, name string) error {
	sizes, err := lru.New[string, int64](keptSizes)
	if err != nil {
		return err
	}
	return k.client.tags(ctx, name, k.politely, func(tags []string) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(k.Concurrency)
		for _, tag := range tags {
			group.Go(func() error { return k.tag(ctx, name, tag, sizes) })
		}
		return group.Wait()
	})
}

// tag reads one tag into the sink.
func (k *walker) tag(ctx context.Context, repository, tag string, sizes *lru.Cache[string, int64]) error {
	m, err := k.manifest(ctx, repository, tag)
	if err == nil && m.Digest == "" {
		err = ErrNoDigest
	}
	if err != nil {
		if ctx.Err() != nil || !skippable(err) {
			return err
		}
		k.skip(repository, tag, err)
		return nil
	}
	found := Found{Repository: repository, Tag: tag, Digest: m.Digest, MediaType: m.MediaType, Body: m.Body}
	if found.Size, err = k.size(ctx, repository, m, sizes, 0); err != nil {
		return err
	}
	return k.sink(ctx, found)
}

// manifest reads a manifest, or with Heads its header. One that is too long is returned without its
// body.
func (k *walker) manifest(ctx context.Context, repository, reference string) (m Manifest, err error) {
	ask := k.client.Manifest
	if k.Heads {
		ask = k.client.Head
	}
	err = k.politely(ctx, func(ctx context.Context) (err error) {
		m, err = ask(ctx, repository, reference, Own)
		return err
	})
	if errors.Is(err, ErrTooLarge) && m.Digest != "" {
		return m, nil
	}
	return m, err
}

const (
	keptSizes   = 10_000
	maxChildren = 1000
	maxNesting  = 3
)

// contents are the parts of a manifest that have a size.
type contents struct {
	Config    *part  `json:"config"`
	Layers    []part `json:"layers"`
	Blobs     []part `json:"blobs"`
	Manifests []part `json:"manifests"`
}

type part struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// size returns the size of an artifact, or 0 if it is unknown: without a body, for schema 1, and
// for an index whose children were not or could not be read.
func (k *walker) size(ctx context.Context, repository string, m Manifest, sizes *lru.Cache[string, int64], depth int) (int64, error) {
	var parsed contents
	if m.Body == nil || json.Unmarshal(m.Body, &parsed) != nil {
		return 0, nil
	}
	total, known := parsed.sum(m.Size)
	if !known {
		return 0, nil
	}
	if len(parsed.Manifests) > 0 && (!k.Children || depth == maxNesting || len(parsed.Manifests) > maxChildren) {
		return 0, nil
	}
	for _, child := range parsed.Manifests {
		size, err := k.childSize(ctx, repository, child.Digest, sizes, depth)
		if err != nil || size == 0 {
			return 0, err
		}
		total += size
	}
	sizes.Add(m.Digest, total)
	return total, nil
}

// childSize returns 0 for a child that does not exist: an index may list manifests that were never
// pushed.
func (k *walker) childSize(ctx context.Context, repository, digest string, sizes *lru.Cache[string, int64], depth int) (int64, error) {
	if size, ok := sizes.Get(digest); ok {
		return size, nil
	}
	child, err := k.manifest(ctx, repository, digest)
	if err != nil {
		if ctx.Err() != nil || !skippable(err) {
			return 0, err
		}
		return 0, nil
	}
	if err := k.child(ctx, repository, child); err != nil {
		return 0, err
	}
	return k.size(ctx, repository, child, sizes, depth+1)
}

const maxPart = 1 << 50 // no blob is a pebibyte: a sum of these cannot overflow

// sum adds config and layers to the manifest's own size. A manifest that lists nothing has no known
// size.
func (c contents) sum(own int64) (int64, bool) {
	parts := slices.Concat(c.Layers, c.Blobs)
	if c.Config != nil {
		parts = append(parts, *c.Config)
	}
	if len(parts) > 8000 || len(parts) == 0 && c.Manifests == nil {
		return 0, false
	}
	for _, p := range parts {
		if p.Size < 0 || p.Size > maxPart {
			return 0, false
		}
		own += p.Size
	}
	return own, true
}
