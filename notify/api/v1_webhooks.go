package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Webhooks reads and changes webhooks within an account's scope. *manage.Desk implements it.
type V1Webhooks interface {
	Webhooks(ctx context.Context, by access.Principal) ([]manage.Webhook, error)
	Webhook(ctx context.Context, by access.Principal, number int64) (manage.Webhook, error)
	Make(ctx context.Context, by access.Principal, project string, def manage.Definition) (manage.Webhook, error)
	Change(ctx context.Context, by access.Principal, number, version int64, def manage.Definition) (manage.Webhook, error)
	Remove(ctx context.Context, by access.Principal, number int64) error
	Enable(ctx context.Context, by access.Principal, number int64) error
	Disable(ctx context.Context, by access.Principal, number int64) error
	TakeOver(ctx context.Context, by access.Principal, number int64) error
	Triggers(ctx context.Context, by access.Principal, number int64) ([]manage.Trigger, error)
	YAML(ctx context.Context, by access.Principal, number int64) ([]byte, error)
	NewSigningSecret() string
}

// V1Webhook is a webhook as /api/v1 shows it.
type V1Webhook struct {
	Number     int64             `json:"number" doc:"never assigned again"`
	Key        string            `json:"key" doc:"of its deliveries"`
	Name       string            `json:"name" doc:"unique in its project"`
	Project    string            `json:"project,omitempty"`
	Projects   []string          `json:"projects,omitempty" doc:"in the file: the projects of match.projects, if none is a glob"`
	Source     string            `json:"source,omitempty" doc:"in the file: its position; such a webhook cannot be changed here" example:"bellbuoy.yaml:12"`
	Maker      string            `json:"maker,omitempty"`
	Limited    bool              `json:"limited,omitempty" doc:"the limits of limited accounts apply to it"`
	MadeAt     time.Time         `json:"made_at,omitzero"`
	ChangedAt  time.Time         `json:"changed_at,omitzero"`
	Version    int64             `json:"version,omitempty" doc:"counts changes; also the ETag"`
	Editable   bool              `json:"editable"`
	Definition manage.Definition `json:"definition" doc:"as it was given; secrets are masked"`
	Complete   manage.Definition `json:"complete" doc:"with its preset and all defaults"`
	Health     V1Health          `json:"health"`
}

// V1Health is the state of a webhook's deliveries.
type V1Health struct {
	State       string    `json:"state" enum:"ok,failing,disabled,gone,off"`
	Since       time.Time `json:"since,omitzero"`
	Why         string    `json:"why,omitempty"`
	Circuit     string    `json:"circuit" enum:"closed,open"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	SuccessRate *float64  `json:"success_rate,omitempty" doc:"of the attempts of the last 24 hours; absent: there were none"`
	Tried       int64     `json:"tried" doc:"attempts of the last 24 hours"`
	Pending     int64     `json:"pending"`
	Dead        int64     `json:"dead"`
	Parked      int64     `json:"parked"`
	Oldest      time.Time `json:"oldest,omitzero" doc:"when the oldest pending delivery was planned"`
	LastFired   time.Time `json:"last_fired,omitzero"`
}

func shownWebhook(w manage.Webhook) V1Webhook {
	h := w.Health
	shown := V1Webhook{Number: w.Number, Key: w.Key, Name: w.Name, Project: w.Project, Projects: w.Projects, Source: w.Source, Maker: w.Maker,
		Limited: w.Limited, MadeAt: w.Made, ChangedAt: w.Changed, Version: w.Version, Editable: w.Editable, Definition: w.Definition, Complete: w.Complete,
		Health: V1Health{State: h.State, Since: h.Since, Why: h.Why, Circuit: "closed", NextAttempt: h.NextAttempt, SuccessRate: h.SuccessRate,
			Tried: h.Tried, Pending: h.Pending, Dead: h.Dead, Parked: h.Parked, Oldest: h.Oldest, LastFired: h.LastDelivery}}
	if h.CircuitOpen {
		shown.Health.Circuit = "open"
	}
	if w.Source == "" {
		shown.Projects = nil
	}
	return shown
}

// V1WebhookPage is a page of webhooks.
type V1WebhookPage struct {
	Items []V1Webhook `json:"items" nullable:"false" doc:"by project and name"`
	Next  string      `json:"next,omitempty" doc:"the cursor of the next page; without it this is the last one"`
}

type webhookAnswer struct {
	ETag string `header:"ETag"`
	Body V1Webhook
}

func answerWebhook(w manage.Webhook, err error) (*webhookAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := &webhookAnswer{Body: shownWebhook(w)}
	if w.Source == "" {
		out.ETag = strconv.Quote(strconv.FormatInt(w.Version, 10))
	}
	return out, nil
}

// PathWebhook has the number of a webhook.
type PathWebhook struct {
	Number int64 `path:"number" minimum:"1" doc:"number of the webhook"`
}

// addWebhooks adds the endpoints about webhooks.
func (v *V1) addWebhooks() {
	const one = "/webhooks/{number}"
	addV1(v, operation("listWebhooks", "GET /webhooks", "Webhooks of the file and of the store", "webhooks"), everyAccount, v.listWebhooks)
	made := operation("makeWebhook", "POST /webhooks", "Make a webhook", "webhooks", 409, 422)
	made.DefaultStatus = http.StatusCreated
	addV1(v, made, everyAccount, v.makeWebhook)
	addV1(v, operation("newSigningSecret", "POST /webhooks/signing-secret", "A new secret of Standard Webhooks; it is not stored", "webhooks"), everyAccount, v.newSigningSecret)
	addV1(v, operation("getWebhook", "GET "+one, "One webhook", "webhooks"), everyAccount, v.getWebhook)
	addV1(v, operation("changeWebhook", "PUT "+one, "Replace the definition of a webhook", "webhooks", 409, 412, 422), everyAccount, v.changeWebhook)
	addV1(v, operation("deleteWebhook", "DELETE "+one, "Delete a webhook; its pending deliveries become dead letters", "webhooks"), everyAccount, v.onWebhook(V1Webhooks.Remove))
	addV1(v, operation("enableWebhook", "POST "+one+"/enable", "Enable a webhook that was disabled by an account or by a 410 of its receiver", "webhooks", 409, 422), everyAccount, v.onWebhook(V1Webhooks.Enable))
	addV1(v, operation("disableWebhook", "POST "+one+"/disable", "Disable a webhook; its deliveries wait", "webhooks", 409), everyAccount, v.onWebhook(V1Webhooks.Disable))
	addV1(v, operation("takeOverWebhook", "POST "+one+"/take-over", "Remove the limits that a webhook has because a limited account made or edited it", "webhooks", 422), administratorsOnly, v.onWebhook(V1Webhooks.TakeOver))
	addV1(v, operation("listTriggers", "GET "+one+"/triggers", "The types of events that a webhook gets, and when it last got each", "webhooks"), everyAccount, v.listTriggers)
	addV1(v, operation("exportWebhook", "GET "+one+"/yaml", "A webhook as an entry of the configuration file, without its secrets", "webhooks"), everyAccount, v.exportWebhook)
}

func (v *V1) listWebhooks(ctx context.Context, by access.Principal, in *struct {
	Name    string `query:"name" maxLength:"128" doc:"part of the name"`
	Named   string `query:"named" maxLength:"1024" doc:"only the webhook with this key, or the one of the store with this project/name"`
	Project string `query:"project" maxLength:"255" doc:"webhooks of this project, and those of the file that name none"`
	Paging
}) (*struct{ Body V1WebhookPage }, error) {
	after, err := webhookCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	all, err := v.Webhooks.Webhooks(ctx, by)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body V1WebhookPage }{V1WebhookPage{Items: []V1Webhook{}}}
	for _, w := range all {
		ofProject := in.Project == "" || len(w.Projects) == 0 || slices.Contains(w.Projects, in.Project)
		named := in.Named == "" || w.Key == in.Named || w.Source == "" && w.Project+"/"+w.Name == in.Named
		if !named || !ofProject || !strings.Contains(strings.ToLower(w.Name), strings.ToLower(in.Name)) || in.Cursor != "" && w.Compare(after) <= 0 {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.Next = cursorOf(out.Body.Items[in.Limit-1])
			break
		}
		out.Body.Items = append(out.Body.Items, shownWebhook(w))
	}
	return out, nil
}

// cursorOf returns the cursor of the page that begins after a webhook.
func cursorOf(w V1Webhook) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s/%s", w.Number, w.Project, w.Name))
}

func webhookCursor(cursor string) (w manage.Webhook, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	number, rest, _ := strings.Cut(string(text), "/")
	w.Project, w.Name, _ = strings.Cut(rest, "/")
	if cursor != "" && err == nil {
		w.Number, err = strconv.ParseInt(number, 10, 64)
	}
	if err != nil {
		return w, invalid(manage.Problems{{Field: "cursor", Message: "is not of this list"}})
	}
	return w, nil
}

func (v *V1) makeWebhook(ctx context.Context, by access.Principal, in *struct {
	Body struct {
		Project    string            `json:"project" maxLength:"255" doc:"project of the webhook"`
		Definition manage.Definition `json:"definition" doc:"keys as in an entry of webhooks in the file"`
	}
}) (*madeAnswer, error) {
	made, err := answerWebhook(v.Webhooks.Make(ctx, by, in.Body.Project, in.Body.Definition))
	if err != nil {
		return nil, err
	}
	return &madeAnswer{fmt.Sprintf("%s/webhooks/%d", V1Path, made.Body.Number), made.ETag, made.Body}, nil
}

type madeAnswer struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     V1Webhook
}

func (v *V1) getWebhook(ctx context.Context, by access.Principal, in *PathWebhook) (*webhookAnswer, error) {
	return answerWebhook(v.Webhooks.Webhook(ctx, by, in.Number))
}

func (v *V1) changeWebhook(ctx context.Context, by access.Principal, in *struct {
	PathWebhook
	IfMatch string `header:"If-Match" maxLength:"64" doc:"ETag or version of the definition that is replaced; without it, any"`
	Body    manage.Definition
}) (*webhookAnswer, error) {
	var version int64
	if in.IfMatch != "" && in.IfMatch != "*" {
		var err error
		if version, err = strconv.ParseInt(strings.Trim(in.IfMatch, `"`), 10, 64); err != nil || version < 1 {
			return nil, huma.NewError(http.StatusPreconditionFailed, "If-Match is not a version of this webhook")
		}
	}
	return answerWebhook(v.Webhooks.Change(ctx, by, in.Number, version, in.Body))
}

// onWebhook returns the handler for a method that returns only an error.
func (v *V1) onWebhook(do func(w V1Webhooks, ctx context.Context, by access.Principal, number int64) error) func(context.Context, access.Principal, *PathWebhook) (*struct{}, error) {
	return func(ctx context.Context, by access.Principal, in *PathWebhook) (*struct{}, error) {
		return nil, do(v.Webhooks, ctx, by, in.Number)
	}
}

// V1Trigger is a type of events that a webhook gets.
type V1Trigger struct {
	Type          string    `json:"type"`
	Enabled       bool      `json:"enabled"`
	LastTriggered time.Time `json:"last_triggered,omitzero" doc:"absent: never"`
}

func (v *V1) listTriggers(ctx context.Context, by access.Principal, in *PathWebhook) (*struct {
	Body struct {
		Items []V1Trigger `json:"items" nullable:"false"`
	}
}, error) {
	all, err := v.Webhooks.Triggers(ctx, by, in.Number)
	if err != nil {
		return nil, err
	}
	out := &struct {
		Body struct {
			Items []V1Trigger `json:"items" nullable:"false"`
		}
	}{}
	out.Body.Items = []V1Trigger{}
	for _, t := range all {
		out.Body.Items = append(out.Body.Items, V1Trigger{t.Type, t.Enabled, t.Last})
	}
	return out, nil
}

func (v *V1) exportWebhook(ctx context.Context, by access.Principal, in *PathWebhook) (*yamlAnswer, error) {
	text, err := v.Webhooks.YAML(ctx, by, in.Number)
	return &yamlAnswer{"application/yaml", text}, err
}

type yamlAnswer struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (v *V1) newSigningSecret(context.Context, access.Principal, *struct{}) (*struct {
	Body struct {
		Secret string `json:"secret"`
	}
}, error) {
	out := &struct {
		Body struct {
			Secret string `json:"secret"`
		}
	}{}
	out.Body.Secret = v.Webhooks.NewSigningSecret()
	return out, nil
}
