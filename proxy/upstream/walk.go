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

// Walk is a reading of all that an upstream holds. It raises no events and changes nothing; a manifest's GET, though,
// counts as a pull at some registries: Heads avoids that. Sink, Reached, Child, Whole, Progress and Skipped are called one at a time,
// never concurrently.
type Walk struct {
	// Repositories are read in this order. Empty: the registry's catalog.
	Repositories []string
	// Heads reads digests and media types only.
	Heads bool
	// Children also reads the manifests that an index lists, so that the index's size is known. Not with Heads.
	Children bool
	// Concurrency is how many questions may be open at once. Zero: 4.
	Concurrency int
	// Rate is how many questions are asked in a second. Zero: 20.
	Rate rate.Limit
	// Resume is a cursor that an earlier walk of the same kind has Reached; the walk goes on behind it. "": from the
	// start.
	Resume string
	// Sink takes what is found. Required. Its error ends the walk.
	Sink Sink
	// Reached is told a new cursor: everything up to it is in the Sink. May be nil. Its error ends the walk.
	Reached func(ctx context.Context, cursor string) error
	// Child is told what each manifest is that was read because an index lists it; its Tag is "". One may come more than once.
	// May be nil. Its error ends the walk.
	Child func(ctx context.Context, found Found) error
	// Whole is told of a repository of which every tag is in the Sink. May be nil. Its error ends the walk.
	Whole func(ctx context.Context, repository string) error
	// Progress is told how far the walk is, after every tag and repository; it should be quick. May be nil.
	Progress func(Progress)
	// Skipped is told what could not be read for good (gone meanwhile, not allowed, malformed); the walk goes on.
	// The tag is "" if it was the whole repository. May be nil.
	Skipped func(repository, tag string, err error)
}

// Sink takes what a walk finds.
type Sink interface {
	Tag(ctx context.Context, found Found) error
}

// Found is one tag.
type Found struct {
	Repository string
	Tag        string
	Digest     string
	MediaType  string
	// Size is the artifact's: manifest, config and layers; of an index its own and its children's. 0 where unknown.
	Size int64
	Body []byte // of the manifest; nil with Heads, and where it is longer than 4 MiB
}

// Progress is how far a walk is.
type Progress struct {
	Repositories     int  // known so far
	Counted          bool // Repositories will not grow any more
	RepositoriesDone int
	Tags             int // read
	Skipped          int // repositories and tags that could not be read
	Elapsed          time.Duration
	Rate             float64 // tags per second since the start
}

const (
	defaultConcurrency = 4
	defaultRate        = 20
	walkAhead          = 1000 // repositories that may be done or begun before the oldest one is done
)

// Walk reads a registry: its repositories, their tags, and what each stands on. A registry that fails, or asks for
// patience (429, Retry-After), is waited for, in the end for minutes; then the walk returns an error and can be resumed
// at the last cursor. One that does not answer the first question is not waited for.
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

// place is a repository, and its number in the order of the walk.
type place struct {
	number int
	name   string
}

// walker is a walk under way.
type walker struct {
	Walk
	client  *Client
	limiter *rate.Limiter
	slots   chan struct{} // held while a question is open
	window  chan struct{} // held from a place's handing out until the cursor has passed it
	started time.Time

	mu       sync.Mutex // guards what follows, and every call of a callback
	progress Progress
	pausedTo time.Time
	answered bool            // by anything but a failure of the network
	holes    map[string]bool // repositories of which something was skipped
	finished map[int]string  // places done before an older one
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

// produce numbers the places and hands them out, not too far ahead of the cursor.
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

// visit reads one repository; what cannot be read for good is skipped.
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

// whole tells of a repository of which nothing was skipped.
func (k *walker) whole(ctx context.Context, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holes[name] || k.Whole == nil {
		delete(k.holes, name)
		return nil
	}
	return k.Whole(ctx, name)
}

// done moves the cursor over p and what was finished behind it.
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

// tell changes the progress and reports it.
func (k *walker) tell(change func(*Progress)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.progress)
	if k.Progress != nil {
		k.Progress(k.timed())
	}
}

// timed is the progress with its times. The caller holds mu.
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

// sink hands over what was found.
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

// sinkError marks an error that is not the upstream's.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// skippable is an error that asking again will not mend and that concerns one repository or tag only.
func skippable(err error) bool {
	var own *sinkError
	var realm *RealmError
	if errors.As(err, &own) || errors.As(err, &realm) {
		return false
	}
	return !transient(err)
}

// transient is an error that may be over soon: the network's, or an upstream's that is overloaded or down.
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
