package notify

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Reasons of dead letters that do not come from a receiver's answer. The others are
// webhook.Reasons.
const (
	ReasonExhausted    = "exhausted"    // the last attempt of the schedule failed
	ReasonExpired      = "expired"      // too old after waiting for a circuit, a rate limit or a Retry-After
	ReasonSuperseded   = "superseded"   // a newer delivery of the tag succeeded
	ReasonUnrenderable = "unrenderable" // the format cannot render the event
)

// job is one attempt in progress.
type job struct {
	delivery store.Delivery
	hook     *compiledWebhook
	epoch    int64
	probe    bool // the circuit was open when it began
	expiry   time.Time
}

// attemptOutcome is the outcome of an attempt until it is stored.
type attemptOutcome struct {
	outcome store.Outcome
	event   string // the event's id, for the log
	gone    bool   // the receiver answered 410
}

// attempt makes one attempt: it renders the body if none is stored, POSTs it, and queues the
// outcome.
func (l *lane) attempt(j job) {
	fresh, payload, err := l.render(j)
	switch {
	case errors.Is(err, errUnrenderable):
		l.giveUp(j, ReasonUnrenderable, err)
	case errors.Is(err, errSuperseded):
		l.giveUp(j, ReasonSuperseded, nil)
	case err != nil:
		l.abort(err, j)
	case !j.probe && l.circuitOpen():
		l.abort(nil, j) // the circuit opened after this job had begun
	default:
		l.post(j, fresh, payload)
	}
}

func (l *lane) circuitOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.circuit.open
}

var (
	errUnrenderable = errors.New("cannot be rendered")
	errSuperseded   = errors.New("superseded")
)

// render returns the payload of a job: the stored one, or a newly rendered one. fresh reports
// whether it is new.
func (l *lane) render(j job) (fresh bool, p *store.Payload, err error) {
	if j.delivery.Payload != nil && !j.hook.DropOvertaken {
		return false, j.delivery.Payload, nil
	}
	e, err := l.d.event(j.delivery)
	if err != nil {
		return false, nil, err
	}
	if err := l.overtaken(j, e); err != nil {
		return false, nil, err
	}
	if j.delivery.Payload != nil {
		return false, j.delivery.Payload, nil
	}
	p, err = j.hook.payload(e, j.delivery.Number)
	return true, p, err
}

// overtaken returns errSuperseded when a newer push or delete of the tag was delivered and the
// webhook drops overtaken ones. A delivery about several tags is never overtaken: the newer one was
// about only one of them.
func (l *lane) overtaken(j job, e detect.Event) error {
	if !j.hook.DropOvertaken || !changesTag(e.Type) || j.delivery.Number == 0 && len(e.Tags) > 1 {
		return nil
	}
	newer, err := l.d.newerDelivered(j.delivery)
	if err != nil {
		return err
	}
	if newer {
		return errSuperseded
	}
	return nil
}

// renderPayload renders the event, or its tag with that number. If the webhook's format has changed
// since the delivery was planned, a format that is not per tag renders the event as if it had that
// tag alone.
func renderPayload(f Format, e detect.Event, number int) (p *store.Payload, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("%w: format %s panicked: %v", errUnrenderable, f.Name(), r)
		}
	}()
	n := 0
	if number > 0 {
		if number > len(e.Tags) {
			return nil, fmt.Errorf("%w: event has no tag %d", errUnrenderable, number)
		}
		n = number - 1
		if !f.PerTag() {
			e.Tags, n = e.Tags[n:n+1], 0
		}
	}
	contentType, header, body, err := f.Render(e, n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnrenderable, err)
	}
	if len(body) > store.MaxValue {
		return nil, fmt.Errorf("%w: the body has %d bytes, at most %d can be kept", errUnrenderable, len(body), store.MaxValue)
	}
	return &store.Payload{ContentType: contentType, Header: header, Body: body}, nil
}

// payload renders the event and adds the values of the URL's placeholders. The values are stored
// with the headers, under names that no header can have, so that each attempt goes to the same URL.
func (h *compiledWebhook) payload(e detect.Event, number int) (*store.Payload, error) {
	p, err := renderPayload(h.Format, e, number)
	if err != nil || len(h.Placeholders) == 0 {
		return p, err
	}
	header := maps.Clone(p.Header)
	if header == nil {
		header = map[string]string{}
	}
	values := format.Values(e, max(number-1, 0))
	for _, name := range h.Placeholders {
		header[":"+name] = values[name]
	}
	p.Header = header
	return p, nil
}

// messageID returns the webhook-id: the event's id, followed by the tag's number if the POST is
// about one tag. Every attempt of every replica uses the same id.
func messageID(d store.Delivery) string {
	if d.Number == 0 {
		return d.EventID
	}
	return fmt.Sprintf("%s_%d", d.EventID, d.Number)
}

// MessageOf returns the message of a delivery that has been rendered.
func MessageOf(d store.Delivery) webhook.Message { return message(messageID(d), d.Payload) }

func message(id string, p *store.Payload) webhook.Message {
	m := webhook.Message{ID: id, ContentType: p.ContentType, Body: p.Body}
	for name, value := range p.Header {
		if placeholder, ok := strings.CutPrefix(name, ":"); ok {
			if m.Values == nil {
				m.Values = map[string]string{}
			}
			m.Values[placeholder] = value
			continue
		}
		if m.Header == nil {
			m.Header = http.Header{}
		}
		m.Header.Set(name, value)
	}
	return m
}

func (l *lane) post(j job, fresh bool, p *store.Payload) {
	at := time.Now()
	result := j.hook.Poster.Post(l.d.posting, message(messageID(j.delivery), p))
	if result.Reason == webhook.ReasonCanceled && l.d.posting.Err() != nil {
		l.abort(nil, j) // bellbuoy stops: the next start tries again
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure.note(at, result)
	f := l.judge(j, result)
	f.outcome.Attempt = &store.Attempt{DeliveryID: j.delivery.ID, At: at, Status: result.Status, Latency: result.Latency,
		Reason: string(result.Reason), Error: result.Err, Response: result.Response, Replica: l.d.options.Replica}
	if fresh {
		f.outcome.Payload = p
	}
	l.d.metrics.attempt(l.name, label(f, result), result.Latency)
	l.posts--
	l.queueOutcome(f)
	l.startPump()
}

// label returns the outcome of an attempt as the metric names it.
func label(f attemptOutcome, r webhook.Result) string {
	if f.outcome.State == store.Dead {
		return "dead"
	}
	return string(r.Outcome)
}

// judge turns the receiver's answer into the delivery's outcome and updates the lane's circuit.
func (l *lane) judge(j job, r webhook.Result) attemptOutcome {
	f := attemptOutcome{outcome: l.outcome(j.delivery, store.Delivered, string(r.Reason)), event: j.delivery.EventID}
	f.outcome.Epoch, f.outcome.Status, f.outcome.Burnt = j.epoch, r.Status, true
	switch r.Outcome {
	case webhook.Delivered:
		l.receiverAnswered()
		l.recovery.succeeded()
	case webhook.Permanent:
		f.outcome.State = store.Dead
		// a body that was never sent says nothing about the receiver
		if r.Reason != webhook.ReasonBody {
			l.receiverAnswered()
		}
	case webhook.Gone:
		l.receiverAnswered()
		f.outcome.State, f.outcome.NextAt, f.outcome.Burnt = store.Pending, j.delivery.NextAt, false
		f.gone = !l.switched.Off
		l.disableGone()
	default:
		l.retry(&f.outcome, j, r)
	}
	l.forgetEnded(f)
	if f.outcome.State == store.Dead {
		l.logDead(f, r.Err)
	}
	return f
}

// retry handles a retryable failure: it schedules the next attempt and updates the circuit.
func (l *lane) retry(o *store.Outcome, j job, r webhook.Result) {
	now := time.Now()
	l.scheduleRetry(o, j, r, now)
	l.noteFailure(now, j, r, o.State)
}

// scheduleRetry sets the time of the next attempt, or makes a dead letter after the last one. A
// probe uses up an attempt only if the receiver answered 429 or 503, so deliveries keep their
// attempts while a receiver is down.
func (l *lane) scheduleRetry(o *store.Outcome, j job, r webhook.Result, now time.Time) {
	o.State = store.Pending
	if j.probe && r.Status != http.StatusTooManyRequests && r.Status != http.StatusServiceUnavailable {
		o.NextAt, o.Burnt = j.delivery.NextAt, false
	} else {
		wait, more := j.hook.schedule().next(j.delivery.Attempts+1, r.After)
		o.NextAt = now.Add(wait)
		if !more {
			o.State, o.Reason = store.Dead, ReasonExhausted
		}
	}
	if o.State == store.Pending && !now.Before(j.expiry) {
		o.State, o.Reason = store.Dead, ReasonExpired
	}
	if o.State == store.Pending {
		l.recovery.failed(j)
	}
}

// forgetEnded drops the recovery's note of a delivery that is no longer pending.
func (l *lane) forgetEnded(f attemptOutcome) {
	if f.outcome.State != store.Pending {
		l.recovery.ended(f.outcome.DeliveryID)
	}
}

// receiverAnswered closes the circuit after an answer that is no retryable failure.
func (l *lane) receiverAnswered() {
	open, byFailures := l.circuit.succeeded()
	if open {
		l.forgetFetched()
	}
	if byFailures {
		l.d.log.Info("circuit closed", zap.String("webhook", l.name))
	}
}

func (l *lane) noteFailure(now time.Time, j job, r webhook.Result, became store.State) {
	if j.epoch != l.epoch {
		return // the lane has changed its owner
	}
	was := l.circuit.open
	opened := l.circuit.failed(now, j.delivery.ID, j.probe, r.After)
	if l.circuit.open && !was {
		l.forgetFetched()
	}
	switch {
	case opened:
		l.d.log.Warn("circuit opened", zap.String("webhook", l.name), zap.String("reason", string(r.Reason)), zap.String("error", r.Err))
	case l.circuit.failures == 1 && became == store.Pending && now.Sub(l.lastWarned) >= warnEvery:
		l.lastWarned = now
		l.d.log.Warn("delivery failed, and will be tried again", zap.String("webhook", l.name), zap.Int64("delivery", j.delivery.ID),
			zap.String("reason", string(r.Reason)), zap.Int("status", r.Status), zap.String("error", r.Err))
	}
}

// warnEvery bounds how often the log mentions a receiver that fails occasionally. The outcome of
// each delivery is in the store.
const warnEvery = time.Minute

func (l *lane) disableGone() {
	if l.switched.Off {
		return
	}
	l.switched = switchedByGone()
	l.forgetFetched()
	l.d.log.Warn("webhook disabled: its receiver answered 410", zap.String("webhook", l.name))
}

func (l *lane) outcome(d store.Delivery, s store.State, reason string) store.Outcome {
	return store.Outcome{DeliveryID: d.ID, Webhook: l.name, Epoch: l.epoch, State: s, Reason: reason, Status: d.Status}
}

// giveUp makes a dead letter of a job that was never POSTed.
func (l *lane) giveUp(j job, reason string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := attemptOutcome{outcome: l.outcome(j.delivery, store.Dead, reason), event: j.delivery.EventID}
	f.outcome.Epoch = j.epoch
	text := ""
	if err != nil {
		text = err.Error()
	}
	l.logDead(f, text)
	l.d.metrics.attempt(l.name, "dead", 0)
	l.posts--
	l.queueOutcome(f)
	l.startPump()
}

func (l *lane) logDead(f attemptOutcome, text string) {
	l.d.log.Warn("dead letter", zap.String("webhook", l.name), zap.Int64("delivery", f.outcome.DeliveryID), zap.String("event", f.event),
		zap.String("reason", f.outcome.Reason), zap.Int("status", f.outcome.Status), zap.String("error", text))
}

// abort ends the jobs of one POST without outcomes, because the store failed (err) or bellbuoy
// stops (nil).
func (l *lane) abort(err error, jobs ...job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts--
	for _, j := range jobs {
		l.removeInFlight(j.delivery.ID)
	}
	l.stale = true
	if err != nil {
		l.d.noteRead(err)
		l.wakeAt(time.Now().Add(laneRest))
		return
	}
	l.startPump()
}
