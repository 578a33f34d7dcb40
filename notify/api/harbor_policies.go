package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// EventTypes returns the types that a policy may have: bellbuoy's types, and two of Harbor's that
// never occur here.
func EventTypes() []string {
	return []string{
		"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "DELETE_TAG", "UPLOAD_CHART", "DOWNLOAD_CHART", "DELETE_CHART",
		"SCANNING_COMPLETED", "SCANNING_FAILED", "SCANNING_STOPPED", "QUOTA_EXCEED", "QUOTA_WARNING", "REPLICATION", "TAG_RETENTION",
	}
}

// neverOccur lists the types of Harbor that do not occur here.
var neverOccur = []string{"SCANNING_STOPPED", "TAG_RETENTION"}

// policyJSON is a policy in Harbor's form: it omits false and empty values, except enabled.
type policyJSON struct {
	ID          int64        `json:"id,omitempty"`
	Name        string       `json:"name,omitempty"`
	Description string       `json:"description,omitempty"`
	Project     int64        `json:"project_id,omitempty"`
	Targets     []targetJSON `json:"targets"`
	Events      []string     `json:"event_types"`
	Creator     string       `json:"creator,omitempty"`
	Made        harborTime   `json:"creation_time"`
	Changed     harborTime   `json:"update_time"`
	Enabled     bool         `json:"enabled"`
}

type targetJSON struct {
	Type       string `json:"type,omitempty"`
	Address    string `json:"address,omitempty"`
	AuthHeader string `json:"auth_header,omitempty"`
	SkipVerify bool   `json:"skip_cert_verify,omitempty"`
	Format     string `json:"payload_format,omitempty"`
	// TerraformFormat is payload_format under the name that terraform-provider-harbor writes
	// and reads.
	TerraformFormat string `json:"payload_format:omitempty,omitempty"`
}

// harborTime is a time in go-swagger's form. Unlike time.Time, it is not omitted when it is zero.
type harborTime time.Time

// MarshalText writes milliseconds, in UTC.
func (t harborTime) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05.000Z")), nil
}

// UnmarshalText accepts any text, because times from a client are ignored.
func (t *harborTime) UnmarshalText([]byte) error { return nil }

// shownPolicy returns a webhook as a policy of a project. It keeps the client's spelling of
// settings that have not changed.
func shownPolicy(w manage.Policy, p Project) policyJSON {
	def := &w.Complete
	shown := policyJSON{Events: def.Events, Enabled: w.Enabled, Targets: []targetJSON{{Type: "http", Address: w.Address,
		AuthHeader: w.AuthHeader, SkipVerify: def.TLS.InsecureSkipVerify, Format: formatWord(def.Format)}}}
	if def.Format == "slack" {
		shown.Targets[0].Type, shown.Targets[0].Format = "slack", ""
	}
	var sent policyJSON
	if w.Told != nil && json.Unmarshal(w.Told, &sent) == nil && len(sent.Targets) == 1 {
		shown.keepSpelling(sent)
	}
	shown.ID, shown.Name, shown.Description, shown.Project = w.Number, w.Name, w.Definition.Description, p.Number
	shown.Creator, shown.Made, shown.Changed = w.Maker, harborTime(w.Made), harborTime(w.Changed)
	shown.Events = orEmpty(shown.Events)
	return shown
}

// keepSpelling replaces settings by those of sent, if they mean the same.
func (p *policyJSON) keepSpelling(sent policyJSON) {
	meant, err := sent.change()
	if err != nil {
		return
	}
	now, was := &p.Targets[0], sent.Targets[0]
	if slices.Equal(meant.Events, p.Events) || len(meant.Events) == 0 && !p.Enabled {
		p.Events = sent.Events
	}
	if meant.Enabled == p.Enabled {
		p.Enabled = sent.Enabled
	}
	if meant.Address == now.Address {
		now.Address = was.Address
	}
	if plain := !strings.HasPrefix(strings.ToLower(meant.Address), "https:"); plain && !now.SkipVerify {
		now.SkipVerify = was.SkipVerify
	}
	if now.Type == was.Type && (now.Type == "slack" || formatOf(now.Format) == meant.Format) {
		now.Format, now.TerraformFormat = was.Format, was.TerraformFormat
	}
}

// formatWord returns Harbor's name for a format, or bellbuoy's if Harbor has none.
func formatWord(format string) string {
	switch format {
	case "harbor":
		return "Default"
	case "cloudevents":
		return "CloudEvents"
	}
	return format
}

func formatOf(word string) string {
	switch word {
	case "", "Default":
		return "harbor"
	case "CloudEvents":
		return "cloudevents"
	}
	return word
}

// policies returns the webhooks of a project that the account may see.
func (h *Harbor) policies(c *call) ([]manage.Policy, error) {
	return h.Webhooks.Policies(c.Context(), c.by, c.project.Name)
}

func (h *Harbor) policyOf(c *call) (manage.Policy, error) {
	number, err := c.number("policy")
	if err != nil {
		return manage.Policy{}, err
	}
	all, err := h.policies(c)
	if err != nil {
		return manage.Policy{}, err
	}
	i := slices.IndexFunc(all, func(w manage.Policy) bool { return w.Number == number })
	if i < 0 {
		return manage.Policy{}, fmt.Errorf("%w: webhook policy %d not found", manage.ErrNotFound, number)
	}
	return all[i], nil
}

func (h *Harbor) listPolicies(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	terms, err := c.terms("name", "id")
	if err != nil {
		return err
	}
	all, err := h.policies(c)
	if err != nil {
		return err
	}
	var found []policyJSON
	for _, w := range all {
		values := map[string]string{"name": w.Name, "id": strconv.FormatInt(w.Number, 10)}
		if !slices.ContainsFunc(terms, func(t term) bool { return !t.meets(values[t.key]) }) {
			found = append(found, shownPolicy(w, c.project))
		}
	}
	err = sorted(c, found, map[string]func(a, b policyJSON) int{
		"id":            byField(func(p policyJSON) int64 { return p.ID }),
		"name":          byField(func(p policyJSON) string { return p.Name }),
		"creation_time": func(a, b policyJSON) int { return time.Time(a.Made).Compare(time.Time(b.Made)) },
		"update_time":   func(a, b policyJSON) int { return time.Time(a.Changed).Compare(time.Time(b.Changed)) },
	})
	if err != nil {
		return err
	}
	return answerPage(c, p, found)
}

func (h *Harbor) getPolicy(c *call) error { return c.answer(shownPolicy(c.webhook, c.project)) }

func (h *Harbor) createPolicy(c *call) error {
	change, err := c.policy()
	if err != nil {
		return err
	}
	if change.Name == "" {
		return fmt.Errorf("%w: name is missing", ErrInvalid)
	}
	number, err := h.Webhooks.MakePolicy(c.Context(), c.by, c.project.Name, change)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", fmt.Sprintf("%s/%d", strings.TrimSuffix(c.URL.EscapedPath(), "/"), number))
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (h *Harbor) updatePolicy(c *call) error {
	if err := fileOnly(c.webhook); err != nil {
		return err
	}
	change, err := c.policy()
	if err != nil {
		return err
	}
	return h.Webhooks.ChangePolicy(c.Context(), c.by, c.webhook.Number, change)
}

func (h *Harbor) deletePolicy(c *call) error {
	if err := fileOnly(c.webhook); err != nil {
		return err
	}
	return h.Webhooks.Remove(c.Context(), c.by, c.webhook.Number)
}

// fileOnly refuses to change a webhook of the file.
func fileOnly(w manage.Policy) error {
	if w.Source == "" {
		return nil
	}
	return fmt.Errorf("%w: webhook %s is defined in %s, and can be changed only there", manage.ErrForbidden, w.Name, w.Source)
}

// policy reads the body of a request. It ignores the id and the project, which the path names, and
// unknown keys, which some clients send.
func (c *call) policy() (manage.PolicyChange, error) {
	body, err := io.ReadAll(c.Body)
	if err != nil {
		return manage.PolicyChange{}, fmt.Errorf("%w: reading the body: %w", ErrInvalid, err)
	}
	var p policyJSON
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&p); err != nil {
		return manage.PolicyChange{}, fmt.Errorf("%w: the body is not a policy in JSON: %w", ErrInvalid, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return manage.PolicyChange{}, fmt.Errorf("%w: the body continues after the policy", ErrInvalid)
	}
	return p.change()
}

func (p policyJSON) change() (manage.PolicyChange, error) {
	if len(p.Events) == 0 {
		return manage.PolicyChange{}, fmt.Errorf("%w: empty event type", ErrInvalid)
	}
	var events []string
	for _, e := range p.Events {
		switch {
		case !slices.Contains(EventTypes(), e):
			return manage.PolicyChange{}, fmt.Errorf("%w: unsupported event type %.64s", ErrInvalid, e)
		case !slices.Contains(neverOccur, e) && !slices.Contains(events, e):
			events = append(events, e)
		}
	}
	if len(p.Targets) != 1 {
		return manage.PolicyChange{}, fmt.Errorf("%w: a policy has one target here, not %d; make a policy for each", ErrInvalid, len(p.Targets))
	}
	t := &p.Targets[0]
	if t.Format == "" {
		t.Format = t.TerraformFormat
	}
	change := manage.PolicyChange{Name: p.Name, Description: p.Description, Enabled: p.Enabled && len(events) > 0, Address: withScheme(t.Address),
		AuthHeader: t.AuthHeader, SkipVerify: t.SkipVerify, Format: formatOf(t.Format), Events: events}
	switch {
	case t.Type == "slack" && t.Format != "":
		return manage.PolicyChange{}, fmt.Errorf("%w: payload_format is not for targets of type slack", ErrInvalid)
	case t.Type == "slack":
		change.Format = "slack"
	case t.Type != "http":
		return manage.PolicyChange{}, fmt.Errorf("%w: unsupported target type %.64s; there are http and slack", ErrInvalid, t.Type)
	case t.Format == "":
		t.Format = "Default"
	}
	sent := policyJSON{Events: p.Events, Enabled: p.Enabled, Targets: []targetJSON{*t}}
	sent.Targets[0].AuthHeader = ""
	var err error
	change.Told, err = json.Marshal(sent)
	return change, err
}

// withScheme returns the address with a scheme. The default is http, as in Harbor.
func withScheme(address string) string {
	if address == "" || strings.Contains(address, "://") {
		return address
	}
	return "http://" + address
}
