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
// commits the intent before the last byte goes upstream. From then on the write no longer depends
// on the connection of its client.
//
// Its context is detached from the client from the beginning: a client that goes away while the
// body arrives is noticed by reading the body.
type write struct {
	x       *exchange
	gate    gate
	settled *track.Intent // after a clear answer, to a client that was still there
}

// carry carries the write, unless the store is down and such writes are to be refused.
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

// Answered implements carry.Observer: it settles the write before the client gets the answer.
func (w *write) Answered(res *http.Response) carry.Reader {
	x := w.x
	intent, begun := w.gate.close() // first, because until then the gate owns op
	x.note(res)
	success := res.StatusCode >= 200 && res.StatusCode < 300
	if success {
		x.name.vouch(x.op)
	}
	if !begun && success {
		intent = w.gate.late() // the upstream did not need the rest of the body
	}
	switch {
	case intent == nil:
	case res.StatusCode >= 500 && res.StatusCode != http.StatusInsufficientStorage: // 507 is a clear answer: there was no room
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
	if x.in.Context().Err() == nil { // checked before the answer goes out: clients hang up right after it
		w.settled = intent
	}
}

// leave reports to the Tracker that the outcome of a write is unknown.
func (w *write) leave(intent *track.Intent) {
	w.x.guarded("LeaveOpen", func() { w.x.g.Tracker.LeaveOpen(intent) })
}

// Failed implements carry.Observer: it drops the intent of a write that never reached the upstream,
// and leaves every other one open.
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

// abandon leaves an intent open that was neither settled nor dropped, and returns memory to the
// budget.
func (w *write) abandon() {
	if intent, _ := w.gate.close(); intent != nil {
		w.leave(intent)
	}
	w.gate.chart.abandon()
	w.gate.sent.release()
}

// finish reports to the Tracker that the client has its answer. The last bytes may be in a buffer
// until the handler has returned, which is soon.
func (w *write) finish(complete bool) {
	if w.settled == nil || !complete {
		return
	}
	w.x.guarded("Acknowledged", func() { w.x.g.Tracker.Acknowledged(w.settled) })
}

// warnMismatch warns of an upstream that names another digest than that of the bytes it was sent.
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

// warnStore logs, once a minute, that the store fails. The outbox counts that and raises the alarm.
func (g *generation) warnStore(what string, err error) {
	if errors.Is(err, context.Canceled) || !g.h.warned.first(what, time.Now()) {
		return
	}
	g.Log.Warn(what, zap.Error(err))
}

// refusal returns the body of an answer that refuses a write, if it is short: the reason may be a
// quota, which has an event. The client still gets all of it.
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
