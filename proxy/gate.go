package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

var (
	// errWithheld ends a write whose intent could not be committed: its last byte did not go upstream.
	errWithheld = errors.New("the store cannot keep the event: the write was not forwarded")
	// errAnswered ends the body of a write that the upstream answered before it had all of it.
	errAnswered = errors.New("the upstream has answered")
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
	held   []byte        // the last byte, withheld
	before <-chan *found // what stands there now; nil: nobody asks
	err    error         // why no more is read

	mu      sync.Mutex
	told    bool // the Tracker was told of the intent
	closed  bool // there is an answer, or there will be none
	settled bool // the intent was handed over
	intent  *detect.Intent
	timeout *time.Timer // of the detached write
}

func newGate(x *exchange, cancel context.CancelCauseFunc) *gate {
	limit := maxManifest
	if x.op.Action == detect.ChartPost {
		limit = maxChart
	}
	g := &gate{x: x, cancel: cancel, body: x.upload(), left: x.in.ContentLength}
	g.sent = x.g.h.keeping(limit, x.in.ContentLength, x.in.Header.Get("Content-Encoding"))
	g.sent.prefix = x.op.Action == detect.ChartPost
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
	g.awaitFound()
	var err error
	g.told = true
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
		g.x.guarded("ReadChartBody", func() { op.SentChart = g.chart() })
	}
}

// chart reads an uploaded chart. Of one that is longer than what was kept, digest and size are known where the body is the archive itself.
func (g *gate) chart() *detect.Chart {
	contentType := g.x.in.Header.Get("Content-Type")
	body := io.Reader(bytes.NewReader(g.sent.bytes))
	if !g.sent.over {
		c, _ := detect.ReadChartBody(contentType, body)
		return c
	}
	_, form, _ := mime.ParseMediaType(contentType)
	if boundary := form["boundary"]; boundary != "" {
		body = io.MultiReader(body, strings.NewReader("\r\n--"+boundary+"--\r\n")) // what was kept is a form again
	}
	c, _ := detect.ReadChartBody(contentType, body)
	if c == nil {
		return nil
	}
	c.Digest, c.Size = "", 0
	if form["boundary"] == "" {
		c.Digest, c.Size = digest(g.sent.sum), g.sent.size
	}
	return c
}

// awaitFound takes what the look-up found, which has a limit of its own. What a chart's upload would replace can be asked only now.
func (g *gate) awaitFound() {
	if g.before == nil && g.x.op.SentChart != nil {
		g.before = g.x.lookBefore()
	}
	if g.before != nil {
		g.x.op.Before = <-g.before
	}
}

// close ends the gate: no intent is made after it. It returns the one that was made, for the caller to settle, leave or drop, and whether the Tracker was told at all.
func (g *gate) close() (intent *detect.Intent, told bool) {
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
func (g *gate) late() *detect.Intent {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awaitFound()
	g.told = true
	g.intent, _ = g.x.intend()
	return g.intent
}

// abandon leaves an intent that nobody took charge of, and gives memory back. A nil gate has none.
func (g *gate) abandon() {
	if g == nil {
		return
	}
	if intent, _ := g.close(); intent != nil {
		g.x.guarded("Leave", func() { g.x.g.Tracker.Leave(intent) })
	}
	g.sent.release()
}
