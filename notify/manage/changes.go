package manage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
)

// mostDefinition bounds a definition in JSON.
const mostDefinition = 64 << 10

var errTooLarge = problem("", "the definition is larger than %d KiB", mostDefinition>>10)

var projectName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:(?:\.|_|__|-+)[a-zA-Z0-9]+)*$`)

// ValidProject reports whether a repository or a chart can be in a project of that name.
func ValidProject(name string) bool { return len(name) <= 255 && projectName.MatchString(name) }

// Make stores a webhook of a project. The webhook is in use when Make returns.
func (d *AccountWebhooks) Make(ctx context.Context, by access.Principal, project string, def Definition) (Webhook, error) {
	number, err := d.make(ctx, by, project, def, nil)
	if err != nil {
		return Webhook{}, err
	}
	return d.Webhook(ctx, by, number)
}

// make stores a webhook; policy is the policy of Harbor's API, or nil.
func (d *AccountWebhooks) make(ctx context.Context, by access.Principal, project string, def Definition, policy []byte) (int64, error) {
	if !by.May(project) || !ValidProject(project) {
		return 0, fmt.Errorf("%w: project %.255s not found", ErrNotFound, project)
	}
	def, err := def.unmasked(Definition{}, false)
	if err != nil {
		return 0, err
	}
	if err := d.checkCount(ctx, by); err != nil {
		return 0, err
	}
	s := notify.Stored{Key: project + "/" + def.Name, Project: project, Maker: by.Name, Limited: !by.Administrator, Policy: policy}
	if err := d.define(by, &s, def); err != nil {
		return 0, err
	}
	if err := d.Numbers.GiveProjects(ctx, project); err != nil {
		return 0, err
	}
	made, err := d.Stored.Make(ctx, s)
	if err != nil {
		return 0, changeError(err, "")
	}
	d.audit("webhook made", by, &made)
	return made.Number, d.follow(ctx)
}

// checkCount refuses another webhook of a limited account that has many, so that it leaves room for
// those of others.
func (d *AccountWebhooks) checkCount(ctx context.Context, by access.Principal) error {
	if by.Administrator {
		return nil
	}
	all, _, err := d.Stored.All(ctx)
	if err != nil {
		return err
	}
	n := 0
	for i := range all {
		if all[i].Limited && all[i].Maker == by.Name {
			n++
		}
	}
	if n >= mostOfMaker {
		return problem("", "an account limited to projects may make %d webhooks", mostOfMaker)
	}
	return nil
}

// define sets the definition of a webhook if it is valid under the configuration in use.
func (d *AccountWebhooks) define(by access.Principal, s *notify.Stored, def Definition) (err error) {
	s.Name = def.Name
	if namesTaken(d.Running.Set().from.Hooks)(s.Project, s.Name) {
		return fmt.Errorf("%w: the configuration file has a webhook %s", ErrConflict, s.Name)
	}
	if s.Definition, err = json.Marshal(def); err != nil {
		return err
	}
	if len(s.Definition) > mostDefinition {
		return errTooLarge
	}
	h, err := d.Running.build(s)
	if err != nil {
		return d.definitionError(by, err)
	}
	h.Client.Close()
	return nil
}

// Change replaces the definition of a webhook of the store. The error is ErrChanged if version is
// neither 0 nor the webhook's version.
func (d *AccountWebhooks) Change(ctx context.Context, by access.Principal, number, version int64, def Definition) (Webhook, error) {
	err := d.change(ctx, by, number, version, "webhook changed", func(s *notify.Stored) error {
		return d.redefine(s, by, def)
	})
	if err != nil {
		return Webhook{}, err
	}
	return d.Webhook(ctx, by, number)
}

// redefine replaces a definition. It keeps the policy of Harbor's API unless Authorization changes:
// that API shows Authorization only if it was set there.
func (d *AccountWebhooks) redefine(s *notify.Stored, by access.Principal, def Definition) error {
	old, err := definitionOf(s)
	if err != nil {
		return err
	}
	if def, err = def.unmasked(old, false); err != nil {
		return err
	}
	if def.AuthHeader != old.AuthHeader {
		s.Policy = nil
	}
	s.Limited = s.Limited || !by.Administrator
	return d.define(by, s, def)
}

// errStale ends a transaction whose webhook was changed since it was read.
var errStale = errors.New("stale")

// change applies edit to a webhook of the store. edit runs outside of the transaction, because it
// renders templates. It runs again if another change came first.
func (d *AccountWebhooks) change(ctx context.Context, by access.Principal, number, version int64, did string, edit func(*notify.Stored) error) error {
	for {
		old, err := d.editable(ctx, by, number)
		if err != nil {
			return err
		}
		if version != 0 && old.Version != version {
			return fmt.Errorf("%w: webhook %s has version %d", ErrChanged, old.Name, old.Version)
		}
		next := old
		if err := edit(&next); err != nil {
			return err
		}
		_, err = d.Stored.Change(ctx, number, func(s *notify.Stored) error {
			if s.Version != old.Version {
				return errStale
			}
			*s = next
			return nil
		})
		if errors.Is(err, errStale) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return changeError(err, old.Name)
		}
		d.audit(did, by, &next)
		return d.follow(ctx)
	}
}

// editable returns a webhook of the store that the account may change.
func (d *AccountWebhooks) editable(ctx context.Context, by access.Principal, number int64) (notify.Stored, error) {
	w, err := d.one(ctx, by, number)
	if err != nil {
		return notify.Stored{}, err
	}
	if w.Source != "" {
		return notify.Stored{}, fmt.Errorf("%w: webhook %s is defined in %s, and can be changed only there", ErrForbidden, w.Name, w.Source)
	}
	s, err := d.Stored.Get(ctx, number)
	if err != nil {
		return s, changeError(err, w.Name)
	}
	return s, nil
}

// Remove deletes a webhook of the store. Its pending deliveries become dead letters.
func (d *AccountWebhooks) Remove(ctx context.Context, by access.Principal, number int64) error {
	old, err := d.editable(ctx, by, number)
	if err != nil {
		return err
	}
	if err := d.Stored.Remove(ctx, number, func(notify.Stored) error { return nil }); err != nil {
		return changeError(err, old.Name)
	}
	d.audit("webhook deleted", by, &old)
	return d.follow(ctx)
}

// TakeOver removes the limits of limited accounts from a webhook. Administrators only.
func (d *AccountWebhooks) TakeOver(ctx context.Context, by access.Principal, number int64) error {
	if _, err := d.one(ctx, by, number); err != nil {
		return err
	}
	if !by.Administrator {
		return fmt.Errorf("%w: only accounts without a limit to projects may take a webhook over", ErrForbidden)
	}
	return d.change(ctx, by, number, 0, "webhook taken over: no limits apply to it any more", func(s *notify.Stored) error {
		def, err := definitionOf(s)
		if err != nil {
			return err
		}
		s.Limited = false
		return d.define(by, s, def)
	})
}

// Enable resumes a webhook that was disabled by hand or by a 410 of its receiver. It also sets
// enabled of a webhook of the store.
func (d *AccountWebhooks) Enable(ctx context.Context, by access.Principal, number int64) error {
	w, err := d.switchable(ctx, by, number)
	if err != nil {
		return err
	}
	switch {
	case w.Definition.Enabled:
	case w.Source != "":
		return problem("enabled", "is false in %s, and can be changed only there", w.Source)
	default:
		err = d.change(ctx, by, number, 0, "webhook changed", func(s *notify.Stored) error {
			def, err := definitionOf(s)
			if err != nil {
				return err
			}
			def.Enabled = true
			return d.redefine(s, by, def)
		})
		if err != nil {
			return err
		}
	}
	if err := d.Dispatcher.Enable(ctx, w.Key); err != nil {
		return d.switchError(by, &w, err)
	}
	d.log("webhook enabled", by, w.Key, number)
	return nil
}

// Disable stops the deliveries of a webhook until Enable. They are still planned, and wait.
func (d *AccountWebhooks) Disable(ctx context.Context, by access.Principal, number int64) error {
	w, err := d.switchable(ctx, by, number)
	if err != nil {
		return err
	}
	if err := d.Dispatcher.Disable(ctx, w.Key); err != nil {
		return d.switchError(by, &w, err)
	}
	d.log("webhook disabled: its deliveries wait", by, w.Key, number)
	return nil
}

// switchable returns a webhook that the account may enable and disable. Only administrators may
// switch webhooks of the file.
func (d *AccountWebhooks) switchable(ctx context.Context, by access.Principal, number int64) (Webhook, error) {
	w, err := d.one(ctx, by, number)
	if err == nil && w.Source != "" && !by.Administrator {
		err = fmt.Errorf("%w: webhook %s is defined in %s, and is switched by accounts without limits only", ErrForbidden, w.Name, w.Source)
	}
	return w, err
}

// switchError explains why a webhook cannot be switched: a webhook that is not in use has no lane.
func (d *AccountWebhooks) switchError(by access.Principal, w *Webhook, err error) error {
	if why := d.whyOff(by, w.Number); why != "" && errors.Is(err, notify.ErrNoWebhook) {
		return fmt.Errorf("%w: webhook %s is off: %s", ErrConflict, w.Name, why)
	}
	return changeError(err, w.Name)
}

// follow applies a change to this replica, even if the client has disconnected.
func (d *AccountWebhooks) follow(ctx context.Context) error {
	return d.Running.Follow(context.WithoutCancel(ctx))
}

// audit logs who changed a webhook.
func (d *AccountWebhooks) audit(did string, by access.Principal, s *notify.Stored) {
	d.Log.Info(did, zap.String("account", by.Name), zap.String("project", s.Project), zap.String("webhook", s.Name), zap.Int64("number", s.Number))
}

// log logs who did something with a webhook of the file or of the store.
func (d *AccountWebhooks) log(did string, by access.Principal, key string, number int64) {
	d.Log.Info(did, zap.String("account", by.Name), zap.String("webhook", key), zap.Int64("number", number))
}

// changeError translates an error of the store's webhooks.
func changeError(err error, name string) error {
	switch {
	case errors.Is(err, notify.ErrNoWebhook):
		return noWebhook(name)
	case errors.Is(err, notify.ErrNameTaken):
		return fmt.Errorf("%w: %w", ErrConflict, notify.ErrNameTaken)
	case errors.Is(err, notify.ErrTooMany):
		return problem("", "%v", notify.ErrTooMany)
	}
	return err
}

// NewSigningSecret returns a new secret of Standard Webhooks.
func (d *AccountWebhooks) NewSigningSecret() string {
	key := make([]byte, 24)
	_, _ = rand.Read(key) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// definitionError returns what is wrong with a webhook as an account may see it, and logs what the
// account does not see.
func (d *AccountWebhooks) definitionError(by access.Principal, err error) error {
	if _, denied := errors.AsType[notAllowed](err); !denied || by.Administrator {
		return err
	}
	d.Log.Info("endpoint denied to a limited account", zap.String("account", by.Name), zap.String("error", err.Error()))
	return problem("url", NotAllowed)
}
