package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

// write is a request that changes what stands at the upstream. Its body streams through a gate that
// commits the intent before the last byte passes. From then on the client's connection decides
// nothing: what was sent goes on although the client hangs up.
//
// It is detached from its client from the beginning: while the body arrives, a client that goes
// away is noticed by reading the body.
type write struct {
	x       *exchange
	gate    gate
	settled *track.Intent // after a clear answer, to a client that was still there
}

// carry carries the write, unless its event cannot be kept and such writes are to be refused.
func (w *write) carry() {
	x := w.x
	if x.g.Refuse {
		if err := x.g.StoreHealthy(); err != nil {
			x.answerFailure(errWithheld)
			return
		}
	}
	x.name.identify(x.op)
	cancel := x.wire.Detach()
	defer cancel(nil)
	x.write = w
	w.gate.open(x, cancel)
	x.wire.Body = &w.gate
	if x.in.ContentLength == 0 {
		if err := w.gate.commit(); err != nil {
			x.wire.Observer = w
			x.wire.Fail(err)
			return
		}
	}
	x.carry(w)
}

// Answered is carry.Observer's: it settles the write before the client gets the answer.
func (w *write) Answered(res *http.Response) carry.Reader {
	x := w.x
	intent, told := w.gate.close() // first: until then the gate owns op
	x.note(res)
	success := res.StatusCode >= 200 && res.StatusCode < 300
	if success {
		x.name.vouch(x.op)
	}
	if !told && success {
		intent = w.gate.late() // the upstream did not need the rest of the body
	}
	switch {
	case intent == nil:
	case res.StatusCode >= 500 && res.StatusCode != http.StatusInsufficientStorage: // 507 is clear: there was no room
		w.leave(intent)
	default:
		w.settle(intent, res, success)
	}
	x.keepInFront(res.Header)
	return nil
}

// settle has the Tracker settle an intent that the upstream has answered clearly.
func (w *write) settle(intent *track.Intent, res *http.Response, success bool) {
	x := w.x
	w.warnMismatch(success)
	w.warnUnread(success)
	x.op.Got = w.refusal(res)
	x.guarded("Settle", func() {
		if err := x.g.Tracker.Settle(x.wire.Context(), intent, x.op); err != nil {
			x.g.warnStore("settling an intent failed", err)
		}
	})
	if x.in.Context().Err() == nil { // looked at before the answer goes out: clients hang up right after it
		w.settled = intent
	}
}

// leave reports to the Tracker that the outcome of a write is unknown.
func (w *write) leave(intent *track.Intent) {
	w.x.guarded("LeaveOpen", func() { w.x.g.Tracker.LeaveOpen(intent) })
}

// Failed is carry.Observer's: it says what a write's intent is worth after a failure.
func (w *write) Failed(err error) {
	intent, _ := w.gate.close()
	var unreached carry.DialError
	switch {
	case intent == nil:
	case errors.As(err, &unreached) || errors.Is(err, errWithheld):
		w.x.guarded("Drop", func() {
			if err := w.x.g.Tracker.Drop(w.x.wire.Context(), intent); err != nil {
				w.x.g.warnStore("dropping an intent failed", err)
			}
		})
	default:
		w.leave(intent)
	}
	w.x.answerFailure(err)
}

// abandon leaves an intent that was neither settled nor dropped, and gives memory back.
func (w *write) abandon() {
	if intent, _ := w.gate.close(); intent != nil {
		w.leave(intent)
	}
	w.gate.chart.abandon()
	w.gate.sent.release()
}

// finish tells the Tracker that the client has its answer. What is written may wait in a buffer
// until the handler has returned; that is soon.
func (w *write) finish(complete bool) {
	if w.settled == nil || !complete {
		return
	}
	w.x.guarded("Acknowledged", func() { w.x.g.Tracker.Acknowledged(w.settled) })
}

// warnMismatch warns of an upstream that names another digest than that of the bytes it took.
func (w *write) warnMismatch(success bool) {
	x := w.x
	named, sent := x.op.ContentDigest, x.op.Sent.Digest
	algorithm, _, _ := strings.Cut(sent, ":")
	if !success || x.op.Action != detect.ManifestPut || sent == "" || named == sent || !strings.HasPrefix(named, algorithm+":") {
		return
	}
	if x.g.h.warned.first("digest mismatch "+x.route.Name, time.Now()) {
		x.g.Log.Warn("upstream names another digest than that of the manifest it was sent", zap.String("upstream", x.route.Name), zap.String("request_id", x.op.ID),
			zap.String("path", x.loggedPath()), zap.String("named", named), zap.String("sent", sent))
	}
}

// warnStore logs, now and then, that the store fails. The Tracker counts and alarms.
func (g *generation) warnStore(what string, err error) {
	if errors.Is(err, context.Canceled) || !g.h.warned.first(what, time.Now()) {
		return
	}
	g.Log.Warn(what, zap.Error(err))
}

// refusal is the body of an answer that refuses a write, if it is short: its reason may be an
// event (a quota). The client still gets all of it.
func (w *write) refusal(res *http.Response) detect.Body {
	x := w.x
	if res.StatusCode < 400 || res.ContentLength > maxRefusal || res.ContentLength < 0 || res.Body == nil || x.in.Method == http.MethodHead {
		return detect.Body{}
	}
	b, err := io.ReadAll(res.Body)
	rest := io.Reader(bytes.NewReader(b))
	if err != nil {
		rest = io.MultiReader(rest, broken{err})
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{rest, res.Body}
	return detect.Body{Bytes: b, MediaType: x.op.MediaType, Size: int64(len(b))}
}

// broken is a body that ends with its error.
type broken struct{ error }

// Read returns the error.
func (b broken) Read([]byte) (int, error) { return 0, b.error }
