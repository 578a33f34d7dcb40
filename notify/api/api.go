// Package api serves the two REST APIs of the admin address.
//
// [V1] is bellbuoy's own API (/api/v1). Each file whose name begins with v1_ adds the endpoints of
// one subject, and docs/openapi.yaml is generated from them. [Harbor] is the part of Harbor's API
// (/api/v2.0) that manages webhooks, so that terraform-provider-harbor, harbor-cli and Harbor's
// go-client work with bellbuoy unchanged.
//
// The account of a request is in its context ([access.PrincipalOf]). A request without an account
// is refused. In Harbor's API each route has a scope, which the router checks before the handler
// runs, so that a handler never sees a project or a webhook outside the account's scope. In
// /api/v1 the methods that the endpoints call check the scope.
//
// The package translates between HTTP and the interfaces below, which cmd and notify/manage
// implement.
package api

import (
	"context"
	"errors"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// ErrInvalid means that a request is invalid. [manage.Problems] means the same and names the
// fields.
var ErrInvalid = errors.New("invalid")

// Webhooks reads and changes the webhooks of the file and of the store for Harbor's API.
type Webhooks interface {
	// Policies returns the webhooks of a project that the account may see.
	Policies(ctx context.Context, by access.Principal, project string) ([]manage.Policy, error)
	// MakePolicy returns the number of the new webhook, which is then in use.
	MakePolicy(ctx context.Context, by access.Principal, project string, c manage.PolicyChange) (int64, error)
	ChangePolicy(ctx context.Context, by access.Principal, number int64, c manage.PolicyChange) error
	Remove(ctx context.Context, by access.Principal, number int64) error
}

// Project is a first segment of repositories.
type Project struct {
	Number int64
	Name   string
	Public bool
}

// Projects are those in the configuration, those of events, and those that a client has written to.
type Projects interface {
	Projects(ctx context.Context) ([]Project, error)
	// Project returns the project with a name, whether or not Projects lists it. It stores
	// nothing.
	Project(ctx context.Context, name string) (Project, error)
	// Numbered returns the project with a number, or manage.ErrNotFound.
	Numbered(ctx context.Context, number int64) (Project, error)
}

// History returns deliveries and their events.
type History interface {
	// Deliveries returns deliveries of events of the account's projects. The webhooks must be
	// in the account's scope.
	Deliveries(ctx context.Context, by access.Principal, q store.DeliveryQuery) ([]store.Delivery, error)
	// Attempts returns the attempts of a delivery in scope, as the account may see them.
	Attempts(ctx context.Context, by access.Principal, delivery int64) ([]store.Attempt, error)
	// Type returns the type of an event, or "" if it was removed.
	Type(ctx context.Context, event string) (string, error)
	// LastFired returns the time of a webhook's last event of each type.
	LastFired(ctx context.Context, key string) (map[string]time.Time, error)
}

// System returns the state of the running bellbuoy.
type System interface {
	Version() string
	ExternalURL() string
	Healthy() error
}
