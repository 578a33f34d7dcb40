package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Walk configures the reading of all repositories and tags of a registry. A walk raises no events
// and changes nothing. Some registries count the GET of a manifest as a pull; Heads avoids that.
// Sink, Reached, Child, Whole, Progress and Skipped are never called concurrently.
type Walk struct {
	// Repositories are read in this order. Empty: the registry's catalog.
	Repositories []string
	// Heads reads digests and media types only.
	Heads bool
	// Children also reads the manifests that an index lists, so that the size of the index is
	// known. It has no effect with Heads.
	Children bool
	// Concurrency is how many requests may be open at once. Zero: 4.
	Concurrency int
	// Rate is how many requests are sent in a second. Zero: 20.
	Rate rate.Limit
	// Resume is a cursor that an earlier walk with the same options passed to Reached. The walk
	// continues after it. "": from the start.
	Resume string
	// Sink receives the tags. Required. Its error ends the walk.
	Sink Sink
	// Reached is called with each new cursor: the Sink has everything up to it. May be nil. Its
	// error ends the walk.
	Reached func(ctx context.Context, cursor string) error
	// Child is called for each manifest that was read because an index lists it, perhaps more
	// than once. Its Tag is "". May be nil. Its error ends the walk.
	Child func(ctx context.Context, found Found) error
	// Whole is called for a repository when the Sink has every tag of it. May be nil. Its error
	// ends the walk.
	Whole func(ctx context.Context, repository string) error
	// Progress is called with the progress after every tag and repository. It should return
	// fast. May be nil.
	Progress func(Progress)
	// Skipped is called for a tag that cannot be read even by trying again (deleted meanwhile,
	// not allowed, malformed). The walk continues. The tag is "" for a whole repository. May be
	// nil.
	Skipped func(repository, tag string, err error)
}

// Sink receives the tags that a walk finds.
type Sink interface {
	Tag(ctx context.Context, found Found) error
}

// Found is one tag.
type Found struct {
	Repository string
	Tag        string
	Digest     string
	MediaType  string
	// Size is that of the artifact: manifest, config and layers; for an index also its
	// children. 0 where unknown.
	Size int64
	Body []byte // of the manifest; nil with Heads, and where it is longer than 4 MiB
}

// Progress is the progress of a walk.
type Progress struct {
	Repositories     int  // known so far
	Counted          bool // Repositories is final
	RepositoriesDone int
	Tags             int // read
	Skipped          int // repositories and tags that could not be read
	Elapsed          time.Duration
	Rate             float64 // tags per second since the start
}

const (
	defaultConcurrency = 4
	defaultRate        = 20
	walkAhead          = 1000 // repositories that may be handed out before the oldest one is finished
)

// Walk reads the repositories of a registry, their tags, and the digest of each tag. If the
// registry fails or limits the rate (429, Retry-After), the walk pauses and retries, for some
// minutes in all. Then it returns an error and can be resumed at the last cursor. It does not retry
// if the registry does not answer the first request.
func (c *Client) Walk(ctx context.Context, w Walk) (Progress, error) {
	k := newWalker(c, w)
	group, ctx := errgroup.WithContext(ctx)
	places := make(chan place)
	group.Go(func() error {
		defer close(places)
		return k.produce(ctx, places)
	})
	for range k.Concurrency {
		group.Go(func() error {
			for p := range places {
				if err := k.visit(ctx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	if status := new(StatusError); len(w.Repositories) == 0 && !k.counted() && errors.As(err, &status) && !transient(err) {
		err = fmt.Errorf("%w: %w", ErrNoCatalog, err)
	}
	return k.snapshot(), err
}

// place is a repository with its number in the order of the walk.
type place struct {
	number int
	name   string
}

// walker is the state of a running walk.
type walker struct {
	Walk
	client  *Client
	limiter *rate.Limiter
	slots   chan struct{} // held while a request is open
	window  chan struct{} // held from the time a place is handed out until the cursor has passed it
	started time.Time

	mu       sync.Mutex // guards what follows, and every call of a callback
	progress Progress
	pausedTo time.Time
	answered bool            // the upstream has answered at least once
	holes    map[string]bool // repositories of which something was skipped
	finished map[int]string  // places that were finished before an older one
	passed   int             // places that the cursor has passed
}

func newWalker(c *Client, w Walk) *walker {
	if w.Concurrency <= 0 {
		w.Concurrency = defaultConcurrency
	}
	if w.Rate <= 0 {
		w.Rate = defaultRate
	}
	return &walker{
		Walk: w, client: c, limiter: rate.NewLimiter(w.Rate, w.Concurrency), started: time.Now(),
		slots: make(chan struct{}, w.Concurrency), window: make(chan struct{}, walkAhead), finished: map[int]string{}, holes: map[string]bool{},
	}
}

// produce numbers the places and sends them to the workers, at most walkAhead ahead of the cursor.
func (k *walker) produce(ctx context.Context, places chan<- place) error {
	number := 0
	err := k.listRepositories(ctx, func(names []string) error {
		k.tell(func(p *Progress) { p.Repositories += len(names) })
		for _, name := range names {
			if err := put(ctx, k.window, struct{}{}); err != nil {
				return err
			}
			if err := put(ctx, places, place{number, name}); err != nil {
				return err
			}
			number++
		}
		return nil
	})
	if err == nil {
		k.tell(func(p *Progress) { p.Counted = true })
	}
	return err
}

func put[T any](ctx context.Context, to chan<- T, item T) error {
	select {
	case to <- item:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// visit reads one repository. It skips one that cannot be read even by trying again.
func (k *walker) visit(ctx context.Context, p place) error {
	if err := k.repository(ctx, p.name); err != nil {
		if !skippable(err) {
			return err
		}
		k.skip(p.name, "", err)
	}
	if err := k.whole(ctx, p.name); err != nil {
		return err
	}
	return k.done(ctx, p)
}

// whole calls Whole if no tag of the repository was skipped.
func (k *walker) whole(ctx context.Context, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holes[name] || k.Whole == nil {
		delete(k.holes, name)
		return nil
	}
	return k.Whole(ctx, name)
}

// done marks p as finished and moves the cursor over all places that are finished without a gap.
func (k *walker) done(ctx context.Context, p place) error {
	k.tell(func(progress *Progress) { progress.RepositoriesDone++ })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.finished[p.number] = p.name
	cursor, moved := "", false
	for {
		name, ok := k.finished[k.passed]
		if !ok {
			break
		}
		delete(k.finished, k.passed)
		k.passed++
		cursor, moved = name, true
		<-k.window
	}
	if !moved || k.Reached == nil {
		return nil
	}
	return k.Reached(ctx, cursor)
}

// tell changes the progress and calls Progress.
func (k *walker) tell(change func(*Progress)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.progress)
	if k.Progress != nil {
		k.Progress(k.timed())
	}
}

// timed returns the progress with its times. The caller holds mu.
func (k *walker) timed() Progress {
	p := k.progress
	p.Elapsed = time.Since(k.started)
	if seconds := p.Elapsed.Seconds(); seconds > 0 {
		p.Rate = float64(p.Tags) / seconds
	}
	return p
}

// counted reports whether the list of repositories was read to its end.
func (k *walker) counted() bool { return k.snapshot().Counted }

func (k *walker) snapshot() Progress {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.timed()
}

func (k *walker) skip(name, tag string, err error) {
	k.tell(func(p *Progress) { p.Skipped++ })
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holes[name] = true
	if k.Skipped != nil {
		k.Skipped(name, tag, err)
	}
}

// sink passes a tag to the Sink.
func (k *walker) sink(ctx context.Context, found Found) error {
	k.mu.Lock()
	err := k.Sink.Tag(ctx, found)
	k.mu.Unlock()
	if err != nil {
		return &sinkError{err}
	}
	k.tell(func(p *Progress) { p.Tags++ })
	return nil
}

func (k *walker) child(ctx context.Context, repository string, m Manifest) error {
	if k.Child == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.Child(ctx, Found{Repository: repository, Digest: m.Digest, MediaType: m.MediaType, Body: m.Body}); err != nil {
		return &sinkError{err}
	}
	return nil
}

// sinkError marks an error of a callback, as opposed to one of the upstream.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// skippable reports whether an error concerns one repository or tag only and will not pass.
func skippable(err error) bool {
	var own *sinkError
	var realm *RealmError
	if errors.As(err, &own) || errors.As(err, &realm) {
		return false
	}
	return !transient(err)
}

// transient reports whether an error may pass: one of the network, or of an upstream that is
// overloaded or down.
func transient(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status == 408 || status.Status == 429 || status.Status >= 500
	}
	var realm *RealmError
	if errors.As(err, &realm) {
		return false
	}
	for _, permanent := range []error{ErrNotFound, ErrTooLarge, ErrPaging, ErrName, ErrNoDigest, errMalformed, errToken, errEncoding} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	return true
}
