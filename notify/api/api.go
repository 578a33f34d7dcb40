// Package api serves the part of Harbor's REST API (/api/v2.0) that manages webhooks, so that
// terraform-provider-harbor, harbor-cli and Harbor's go-client work with bellbuoy unchanged.
//
// The account is in the request's context ([access.PrincipalOf]). A request without one is refused.
// Each route has a scope, and the router applies it before the handler runs: a handler never sees a
// project or a webhook that is not the account's.
//
// The package knows HTTP and Harbor's words. Webhooks, projects and deliveries come through the
// interfaces below, which cmd implements.
package api

import (
	"context"
	"errors"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Errors that the interfaces answer with.
var (
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("the name is taken")
	ErrForbidden = errors.New("forbidden")
	ErrInvalid   = errors.New("invalid") // wrapped by what is wrong with the request
)

// Webhook is a webhook as the API shows it.
type Webhook struct {
	Number      int64
	Key         string   // of its deliveries
	Name        string   // within its project
	Projects    []string // whose it is; of the file: those that match.projects names, if it names them all
	File        string   // the place in the configuration file; "": it is in the store and can be changed
	Description string
	Enabled     bool
	Address     string
	AuthHeader  string // of the store's only
	SkipVerify  bool
	Format      string
	Events      []string
	Maker       string
	Made        time.Time
	Changed     time.Time
	Policy      []byte // of the store's: the policy as Harbor's API was told it; nil: it was not
}

// Change is what a policy asks for.
type Change struct {
	Name        string // "": as it is
	Description string
	Enabled     bool
	Address     string
	AuthHeader  string
	SkipVerify  bool
	Format      string
	Events      []string
	Policy      []byte
}

// Webhooks are those of the file and of the store.
type Webhooks interface {
	Webhooks(ctx context.Context) ([]Webhook, error)
	// Make stores a webhook of a project and returns its number; it works when Make has
	// returned.
	Make(ctx context.Context, by access.Principal, project string, c Change) (int64, error)
	Change(ctx context.Context, by access.Principal, number int64, c Change) error
	// Remove deletes a webhook. What waits for it becomes dead letters.
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
	// Numbered is a project by its number; ErrNotFound: no project has it.
	Numbered(ctx context.Context, number int64) (Project, error)
}

// History has the deliveries of events.
type History interface {
	Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error)
	Attempts(ctx context.Context, delivery int64) ([]store.Attempt, error)
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
