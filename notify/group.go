package notify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Group combines events of a webhook into messages for people. The first event is sent at once.
// Events that arrive within Wait after a message are sent together in the next one. One message is
// in flight at a time, so messages keep the order of the events.
type Group struct {
	Wait time.Duration // 0: each event is its own message
	Most int           // events that a message lists; it counts the others
}

// groupMost bounds the events of one message.
const groupMost = 500

// groupFormat is a Format that can combine several events into one message.
type groupFormat interface {
	Groups() bool
	RenderGroup(events []detect.Event, most int) (contentType string, header map[string]string, body []byte, err error)
}

// groups reports whether the webhook combines events into messages.
func (h *compiledWebhook) groups() bool {
	f, ok := h.Format.(groupFormat)
	return h.Group.Wait > 0 && ok && f.Groups()
}

// grouping reports whether the lane combines events now. While the circuit is open it probes with
// single events.
func (l *lane) grouping() bool { return l.hook != nil && l.hook.groups() && !l.circuit.open }

// groupQuery returns a query for everything that is due, up to the size of one message.
func (l *lane) groupQuery(now time.Time) (q store.DueQuery, need, have bool) {
	if !l.stale || len(l.ready) >= groupMost {
		return q, false, len(l.ready) > 0
	}
	l.stale, l.asking, l.backlog = false, true, false
	q = store.DueQuery{Webhook: l.name, Order: store.Unordered, Now: now, Limit: groupMost - len(l.ready), Except: map[int64]bool{}}
	for id := range l.inFlight {
		q.Except[id] = true
	}
	for _, d := range l.ready {
		q.Except[d.ID] = true
	}
	return q, true, false
}

// beginGroup starts one message about all ready deliveries, unless one is in flight or the wait
// after the last one has not passed.
func (l *lane) beginGroup(now time.Time) (more bool) {
	l.ready = slices.DeleteFunc(l.ready, func(d store.Delivery) bool {
		old := !now.Before(l.expiry(d))
		if old {
			l.expire(d)
		}
		return old
	})
	if l.posts > 0 || len(l.ready) == 0 {
		return false
	}
	if next := l.lastGroup.Add(l.hook.Group.Wait); !l.lastGroup.IsZero() && now.Before(next) {
		l.wakeAt(next)
		return false
	}
	if wait := l.limit(now); wait > 0 {
		l.wakeAt(now.Add(wait))
		return false
	}
	l.lastGroup = now
	jobs := make([]job, 0, len(l.ready))
	for _, d := range l.ready {
		l.addInFlight(d)
		jobs = append(jobs, job{delivery: d, hook: l.hook, epoch: l.epoch, expiry: l.expiry(d)})
	}
	l.ready = nil
	l.posts++
	if len(jobs) == 1 {
		l.d.work.Go(func() { l.attempt(jobs[0]) })
	} else {
		l.d.work.Go(func() { l.attemptGroup(jobs) })
	}
	return false
}

// attemptGroup makes one POST about several deliveries. A delivery that cannot be rendered becomes
// a dead letter alone.
func (l *lane) attemptGroup(jobs []job) {
	var events []detect.Event
	var sent, unrenderable []job
	var why error
	for _, j := range jobs {
		e, err := l.d.event(j.delivery)
		if err == nil {
			_, err = j.hook.payload(e, j.delivery.Number)
		}
		switch {
		case errors.Is(err, errUnrenderable):
			unrenderable, why = append(unrenderable, j), err
		case err != nil:
			l.abort(err, jobs...)
			return
		default:
			events, sent = append(events, e), append(sent, j)
		}
	}
	var p *store.Payload
	if len(sent) > 0 {
		var err error
		if p, err = renderGroup(sent[0].hook, events); err != nil {
			sent, unrenderable, why = nil, jobs, err
		}
	}
	l.giveUpAll(unrenderable, why, len(sent) == 0)
	if len(sent) > 0 {
		l.postGroup(sent, p)
	}
}

// renderGroup renders one message about several events.
func renderGroup(h *compiledWebhook, events []detect.Event) (p *store.Payload, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("%w: format %s panicked: %v", errUnrenderable, h.Format.Name(), r)
		}
	}()
	contentType, header, body, err := h.Format.(groupFormat).RenderGroup(events, h.Group.Most)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnrenderable, err)
	}
	return &store.Payload{ContentType: contentType, Header: header, Body: body}, nil
}

// postGroup sends the message. Its id consists of the first event's id and the number of events,
// because a later attempt may be about more events and is then another message.
func (l *lane) postGroup(jobs []job, p *store.Payload) {
	at := time.Now()
	id := fmt.Sprintf("%s_g%d", jobs[0].delivery.EventID, len(jobs))
	result := jobs[0].hook.Poster.Post(l.d.posting, message(id, p))
	if result.Reason == webhook.ReasonCanceled && l.d.posting.Err() != nil {
		l.abort(nil, jobs...)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.judge(jobs[0], result)
	for i, j := range jobs {
		f := first
		if i > 0 {
			f = l.judgeMember(j, first, result)
		}
		f.outcome.Attempt = &store.Attempt{DeliveryID: j.delivery.ID, At: at, Status: result.Status, Latency: result.Latency,
			Reason: string(result.Reason), Error: result.Err, Response: result.Response, Replica: l.d.options.Replica}
		l.d.metrics.attempt(l.name, label(f, result), result.Latency)
		l.queueOutcome(f)
	}
	l.posts--
	l.startPump()
}

// judgeMember returns the outcome of a delivery that was not the first of its message. It is that
// of the first, except that the delivery's own schedule may be over. Deliveries that are retried
// are due together.
func (l *lane) judgeMember(j job, first attemptOutcome, r webhook.Result) attemptOutcome {
	f := first
	f.event, f.gone = j.delivery.EventID, false
	f.outcome.DeliveryID = j.delivery.ID
	switch r.Outcome {
	case webhook.Delivered, webhook.Permanent:
	case webhook.Gone:
		f.outcome.NextAt = j.delivery.NextAt
	default:
		f.outcome.Reason = string(r.Reason)
		l.scheduleRetry(&f.outcome, j, r, time.Now())
		if first.outcome.State == store.Pending {
			f.outcome.NextAt = first.outcome.NextAt
		}
	}
	l.forgetEnded(f)
	if f.outcome.State == store.Dead {
		l.logDead(f, r.Err)
	}
	return f
}

// giveUpAll makes dead letters of deliveries that cannot be rendered. last says that no delivery of
// the group remains.
func (l *lane) giveUpAll(jobs []job, why error, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range jobs {
		f := attemptOutcome{outcome: l.outcome(j.delivery, store.Dead, ReasonUnrenderable), event: j.delivery.EventID}
		f.outcome.Epoch = j.epoch
		l.logDead(f, why.Error())
		l.d.metrics.attempt(l.name, "dead", 0)
		l.queueOutcome(f)
	}
	if last {
		l.posts--
		l.startPump()
	}
}
