// Package manage implements what accounts see and do with webhooks, deliveries, events and
// projects. The console, /api/v1, Harbor's API and the commands all call it, so that each rule is
// written once. It does not depend on HTTP.
//
// Each method of [Desk] gets the account of the request. The account's scope is the set of projects
// that it may see. A method returns [ErrNotFound] for everything outside the scope, and
// [ErrForbidden] for a change that the account may not make to something that it sees. A method
// that changes something logs the account.
//
// [Running] holds the webhooks in use, those of the file and those of the store. It applies changes
// of both.
package manage

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/counters"
)

// Errors of all methods.
var (
	ErrNotFound  = errors.New("not found")
	ErrConflict  = errors.New("conflict")
	ErrForbidden = errors.New("forbidden")
	// ErrNoRoom means that the disk has too little free space.
	ErrNoRoom = errors.New("no room")
	// ErrChanged is an ErrConflict: the object no longer has the version that the caller gave.
	ErrChanged = fmt.Errorf("%w: it was changed meanwhile", ErrConflict)
)

// Problem is one fault of a definition or a query.
type Problem struct {
	Field   string // the key as in the configuration file, such as match.tags[0]; "": the whole
	Message string // never contains a secret
}

// Problems is the error of an invalid definition or query. It is never empty.
type Problems []Problem

// Error returns each problem as "field: message".
func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		if texts[i] = p.Message; p.Field != "" {
			texts[i] = p.Field + ": " + p.Message
		}
	}
	return strings.Join(texts, "; ")
}

// problem returns Problems with one entry.
func problem(field, format string, args ...any) Problems {
	return Problems{{field, fmt.Sprintf(format, args...)}}
}

// Desk implements the operations of accounts, by subject.
type Desk struct {
	*Parts
	AccountWebhooks
	AccountDeliveries
	AccountEvents
}

// AccountWebhooks reads, changes and tests webhooks within an account's scope.
type AccountWebhooks struct{ *Parts }

// AccountDeliveries reads and repeats deliveries within an account's scope.
type AccountDeliveries struct{ *Parts }

// AccountEvents reads, explains and counts recorded events within an account's scope.
type AccountEvents struct {
	*Parts
	webhooks   *AccountWebhooks
	deliveries *AccountDeliveries
}

// Parts are what a desk works with. All fields must be set.
type Parts struct {
	Running    *Running
	Stored     *notify.Webhooks
	Dispatcher *notify.Dispatcher
	Numbers    *notify.Numbers
	Counters   *counters.Counters
	Cursors    *Cursors
	Log        *zap.Logger
}

// NewDesk returns a desk.
func NewDesk(p Parts) *Desk {
	d := &Desk{Parts: &p, AccountWebhooks: AccountWebhooks{&p}, AccountDeliveries: AccountDeliveries{&p}}
	d.AccountEvents = AccountEvents{&p, &d.AccountWebhooks, &d.AccountDeliveries}
	return d
}
