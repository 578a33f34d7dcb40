package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

const (
	// rowCursor is the kind of row that holds the cursor of a walk, by upstream and mode. An
	// interrupted walk continues from it.
	rowCursor    detect.RowKind = "index.cursor"
	learnBatch                  = 200
	lineInterval                = 200 * time.Millisecond
	// answerAge is the greatest age of an answer of the upstream when the walk hands it on. An
	// observation is dated back by it, so that a write in that time counts as newer.
	answerAge = time.Minute
)

// Index implements api.V1Operations. It writes a line about the progress now and then, and a last
// one at the end. It stops when ctx ends.
func (d control) Index(ctx context.Context, in api.V1Index, line func(api.V1IndexLine) error) error {
	names, err := d.indexed(in.Upstream)
	if err != nil {
		return err
	}
	var sum api.V1IndexLine
	for _, name := range names {
		walk := &indexWalk{daemon: d.daemon, upstream: name, line: line, before: sum}
		walk.cursor = detect.Key{Kind: rowCursor, ID: fmt.Sprintf("%s/%v", name, in.Heads)}
		last, err := walk.run(ctx, in)
		sum = walk.lineOf(last)
		if err != nil {
			sum.Error = fmt.Sprintf("%s: %v", name, err)
			return line(sum)
		}
	}
	sum.Done = true
	return line(sum)
}

// indexed returns the upstreams of a request: the named one, or every registry.
func (d control) indexed(name string) (names []string, err error) {
	for _, u := range d.wiring.Load().config.Upstreams {
		switch {
		case name != "" && u.Name != name:
		case u.Type == config.TypeRegistry:
			names = append(names, u.Name)
		case name != "":
			return nil, problemText("%s is a %s: charts are identified by their archives and by index.yaml, so there is nothing to index", name, u.Type)
		}
	}
	switch {
	case len(names) == 0 && name != "":
		return nil, problemText("there is no upstream %q", name)
	case len(names) == 0:
		return nil, problemText("no upstream is a registry")
	}
	return names, nil
}

// indexWalk is one walk of an upstream. It implements upstream.Sink; its methods are called one at
// a time.
type indexWalk struct {
	*daemon
	upstream string
	cursor   detect.Key
	line     func(api.V1IndexLine) error
	before   api.V1IndexLine // sum of the upstreams that are done
	lastLine time.Time
	batch    []track.Observation // not learned yet
	recount  recount
}

func (x *indexWalk) run(ctx context.Context, in api.V1Index) (upstream.Progress, error) {
	client, err := x.lookups.of(x.upstream)
	if err != nil {
		return upstream.Progress{}, err
	}
	walk := upstream.Walk{
		Repositories: in.Repositories, Heads: in.Heads, Children: !in.Heads, Sink: x, Child: x.Tag,
		Progress: x.progress, Whole: x.markComplete,
		Skipped: func(repository, tag string, err error) {
			if tag != "" {
				repository += ":" + tag
			}
			_ = x.line(api.V1IndexLine{Skip: fmt.Sprintf("%s: %v", repository, err)})
		},
	}
	if len(in.Repositories) == 0 {
		if walk.Resume, err = x.loadCursor(ctx); err != nil {
			return upstream.Progress{}, err
		}
		walk.Reached = x.saveCursor
	}
	last, err := client.Walk(ctx, walk)
	if errors.Is(err, upstream.ErrNoCatalog) {
		return last, fmt.Errorf("%w; %s", err, adviceWithoutCatalog(err, client, x.upstream))
	}
	if err != nil {
		return last, err
	}
	if err := x.learn(ctx); err != nil {
		return last, err
	}
	if err := x.uncount(ctx, client); err != nil {
		return last, err
	}
	return last, x.outbox.Commit(ctx, "", func(detect.View) (detect.Changes, error) {
		return detect.Changes{Delete: []detect.Key{x.cursor}}, nil
	})
}

// adviceWithoutCatalog returns what to do about a registry that does not list its repositories.
func adviceWithoutCatalog(err error, client *upstream.Client, name string) string {
	if errors.Is(err, upstream.ErrUnauthorized) && !client.HasCredentials() {
		return "it requires a login: set upstreams[].credentials, or give the repositories: bellbuoy index " + name + " REPOSITORY…"
	}
	return "give the repositories: bellbuoy index " + name + " REPOSITORY…"
}

// markComplete records that every tag of a repository is known.
func (x *indexWalk) markComplete(ctx context.Context, repository string) error {
	if err := x.learn(ctx); err != nil {
		return err
	}
	if err := x.noteUnseen(ctx, repository); err != nil {
		return err
	}
	return x.tracker.MarkIndexed(ctx, x.upstream, repository)
}

// Tag implements upstream.Sink. The walk also calls it, with an empty tag, for each manifest that
// an index lists.
func (x *indexWalk) Tag(ctx context.Context, f upstream.Found) error {
	o := track.Observation{Upstream: x.upstream, Repository: f.Repository, Tag: f.Tag, Digest: f.Digest, MediaType: f.MediaType, At: time.Now().Add(-answerAge)}
	if f.Body != nil {
		if m, err := detect.ReadManifest(f.Body, f.MediaType); err == nil {
			if f.Size > 0 {
				m.Size = f.Size // including its children's
			}
			o.Manifest = m
		}
	}
	if x.counts(f.Repository) {
		x.recount.noteSeen(f.Repository, f.Digest)
	}
	x.batch = append(x.batch, o)
	if len(x.batch) < learnBatch {
		return nil
	}
	return x.learn(ctx)
}

// learn puts the batch into the tag index.
func (x *indexWalk) learn(ctx context.Context) error {
	if len(x.batch) == 0 {
		return nil
	}
	err := x.tracker.Learn(ctx, x.batch...)
	x.batch = nil
	return err
}

func (x *indexWalk) loadCursor(ctx context.Context) (cursor string, err error) {
	err = x.outbox.View(ctx, func(v detect.View) error {
		row, _, err := v.Get(x.cursor)
		cursor = string(row.Value)
		return err
	})
	return cursor, err
}

// saveCursor stores the cursor, after the tags that the walk read before it.
func (x *indexWalk) saveCursor(ctx context.Context, cursor string) error {
	if err := x.learn(ctx); err != nil {
		return err
	}
	return x.outbox.Commit(ctx, "", func(detect.View) (detect.Changes, error) {
		return detect.Changes{Put: []detect.Row{{Key: x.cursor, Value: []byte(cursor), Seen: time.Now()}}}, nil
	})
}

func (x *indexWalk) progress(p upstream.Progress) {
	if time.Since(x.lastLine) < lineInterval {
		return
	}
	x.lastLine = time.Now()
	_ = x.line(x.lineOf(p)) // if the client has disconnected, ctx ends
}

func (x *indexWalk) lineOf(p upstream.Progress) api.V1IndexLine {
	return api.V1IndexLine{
		Repositories: x.before.Repositories + p.Repositories, Counted: p.Counted, RepositoriesDone: x.before.RepositoriesDone + p.RepositoriesDone,
		Tags: x.before.Tags + p.Tags, Skipped: x.before.Skipped + p.Skipped, Rate: p.Rate,
	}
}
