package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Sent is a test send and its answer.
type Sent struct {
	OK       bool
	Status   int
	Latency  time.Duration
	Response string
	Error    string
	URL      string      // without its secret parts
	Header   http.Header // secrets are masked
	Body     Body
}

// Body is the body of a POST about an event.
type Body struct {
	ContentType string
	Header      map[string]string // of the format, such as ce-type
	Text        string
}

// Matched counts the recorded events that a webhook would have got.
type Matched struct {
	Events   int
	Looked   int  // events of the project that were tested
	Complete bool // false: older events were not tested, because there are too many
}

// Bounds on the events that Matching tests.
const (
	mostMatched  = 50_000
	matchingTime = 3 * time.Second
	matchingPage = 1000
)

// Test sends a sample event to a webhook, even if the webhook is off. An empty type stands for the
// first type that the webhook gets. The limits of the account apply even if the webhook has none.
// Only administrators may test webhooks of the file.
func (d *AccountWebhooks) Test(ctx context.Context, by access.Principal, number int64, eventType string) (Sent, error) {
	w, err := d.one(ctx, by, number)
	if err != nil {
		return Sent{}, err
	}
	if w.Source != "" {
		if !by.Administrator {
			return Sent{}, fmt.Errorf("%w: webhook %s is defined in %s, and is tested by accounts without limits only", ErrForbidden, w.Name, w.Source)
		}
		h := d.Running.Set().Named(w.Key)
		if h == nil {
			return Sent{}, noWebhook(w.Name)
		}
		return d.send(ctx, by, h, number, eventType)
	}
	return d.TestDefinition(ctx, by, w.Project, number, w.Definition, eventType)
}

// TestDefinition is Test for a definition that is not saved; number is 0 for a new webhook.
func (d *AccountWebhooks) TestDefinition(ctx context.Context, by access.Principal, project string, number int64, def Definition, eventType string) (Sent, error) {
	h, err := d.trial(ctx, by, project, number, def, false)
	if err != nil {
		return Sent{}, err
	}
	defer h.Client.Close()
	return d.send(ctx, by, h, number, eventType)
}

func (d *AccountWebhooks) send(ctx context.Context, by access.Principal, h *Hook, number int64, eventType string) (Sent, error) {
	m, err := sample(h, eventType)
	if err != nil {
		return Sent{}, err
	}
	d.log("test event sent", by, h.Name, number)
	got := h.Client.Post(ctx, m)
	shown := errorFor(by, got.Status, string(got.Reason), got.Err)
	if shown != got.Err {
		d.Log.Info("test event not delivered", zap.String("account", by.Name), zap.String("webhook", h.Name), zap.String("error", got.Err))
	}
	return Sent{OK: got.Outcome == webhook.Delivered, Status: got.Status, Latency: got.Latency, Error: shown,
		Response: strings.ToValidUTF8(string(got.Response), "\uFFFD"), URL: h.ShownURL(m), Header: h.Client.Shown(m), Body: BodyOf(m)}, nil
}

// sample returns the message of a sample event.
func sample(h *Hook, eventType string) (webhook.Message, error) {
	if eventType != "" && !slices.Contains(notify.Types(), detect.Type(eventType)) {
		return webhook.Message{}, problem("type", "there is no such type of events")
	}
	m, err := notify.Sample(h.Webhook, detect.Type(eventType))
	if err != nil {
		return m, problem("format", "%v", err)
	}
	return m, nil
}

// BodyOf returns the body of a message.
func BodyOf(m webhook.Message) Body {
	b := Body{ContentType: m.ContentType, Text: strings.ToValidUTF8(string(m.Body), "\uFFFD")}
	for name, values := range m.Header {
		if b.Header == nil {
			b.Header = map[string]string{}
		}
		b.Header[name] = strings.Join(values, ", ")
	}
	return b
}

// Preview returns the body that a webhook would send about a sample event. The definition may lack
// url.
func (d *AccountWebhooks) Preview(ctx context.Context, by access.Principal, project string, number int64, def Definition, eventType string) (Body, error) {
	h, err := d.trial(ctx, by, project, number, def, true)
	if err != nil {
		return Body{}, err
	}
	defer h.Client.Close()
	m, err := sample(h, eventType)
	if err != nil {
		return Body{}, err
	}
	return BodyOf(m), nil
}

// trial makes a hook of a definition that is not saved. It has the limits that apply when the
// account saves it. The caller closes its client. If nothing is sent, masks are valid for another
// receiver too.
func (d *AccountWebhooks) trial(ctx context.Context, by access.Principal, project string, number int64, def Definition, nothingSent bool) (*Hook, error) {
	s, old := notify.Stored{Project: project}, Definition{}
	if number != 0 {
		var err error
		if s, err = d.editable(ctx, by, number); err != nil {
			return nil, err
		}
		if old, err = definitionOf(&s); err != nil {
			return nil, err
		}
	} else if !by.May(project) || !ValidProject(project) {
		return nil, fmt.Errorf("%w: project %.255s not found", ErrNotFound, project)
	}
	if def.Name == "" {
		def.Name = "unnamed"
	}
	if nothingSent && def.URL == "" {
		def.URL = "https://receiver.example.com/"
	}
	def, err := def.unmasked(old, nothingSent)
	if err != nil {
		return nil, err
	}
	s.Name, s.Limited = def.Name, s.Limited || !by.Administrator
	if s.Key == "" {
		s.Key = project + "/" + def.Name
	}
	if s.Definition, err = json.Marshal(def); err != nil {
		return nil, err
	}
	if len(s.Definition) > mostDefinition {
		return nil, errTooLarge
	}
	h, err := d.Running.build(&s)
	if err != nil {
		return nil, d.definitionError(by, err)
	}
	return h, nil
}

// Matching counts the recorded events since a time that a webhook with the definition would have
// got. It begins with the newest event and tests a bounded number.
func (d *AccountWebhooks) Matching(ctx context.Context, by access.Principal, project string, number int64, def Definition, since time.Time) (Matched, error) {
	def.Enabled = true
	h, err := d.trial(ctx, by, project, number, def, true)
	if err != nil {
		return Matched{}, err
	}
	h.Client.Close()
	set, err := notify.Compile(true, []notify.Webhook{h.Webhook})
	if err != nil {
		return Matched{}, problem("", "%v", err)
	}
	var found Matched
	q := store.EventQuery{Types: h.Complete.Events, Since: since, Limit: matchingPage}
	deadline := time.Now().Add(matchingTime)
	for tested := 0; tested < mostMatched && time.Now().Before(deadline); tested += matchingPage {
		events, err := d.Dispatcher.Events(ctx, q)
		if err != nil {
			return found, err
		}
		for i := range events {
			if notify.ProjectOf(&events[i]) != h.Project {
				continue // the account must not learn the number of events of other projects
			}
			found.Looked++
			if set.Explain(events[i])[0].Fires {
				found.Events++
			}
		}
		if len(events) < q.Limit {
			found.Complete = true
			return found, nil
		}
		q.Before = events[len(events)-1].Seq
	}
	return found, nil
}
