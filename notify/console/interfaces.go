package console

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// WebhookDesk has the webhooks of the file and of the store, in the scope of an account.
// manage.Desk implements this and the interfaces below, and describes the methods.
type WebhookDesk interface {
	Webhooks(ctx context.Context, by access.Principal) ([]manage.Webhook, error)
	Webhook(ctx context.Context, by access.Principal, number int64) (manage.Webhook, error)
	Find(ctx context.Context, by access.Principal, name string) (manage.Webhook, error)
	Remove(ctx context.Context, by access.Principal, number int64) error
	Enable(ctx context.Context, by access.Principal, number int64) error
	Disable(ctx context.Context, by access.Principal, number int64) error
	TakeOver(ctx context.Context, by access.Principal, number int64) error
	Triggers(ctx context.Context, by access.Principal, number int64) ([]manage.Trigger, error)
	YAML(ctx context.Context, by access.Principal, number int64) ([]byte, error)
	Test(ctx context.Context, by access.Principal, number int64, eventType string) (manage.Sent, error)
}

// DraftDesk has webhooks as a form has them: to be tried, and saved.
type DraftDesk interface {
	Make(ctx context.Context, by access.Principal, project string, d manage.Definition) (manage.Webhook, error)
	Change(ctx context.Context, by access.Principal, number, version int64, d manage.Definition) (manage.Webhook, error)
	TestDefinition(ctx context.Context, by access.Principal, project string, number int64, d manage.Definition, eventType string) (manage.Sent, error)
	Preview(ctx context.Context, by access.Principal, project string, number int64, d manage.Definition, eventType string) (manage.Body, error)
	Matching(ctx context.Context, by access.Principal, project string, number int64, d manage.Definition, since time.Time) (manage.Matched, error)
	NewSigningSecret() string
}

// DeliveryDesk has the deliveries of the webhooks in the scope of an account.
type DeliveryDesk interface {
	Deliveries(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (manage.DeliveryPage, error)
	Delivery(ctx context.Context, by access.Principal, id int64) (manage.DeliveryDetail, error)
	Redeliverable(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (int, error)
	Redeliver(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (int, error)
	Replay(ctx context.Context, by access.Principal, number int64, since time.Time, plan bool) (manage.Replayed, error)
}
