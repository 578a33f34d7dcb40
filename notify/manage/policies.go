package manage

import (
	"context"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
)

// Policy is a webhook with what Harbor's API shows beyond a [Webhook].
type Policy struct {
	Webhook
	// Address and AuthHeader are not masked if Harbor's API has set them: its clients compare
	// them with what they sent.
	Address    string
	AuthHeader string
	Enabled    bool   // and not disabled
	Told       []byte // the policy as it was sent to Harbor's API; nil: it was not made there
}

// PolicyChange holds the settings of a webhook that a policy of Harbor's API has.
type PolicyChange struct {
	Name        string // "": unchanged
	Description string
	Enabled     bool
	Address     string
	AuthHeader  string
	SkipVerify  bool
	Format      string
	Events      []string
	Told        []byte
}

// Policies returns the webhooks in scope of a project. A webhook of the file that names no projects
// counts for each of them.
func (d *AccountWebhooks) Policies(ctx context.Context, by access.Principal, project string) ([]Policy, error) {
	stored, _, err := d.Stored.All(ctx)
	if err != nil {
		return nil, err
	}
	var found []Policy
	set := d.Running.Set()
	for _, h := range set.All {
		ofProject := len(h.Projects()) == 0 || slices.Contains(h.Projects(), project)
		if h.Stored == nil && ofProject && by.MayAll(h.Projects()) {
			w := d.ofFile(h)
			found = append(found, Policy{Webhook: w, Address: w.Complete.URL, Enabled: h.Enabled && !d.Dispatcher.Disabled(h.Name)})
		}
	}
	for i := range stored {
		s := &stored[i]
		if s.Project != project || !by.May(project) {
			continue
		}
		w, err := ofStore(s, set)
		if err != nil {
			return nil, err
		}
		p := Policy{Webhook: w, Address: w.Definition.URL, AuthHeader: w.Definition.AuthHeader, Told: s.Policy,
			Enabled: w.Definition.Enabled && !d.Dispatcher.Disabled(s.Key)}
		if s.Policy != nil {
			def, err := definitionOf(s)
			if err != nil {
				return nil, err
			}
			p.Address, p.AuthHeader = def.URL, def.AuthHeader
		}
		found = append(found, p)
	}
	return found, nil
}

// MakePolicy is Make with the settings that Harbor's API has. It returns the webhook's number.
func (d *AccountWebhooks) MakePolicy(ctx context.Context, by access.Principal, project string, c PolicyChange) (int64, error) {
	return d.make(ctx, by, project, c.applied(Definition{Format: c.Format, Events: c.Events}, Definition{}), c.Told)
}

// ChangePolicy changes the settings that Harbor's API has. The others stay. A policy that is
// enabled also enables a webhook that was switched off.
func (d *AccountWebhooks) ChangePolicy(ctx context.Context, by access.Principal, number int64, c PolicyChange) error {
	var key string
	err := d.change(ctx, by, number, 0, "webhook changed", func(s *notify.Stored) error {
		old, err := definitionOf(s)
		if err != nil {
			return err
		}
		had, complete := s.Policy, old
		if h, err := d.Running.build(s); err == nil {
			complete = h.Complete
			h.Client.Close()
		}
		if err := d.redefine(s, by, c.applied(old.masked(), complete)); err != nil {
			return err
		}
		key = s.Key
		// The masked value was set elsewhere, so this API must not show it.
		if s.Policy = c.Told; had == nil && (c.AuthHeader == Mask || strings.Contains(c.Address, Mask)) {
			s.Policy = nil
		}
		return nil
	})
	if err == nil && c.Enabled && d.Dispatcher.Disabled(key) {
		err = d.Dispatcher.Enable(ctx, key)
	}
	return err
}

// applied returns a definition with the policy's settings. It does not change format and events if
// the complete definition has the same values.
func (c PolicyChange) applied(def, complete Definition) Definition {
	if c.Name != "" {
		def.Name = c.Name
	}
	if c.Format != complete.Format {
		def.Format = c.Format
	}
	if !sameEvents(c.Events, complete.Events) {
		def.Events = c.Events
	}
	def.Description, def.Enabled, def.URL, def.AuthHeader = c.Description, c.Enabled, c.Address, c.AuthHeader
	// An http address does not use it. The policy keeps it for the API's answers.
	def.TLS.InsecureSkipVerify = c.SkipVerify && strings.HasPrefix(strings.ToLower(c.Address), "https:")
	return def
}

func sameEvents(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
