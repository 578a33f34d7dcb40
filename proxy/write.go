package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
)

// lookupTime bounds all that is asked on behalf of one write.
const lookupTime = 2 * time.Second

// write carries a request that changes what stands at the upstream. Its body streams through a gate that commits the intent before the last
// byte passes. From then on the client's connection decides nothing: what was sent goes on although the client hangs up.
//
// The context is detached from the beginning: while the body arrives, a client that goes away is noticed by reading it.
func (x *exchange) write() {
	if x.g.Refuse {
		if err := x.g.StoreHealthy(); err != nil {
			x.unavailable()
			return
		}
	}
	x.identify()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(x.in.Context()))
	defer cancel(nil)
	x.ctx = cancellable(ctx, cancel)
	x.gate = newGate(x, cancel)
	if x.in.ContentLength == 0 {
		if err := x.gate.commit(); err != nil {
			x.failed(err)
			return
		}
	}
	if x.route.fast.uploads(x) {
		x.pumpUp(x.gate, nil)
		return
	}
	x.carry(x.gate)
}

// settle makes a write's answer true before the client gets it.
func (x *exchange) settle(res *http.Response) {
	intent, told := x.gate.close() // first: until then op is the gate's
	x.note(res)
	success := res.StatusCode >= 200 && res.StatusCode < 300
	if success {
		x.vouch()
	}
	if !told && success {
		intent = x.gate.late() // the upstream did not need the rest of the body
	}
	switch {
	case intent == nil:
	case res.StatusCode >= 500 && res.StatusCode != http.StatusInsufficientStorage: // that one says that there was no room
		x.guarded("LeaveOpen", func() { x.g.Tracker.LeaveOpen(intent) })
	default:
		x.warnMismatch(success)
		x.warnUnread(success)
		x.op.Got = x.refusal(res)
		x.guarded("Settle", func() {
			if err := x.g.Tracker.Settle(x.ctx, intent, &x.op); err != nil {
				x.g.warnStore("settling an intent failed", err)
			}
		})
		if x.in.Context().Err() == nil { // asked before the answer goes out: with it in hand, clients hang up at once
			x.settled = intent
		}
	}
}

// handed tells the Tracker that the client has its answer. What is written may wait in a buffer until the handler has returned; that is soon.
func (x *exchange) handed(complete bool) {
	if x.settled == nil || !complete {
		return
	}
	x.guarded("Acknowledged", func() { x.g.Tracker.Acknowledged(x.settled) })
}

// warnMismatch warns of an upstream that names another digest than that of the bytes it took.
func (x *exchange) warnMismatch(success bool) {
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

// failed is told why there is no answer from the upstream.
func (x *exchange) failed(err error) {
	if cause := context.Cause(x.ctx); cause != nil {
		err = cause
	}
	if c := x.cutOff.Load(); c != nil {
		err = *c // net/http then cancels the request, which is only the consequence
	}
	if x.gate != nil {
		x.unsettled(err)
	}
	x.apologize(err)
}

// unsettled says what a write's intent is worth after a failure.
func (x *exchange) unsettled(err error) {
	intent, _ := x.gate.close()
	if intent == nil {
		return
	}
	var unreached dialError
	if errors.As(err, &unreached) || errors.Is(err, errWithheld) {
		x.guarded("Drop", func() {
			if err := x.g.Tracker.Drop(x.ctx, intent); err != nil {
				x.g.warnStore("dropping an intent failed", err)
			}
		})
		return
	}
	x.guarded("LeaveOpen", func() { x.g.Tracker.LeaveOpen(intent) })
}

// warnStore logs, now and then, that the store fails; what becomes of the events is the Tracker's to count and to alarm.
func (g *generation) warnStore(what string, err error) {
	if errors.Is(err, context.Canceled) || !g.h.warned.first(what, time.Now()) {
		return
	}
	g.Log.Warn(what, zap.Error(err))
}

// intend commits the intent of a write whose body has arrived.
func (x *exchange) intend() (in *track.Intent, err error) {
	x.vouch()
	done := x.guarded("Intend", func() { in, err = x.g.Tracker.Intend(x.ctx, &x.op) })
	if !done {
		in, err = nil, errObserver
	}
	if err != nil {
		x.g.warnStore("committing an intent failed", err)
	}
	return in, err
}

var errObserver = errors.New("observing failed")
