package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

var (
	// errWithheld ends a write whose intent could not be committed: its last byte did not go
	// upstream.
	errWithheld error = carry.Withheld{Err: errors.New("the store cannot keep the event: the write was not forwarded")}
	// errEarly is why a chart is unknown that the upstream accepted before it had all of it.
	errEarly = errors.New("the upstream answered before it had all of the upload")
	// errWriteTimeout is the cause when a detached write took longer than limits.write_timeout.
	errWriteTimeout = errors.New("the upstream did not answer the write in time")
)

// gate is the body of a write on its way to the upstream. It keeps a copy for reading, and
// withholds the end (the last byte, or the end of a body of unknown length) until the intent is
// committed. A body that breaks off is never ended.
//
// The carrier reads the gate in a goroutine of its own, and the upstream may answer at any time: mu
// decides which came first. Until close, the gate owns the exchange's Operation and the copy, and
// the goroutine that holds mu may use them; close returns both to the handler. What is read after
// that goes upstream without being copied.
type gate struct {
	x      *exchange
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	left   int64         // bytes still to come; negative: unknown
	held   []byte        // the last byte, withheld
	err    error         // what every later Read returns
	before <-chan *found // what stands there now; nil: nothing is looked up

	mu      sync.Mutex
	op      *detect.Operation // nil once closed
	sent    bodyCopy
	chart   *chartReading // of a chart's upload; nil: there is no memory for it
	begun   bool          // commit has begun the intent
	intent  *track.Intent
	timeout *time.Timer // of the detached write
}

// open makes the gate the owner of the exchange's Operation. cancel ends the request.
func (g *gate) open(x *exchange, cancel context.CancelCauseFunc) {
	g.x, g.cancel, g.body, g.left = x, cancel, x.wire.Upload(), x.in.ContentLength
	g.op, x.op = x.op, nil
	address := g.op.Client.Address
	if g.op.Action == detect.ChartPost {
		g.sent = x.g.h.keeping(0, x.in.ContentLength, "", address)
		if g.sent.afford(chartCost) {
			g.chart = readChart(x)
		} else {
			g.sent.limit, g.sent.over, g.sent.sum = 1, true, sha256.New()
		}
	} else {
		g.sent = x.g.h.keeping(maxManifest, x.in.ContentLength, x.in.Header.Get("Content-Encoding"), address)
	}
	g.before = lookup{x, g.op}.begin()
}

// Read returns the next piece of the body, and the last one only after the commit.
func (g *gate) Read(p []byte) (int, error) {
	if g.err != nil || len(p) == 0 {
		return 0, g.err
	}
	if g.held != nil {
		return g.last(p)
	}
	n, err := g.body.Read(p)
	g.keep(p[:n])
	if g.left > 0 {
		g.left -= int64(n)
	}
	switch {
	case g.left == 0 && n > 0:
		g.held = []byte{p[n-1]}
		return n - 1, nil
	case err == io.EOF && n > 0:
		return n, nil // a body without length: its end is withheld
	case err == io.EOF && g.left > 0:
		g.err = carry.Incomplete()
	case err == io.EOF:
		g.err = io.EOF
		if err := g.commit(); err != nil {
			g.err = err
		}
	case err != nil:
		g.err = err
	}
	return n, g.err
}

// keep copies a piece of the body, unless the gate is closed.
func (g *gate) keep(piece []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.op != nil {
		g.sent.write(piece)
		g.chart.write(piece)
	}
}

// last commits the intent, and then returns the last byte.
func (g *gate) last(p []byte) (int, error) {
	if g.err = g.commit(); g.err != nil {
		return 0, g.err
	}
	g.err = io.EOF
	return copy(p, g.held), io.EOF
}

// Close closes the body.
func (g *gate) Close() error { return g.body.Close() }

// commit commits the intent, and starts the timeout of the detached write. After an error the end
// of the body must not go upstream.
func (g *gate) commit() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.op == nil {
		return carry.ErrAnswered
	}
	if g.begun {
		return nil
	}
	g.x.wire.PauseUpload(true) // the store has a limit of its own
	defer g.x.wire.PauseUpload(false)
	g.understand()
	g.begun = true
	if g.op.Action == detect.ChartPost && g.op.Upload.Empty() {
		return nil
	}
	g.awaitFound(g.op)
	var err error
	if g.intent, err = g.intend(g.op); err != nil && g.x.g.Refuse {
		return errWithheld
	}
	if limit := g.x.g.Limits.WriteTimeout; limit > 0 {
		g.timeout = time.AfterFunc(limit, func() { g.cancel(errWriteTimeout) })
	}
	return nil
}

// understand reads the copy of the body. The caller holds mu.
func (g *gate) understand() {
	switch g.op.Action {
	case detect.ManifestPut:
		g.op.Sent = g.sent.body(mediaType(g.x.in.Header))
	case detect.ChartPost:
		g.op.Upload = g.upload()
	}
}

// awaitFound waits for the result of the look-up, which has a timeout of its own. The chart that an
// upload replaces can be looked up only now, when the upload has been read.
func (g *gate) awaitFound(op *detect.Operation) {
	if g.before == nil && op.Upload.Chart != nil {
		g.before = lookup{g.x, op}.begin()
	}
	if g.before != nil {
		op.Before = <-g.before
	}
}

// close returns the Operation and the copy of the body to the handler: commit makes no intent any
// more. The first call returns the intent that was made, for the caller to settle, leave or drop,
// and whether commit had begun one at all; later calls return no intent.
func (g *gate) close() (intent *track.Intent, begun bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.op == nil {
		return nil, g.begun
	}
	if g.timeout != nil {
		g.timeout.Stop()
	}
	g.x.op, g.op = g.op, nil
	return g.intent, g.begun
}

// late makes the intent of a write that the upstream accepted before it had all of the body. The
// gate is closed.
func (g *gate) late() *track.Intent {
	op := g.x.op
	g.awaitFound(op)
	if op.Action == detect.ChartPost {
		op.Upload = detect.Upload{Chart: &detect.Chart{}, Err: errEarly}
	}
	intent, _ := g.intend(op)
	return intent
}

// intend commits the intent of a write whose body has arrived. The caller owns op.
func (g *gate) intend(op *detect.Operation) (in *track.Intent, err error) {
	x := g.x
	x.name.vouch(op)
	done := x.guarded("Intend", func() { in, err = x.g.Tracker.Intend(x.wire.Context(), op) })
	if !done {
		in, err = nil, errObserver
	}
	if err != nil {
		x.g.warnStore("committing an intent failed", err)
	}
	return in, err
}

var errObserver = errors.New("observing failed")
