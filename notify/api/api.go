// Package api serves the part of Harbor's REST API (/api/v2.0) that manages webhooks, so that
// terraform-provider-harbor, harbor-cli and Harbor's go-client work with bellbuoy unchanged.
//
// The account is in the request's context ([access.PrincipalOf]). A request without one is refused.
// Each route has a scope, and the router applies it before the handler runs: a handler never sees a
// project or a webhook that is not the account's.
//
// The package knows HTTP and Harbor's words. Webhooks, projects and deliveries come through the
// interfaces below, which cmd and notify/manage implement.
package api

import (
	"context"
	"errors"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// ErrInvalid is wrapped by what is wrong with a request, beside [manage.Problems].
var ErrInvalid = errors.New("invalid")

// Webhooks are those of the file and of the store, as Harbor's API sees them.
type Webhooks interface {
	// Policies returns the webhooks of a project that the account may see.
	Policies(ctx context.Context, by access.Principal, project string) ([]manage.Policy, error)
	// MakePolicy returns the number of the new webhook, which works when MakePolicy has
	// returned.
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
	// Project is a project by its name, whether or not it is among Projects. Nothing is stored
	// by it.
	Project(ctx context.Context, name string) (Project, error)
	// Numbered is a project by its number; manage.ErrNotFound: no project has it.
	Numbered(ctx context.Context, number int64) (Project, error)
}

// History has the deliveries of events.
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

// System has the state of the running bellbuoy.
type System interface {
	Version() string
	ExternalURL() string
	Healthy() error
}
