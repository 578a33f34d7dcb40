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
)

var (
	// errWithheld ends a write whose intent could not be committed: its last byte did not go upstream.
	errWithheld = errors.New("the store cannot keep the event: the write was not forwarded")
	// errAnswered ends the body of a write that the upstream answered before it had all of it.
	errAnswered = errors.New("the upstream has answered")
	// errEarly is why a chart is not known that the upstream took before it had all of it.
	errEarly = errors.New("the upstream answered before it had all of the upload")
	// errWriteTimeout is the cause when a detached write took longer than limits.write_timeout.
	errWriteTimeout = errors.New("the upstream did not answer the write in time")
)

// gate is a write's body on its way to the upstream. It keeps a copy for reading, and withholds the end (the last byte of a body of known
// length, the end of one without) until the intent is committed. A body that breaks off never gets that far.
//
// The transport reads it in a goroutine of its own, and the upstream may answer at any time: mu decides which came first.
// Until close, the exchange's op belongs to whoever holds mu.
type gate struct {
	x      *exchange
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	left   int64 // bytes to come; negative: unknown
	sent   kept
	chart  *chartReading // of a chart's upload; nil: there is no memory for it
	held   []byte        // the last byte, withheld
	before <-chan *found // what stands there now; nil: nobody asks
	err    error         // why no more is read

	mu      sync.Mutex
	told    bool // the Tracker was told of the intent
	closed  bool // there is an answer, or there will be none
	settled bool // the intent was handed over
	intent  *track.Intent
	timeout *time.Timer // of the detached write
}

func newGate(x *exchange, cancel context.CancelCauseFunc) *gate {
	g := &gate{x: x, cancel: cancel, body: x.upload(), left: x.in.ContentLength}
	if x.op.Action == detect.ChartPost {
		g.sent = x.g.h.keeping(0, x.in.ContentLength, "", x.op.Client.Address)
		if g.sent.afford(chartCost) {
			g.chart = x.readChart()
		} else {
			g.sent.limit, g.sent.over, g.sent.sum = 1, true, sha256.New()
		}
	} else {
		g.sent = x.g.h.keeping(maxManifest, x.in.ContentLength, x.in.Header.Get("Content-Encoding"), x.op.Client.Address)
	}
	g.before = x.lookBefore()
	return g
}

// Read passes the next piece on, and the last one only after the commit.
func (g *gate) Read(p []byte) (int, error) {
	if g.err != nil || len(p) == 0 {
		return 0, g.err
	}
	if g.held != nil {
		return g.last(p)
	}
	n, err := g.body.Read(p)
	g.sent.write(p[:n])
	g.chart.write(p[:n])
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
		g.err = clientError{io.ErrUnexpectedEOF}
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

func (g *gate) last(p []byte) (int, error) {
	if g.err = g.commit(); g.err != nil {
		return 0, g.err
	}
	g.err = io.EOF
	return copy(p, g.held), io.EOF
}

// Close ends the watching of the body.
func (g *gate) Close() error { return g.body.Close() }

// commit commits the intent, and starts the time that a detached write has. An error means that the end must not go upstream.
func (g *gate) commit() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errAnswered
	}
	if g.told {
		return nil
	}
	g.x.up.pause(true) // the store has a limit of its own
	defer g.x.up.pause(false)
	g.read()
	g.told = true
	if g.x.op.Action == detect.ChartPost && g.x.op.Upload.Empty() {
		return nil
	}
	g.awaitFound()
	var err error
	if g.intent, err = g.x.intend(); err != nil && g.x.g.Refuse {
		return errWithheld
	}
	if limit := g.x.g.Limits.WriteTimeout; limit > 0 {
		g.timeout = time.AfterFunc(limit, func() { g.cancel(errWriteTimeout) })
	}
	return nil
}

// read understands the body as far as it was kept.
func (g *gate) read() {
	op := &g.x.op
	switch op.Action {
	case detect.ManifestPut:
		op.Sent = g.sent.body(mediaType(g.x.in.Header))
	case detect.ChartPost:
		g.takeChart()
	}
}

// awaitFound takes what the look-up found, which has a limit of its own. What a chart's upload would replace can be asked only now.
func (g *gate) awaitFound() {
	if g.before == nil && g.x.op.Upload.Chart != nil {
		g.before = g.x.lookBefore()
	}
	if g.before != nil {
		g.x.op.Before = <-g.before
	}
}

// close ends the gate: no intent is made after it. It returns the one that was made, for the caller to settle, leave or drop, and whether the Tracker was told at all.
func (g *gate) close() (intent *track.Intent, told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed && g.timeout != nil {
		g.timeout.Stop()
	}
	g.closed = true
	if g.settled {
		return nil, g.told
	}
	g.settled = true
	return g.intent, g.told
}

// late makes the intent of a write that the upstream took before it had all of the body.
func (g *gate) late() *track.Intent {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awaitFound()
	g.told = true
	if g.x.op.Action == detect.ChartPost {
		g.x.op.Upload = detect.Upload{Chart: &detect.Chart{}, Err: errEarly}
	}
	g.intent, _ = g.x.intend()
	return g.intent
}

// abandon leaves an intent that nobody took charge of, and gives memory back. A nil gate has none.
func (g *gate) abandon() {
	if g == nil {
		return
	}
	if intent, _ := g.close(); intent != nil {
		g.x.guarded("LeaveOpen", func() { g.x.g.Tracker.LeaveOpen(intent) })
	}
	g.chart.abandon()
	g.sent.release()
}
