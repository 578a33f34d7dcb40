package console

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/format/presets"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func (c *Console) addWebhookForm() {
	c.mux.Handle("GET "+webhooksPath+"/new", c.page(newWebhook))
	c.mux.Handle("POST "+webhooksPath+"/new", c.page(newWebhook))
	c.mux.Handle("GET "+webhooksPath+"/{number}/edit", c.page(editWebhook))
	c.mux.Handle("POST "+webhooksPath+"/{number}/edit", c.page(editWebhook))
}

// webhookForm is the page of a new webhook, or of one that is edited.
type webhookForm struct {
	Form    form
	Number  int64 // 0: new
	Version int64
	Webhook manage.Webhook // as it is saved
	Project string         // of a saved one

	Events      []option
	Presets     []option
	Formats     []option
	Projects    string // that a limited account may choose
	Preset      *presets.Preset
	KeptSecrets int    // signing secrets that are saved
	NewSecret   string // made by this request

	Sent    *manage.Sent
	Body    *manage.Body
	Matched *manage.Matched
	NoBody  string // why there is no preview
}

func newWebhook(v *pageRequest) error {
	d := manage.Definition{Enabled: true, Timeout: "15s"}
	f := &webhookForm{Project: v.URL.Query().Get("project")}
	if f.Project == "" && len(v.by.Projects) == 1 && !strings.ContainsAny(v.by.Projects[0], `*?[]{}\`) {
		f.Project = v.by.Projects[0]
	}
	return v.editDefinition(f, d)
}

func editWebhook(v *pageRequest) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	w, err := v.c.Webhooks.Webhook(v.Context(), v.by, n)
	switch {
	case err != nil:
		return err
	case !w.Editable && w.Source != "":
		return fmt.Errorf("%w: the webhook %s is in the configuration file (%s); edit it there", manage.ErrForbidden, w.Name, w.Source)
	case !w.Editable:
		return manage.ErrForbidden
	}
	return v.editDefinition(&webhookForm{Number: n, Version: w.Version, Webhook: w, Project: w.Project}, w.Definition)
}

// editDefinition shows the form, or does what its buttons ask for.
func (v *pageRequest) editDefinition(f *webhookForm, d manage.Definition) error {
	f.KeptSecrets = len(d.SigningSecrets)
	if v.Method == http.MethodGet {
		f.Form = newForm(valuesOf(d, f.Project))
		return v.showForm(f, d)
	}
	if err := v.ParseForm(); err != nil {
		return fmt.Errorf("%w: the form cannot be read", errBadRequest)
	}
	f.Form = newForm(v.PostForm)
	if version, err := strconv.ParseInt(f.Form.Value("version"), 10, 64); err == nil {
		f.Version = version
	}
	f.Project = f.Form.Value("project")
	d = f.Form.definition(d)
	switch f.Form.Value("do") {
	case "preset":
		f.usePreset(&d)
	case "secret":
		f.NewSecret = v.c.Drafts.NewSigningSecret()
	case "preview":
		v.count(f, d)
	case "test":
		v.test(f, d)
	default:
		return v.save(f, d)
	}
	return v.showForm(f, d)
}

// usePreset takes over the preset's types of events.
func (f *webhookForm) usePreset(d *manage.Definition) {
	f.Form.values.Set("notify_type", "http")
	f.Form.values.Set("format", "")
	d.Format, d.Events = "", nil
	f.Form.values["events"] = effectiveEvents(*d)
	f.Form.values.Set("events_default", "true")
}

func (v *pageRequest) save(f *webhookForm, d manage.Definition) (err error) {
	if f.Form.Problems() {
		return v.showForm(f, d)
	}
	w := f.Webhook
	if f.Number == 0 {
		w, err = v.c.Drafts.Make(v.Context(), v.by, f.Project, d)
	} else {
		w, err = v.c.Drafts.Change(v.Context(), v.by, f.Number, f.Version, d)
	}
	if err != nil {
		return v.refused(f, d, err)
	}
	v.redirect(fmt.Sprintf("%s/%d?done=saved", webhooksPath, w.Number), nil)
	return nil
}

// refused shows the form again with what is wrong, or returns the error if that is not the form's.
func (v *pageRequest) refused(f *webhookForm, d manage.Definition, err error) error {
	problems, ok := errors.AsType[manage.Problems](err)
	switch {
	case ok:
		f.Form.blame(problems, fieldNames)
	case errors.Is(err, manage.ErrChanged):
		f.Form.problems[""] = "Nothing is saved: somebody else has changed this webhook since you opened it. Open it again to see their change."
	case errors.Is(err, manage.ErrConflict):
		f.Form.problems["name"] = sentence(plainText(err))
	case errors.Is(err, manage.ErrNotFound) && f.Number == 0:
		f.Form.problems["project"] = sentence(plainText(err))
	default:
		return err
	}
	return v.showForm(f, d)
}

func (v *pageRequest) test(f *webhookForm, d manage.Definition) {
	if f.Form.Problems() {
		return
	}
	sent, err := v.c.Drafts.TestDefinition(v.Context(), v.by, f.Project, f.Number, d, f.sample())
	if problems, ok := errors.AsType[manage.Problems](err); ok {
		f.Form.blame(problems, fieldNames)
		return
	}
	if err != nil {
		sent = manage.Sent{Error: plainText(err)}
	}
	f.Sent = &sent
}

// count finds out how many of the last day's events the filters let through.
func (v *pageRequest) count(f *webhookForm, d manage.Definition) {
	if matched, err := v.c.Drafts.Matching(v.Context(), v.by, f.Project, f.Number, d, time.Now().Add(-24*time.Hour)); err == nil {
		f.Matched = &matched
	}
}

// sample is the type of event that previews and tests show.
func (f *webhookForm) sample() string {
	if s := f.Form.Value("sample"); eventWords[detect.Type(s)] != "" {
		return s
	}
	if events := f.Form.values["events"]; len(events) > 0 && !f.Form.Has("events", string(detect.PushArtifact)) {
		return events[0]
	}
	return string(detect.PushArtifact)
}

// showForm fills what the form offers, and the preview.
func (v *pageRequest) showForm(f *webhookForm, d manage.Definition) error {
	if f.Project == "" {
		f.NoBody = "The body appears once the webhook has a project."
	} else if body, err := v.c.Drafts.Preview(v.Context(), v.by, f.Project, f.Number, d, f.sample()); err == nil {
		f.Body = &body
	} else {
		f.NoBody = "The body appears once the fields are right. " + sentence(plainText(err))
	}
	f.Form.values.Set("sample", f.sample())
	if v.Header.Get("X-Fragment") == "aside" {
		v.fragment("webhookform", "aside", f)
		return nil
	}
	f.offer()
	if !v.by.Administrator && len(v.by.Projects) > 1 {
		f.Projects = "Yours are " + strings.Join(v.by.Projects, ", ") + "."
	}
	status := http.StatusOK
	if f.Form.Problems() {
		status = http.StatusUnprocessableEntity
	}
	title := "New webhook"
	if f.Number != 0 {
		title = "Edit " + f.Webhook.Name
	}
	v.render(status, "webhookform", pageData{Title: title, Tab: "webhooks", Body: f})
	return nil
}

// offer fills the choices.
func (f *webhookForm) offer() {
	for _, t := range eventTypes {
		f.Events = append(f.Events, option{string(t), eventWord(string(t))})
	}
	f.Formats = []option{{"", "default"}}
	for _, name := range format.Names() {
		if notifyType(name) == "http" {
			f.Formats = append(f.Formats, option{name, name})
		}
	}
	f.Presets = []option{{"", "none"}}
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		f.Presets = append(f.Presets, option{name, p.Title})
	}
	if p, ok := presets.Get(f.Form.Value("preset")); ok {
		f.Preset = &p
	}
}

// Secrets says of each saved signing secret whether it stays.
func (f *webhookForm) Secrets() []bool {
	stay := make([]bool, f.KeptSecrets)
	for i := range stay {
		stay[i] = !f.Form.Has("form", "sent") || f.Form.Has("keep_secret", strconv.Itoa(i))
	}
	return stay
}

// MoreFilters reports whether a filter is set that is folded away.
func (f *webhookForm) MoreFilters() bool {
	return f.any("match.tagged", "match.changed", "match.semver", "match.min_severity", "match.new_findings", "match.user_agents",
		"match.projects", "match.upstreams", "match.kinds", "exclude.kinds")
}

// MoreDelivery reports whether an option is set that is folded away.
func (f *webhookForm) MoreDelivery() bool {
	return f.any("headers", "order", "overtaken", "group.wait", "format_options.mode", "format_options.spec",
		"format_options.content_type", "format_options.text")
}

func (f *webhookForm) any(names ...string) bool {
	for _, name := range names {
		if f.Form.Value(name) != "" || f.Form.Problem(name) != "" {
			return true
		}
	}
	return false
}
