package console

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/format/presets"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// The form's fields have the names of the keys of a webhook, so that problems find them. Some stand
// for several keys or for none: notify_type and format are format, verify is the opposite of
// tls.insecure_skip_verify, events_default says that the ticks are those of the format or preset.

// texts are the fields of one line and the keys that they hold.
var texts = map[string]func(*manage.Definition) *string{
	"name":                        func(d *manage.Definition) *string { return &d.Name },
	"description":                 func(d *manage.Definition) *string { return &d.Description },
	"url":                         func(d *manage.Definition) *string { return &d.URL },
	"preset":                      func(d *manage.Definition) *string { return &d.Preset },
	"auth_header":                 func(d *manage.Definition) *string { return &d.AuthHeader },
	"timeout":                     func(d *manage.Definition) *string { return &d.Timeout },
	"order":                       func(d *manage.Definition) *string { return &d.Order },
	"overtaken":                   func(d *manage.Definition) *string { return &d.Overtaken },
	"rate_limit":                  func(d *manage.Definition) *string { return &d.RateLimit },
	"group.wait":                  func(d *manage.Definition) *string { return &d.Group.Wait },
	"format_options.text":         func(d *manage.Definition) *string { return &d.FormatOptions.Text },
	"format_options.content_type": func(d *manage.Definition) *string { return &d.FormatOptions.ContentType },
	"format_options.mode":         func(d *manage.Definition) *string { return &d.FormatOptions.Mode },
	"format_options.spec":         func(d *manage.Definition) *string { return &d.FormatOptions.Spec },
	"match.semver":                func(d *manage.Definition) *string { return &d.Match.Semver },
	"match.min_severity":          func(d *manage.Definition) *string { return &d.Match.MinSeverity },
}

// lists are the fields with one entry a line.
var lists = map[string]func(*manage.Definition) *[]string{
	"match.repositories":   func(d *manage.Definition) *[]string { return &d.Match.Repositories },
	"match.tags":           func(d *manage.Definition) *[]string { return &d.Match.Tags },
	"match.operators":      func(d *manage.Definition) *[]string { return &d.Match.Operators },
	"match.user_agents":    func(d *manage.Definition) *[]string { return &d.Match.UserAgents },
	"match.projects":       func(d *manage.Definition) *[]string { return &d.Match.Projects },
	"match.upstreams":      func(d *manage.Definition) *[]string { return &d.Match.Upstreams },
	"exclude.repositories": func(d *manage.Definition) *[]string { return &d.Exclude.Repositories },
	"exclude.tags":         func(d *manage.Definition) *[]string { return &d.Exclude.Tags },
	"exclude.operators":    func(d *manage.Definition) *[]string { return &d.Exclude.Operators },
	"retry":                func(d *manage.Definition) *[]string { return &d.Retry },
}

// choices are the fields of yes, no and either.
var choices = map[string]func(*manage.Definition) **bool{
	"match.tagged":       func(d *manage.Definition) **bool { return &d.Match.Tagged },
	"match.changed":      func(d *manage.Definition) **bool { return &d.Match.Changed },
	"match.new_findings": func(d *manage.Definition) **bool { return &d.Match.NewFindings },
}

// fieldNames are the fields that can have a problem.
var fieldNames = slices.Concat(slices.Sorted(maps.Keys(texts)), slices.Sorted(maps.Keys(lists)), slices.Sorted(maps.Keys(choices)),
	[]string{"project", "format", "events", "headers", "signing_secrets", "verify", "match.kinds", "exclude.kinds", "format_options", "concurrency", "group"})

// valuesOf fills the form from a definition.
func valuesOf(d manage.Definition, project string) url.Values {
	q := url.Values{"project": {project}}
	for name, at := range texts {
		q.Set(name, *at(&d))
	}
	for name, at := range lists {
		q.Set(name, strings.Join(*at(&d), "\n"))
	}
	q.Set("retry", strings.Join(d.Retry, ", "))
	for name, at := range choices {
		if b := *at(&d); b != nil {
			q.Set(name, strconv.FormatBool(*b))
		}
	}
	q["match.kinds"], q["exclude.kinds"] = d.Match.Kinds, d.Exclude.Kinds
	q.Set("notify_type", notifyType(d.Format))
	if notifyType(d.Format) == "http" {
		q.Set("format", d.Format)
	}
	q["events"] = effectiveEvents(d)
	setFlag(q, "events_default", len(d.Events) == 0)
	setFlag(q, "enabled", d.Enabled)
	setFlag(q, "manifest_reads", d.ManifestReads)
	setFlag(q, "verify", !d.TLS.InsecureSkipVerify && schemeOf(d.URL) != "http")
	q.Set("verify_for", schemeOf(d.URL))
	if d.Concurrency > 0 {
		q.Set("concurrency", strconv.Itoa(d.Concurrency))
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		lines = append(lines, name+": "+d.Headers[name])
	}
	q.Set("headers", strings.Join(lines, "\n"))
	return q
}

func setFlag(q url.Values, name string, on bool) {
	if on {
		q.Set(name, "true")
	}
}

// definition is the base with what the form says. Keys that have no field stay as they are.
func (f form) definition(base manage.Definition) manage.Definition {
	d := base
	before := effectiveEvents(base)
	for name, at := range texts {
		*at(&d) = strings.TrimSpace(f.Value(name))
	}
	d.FormatOptions.Text = strings.ReplaceAll(f.Value("format_options.text"), "\r\n", "\n")
	d.AuthHeader = withoutHeaderName(d.AuthHeader)
	for name, at := range lists {
		*at(&d) = linesOf(f.Value(name))
	}
	d.Retry = linesOf(strings.NewReplacer(",", "\n", " ", "\n").Replace(f.Value("retry")))
	for name, at := range choices {
		*at(&d) = nil
		if b, err := strconv.ParseBool(f.Value(name)); err == nil {
			*at(&d) = &b
		}
	}
	d.Match.Kinds, d.Exclude.Kinds = f.values["match.kinds"], f.values["exclude.kinds"]
	d.Enabled, d.ManifestReads = f.Has("enabled", "true"), f.Has("manifest_reads", "true")
	// A box that was clear because the address was one of http says nothing about https.
	d.TLS.InsecureSkipVerify = !f.Has("verify", "true") && schemeOf(d.URL) == "https" && f.Value("verify_for") != "http"
	f.readConcurrency(&d)
	f.readFormat(&d)
	f.readEvents(&d, before)
	f.readHeaders(&d)
	f.readSecrets(&d, base.SigningSecrets)
	return d
}

func schemeOf(address string) string {
	scheme, _, ok := strings.Cut(address, ":")
	if !ok {
		return ""
	}
	return strings.ToLower(scheme)
}

func (f form) readConcurrency(d *manage.Definition) {
	d.Concurrency = 0
	if text := strings.TrimSpace(f.Value("concurrency")); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			f.problems["concurrency"] = "Write a whole number."
		}
		d.Concurrency = n
	}
}

func (f form) readFormat(d *manage.Definition) {
	switch kind := f.Value("notify_type"); kind {
	case "slack", "teams", "discord":
		d.Format = kind
	default:
		d.Format = f.Value("format")
	}
}

// readEvents reads the ticks. As long as they are those that the format or the preset has by
// itself, the webhook keeps following it.
func (f form) readEvents(d *manage.Definition, before []string) {
	d.Events = f.values["events"]
	if len(d.Events) == 0 {
		f.problems["events"] = "Tick at least one type of event."
	}
	if f.Has("events_default", "true") && (sameSet(d.Events, before) || sameSet(d.Events, defaultEvents(*d))) {
		d.Events = nil
	}
}

func (f form) readHeaders(d *manage.Definition) {
	d.Headers = nil
	for _, line := range linesOf(f.Value("headers")) {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			f.problems["headers"] = "Write one header a line, such as X-Team: blue."
			return
		}
		if d.Headers == nil {
			d.Headers = map[string]string{}
		}
		d.Headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
}

// readSecrets keeps the saved secrets that are still ticked, and adds the one that was made.
func (f form) readSecrets(d *manage.Definition, saved []string) {
	d.SigningSecrets = nil
	for i, s := range saved {
		if f.Has("keep_secret", strconv.Itoa(i)) {
			d.SigningSecrets = append(d.SigningSecrets, s)
		}
	}
	if made := strings.TrimSpace(f.Value("signing_secrets")); made != "" {
		d.SigningSecrets = append(d.SigningSecrets, made)
	}
}

// withoutHeaderName cuts the name off a pasted header: "Authorization: Bearer x".
func withoutHeaderName(s string) string {
	if name, value, ok := strings.Cut(s, ":"); ok && strings.EqualFold(strings.TrimSpace(name), "Authorization") {
		return strings.TrimSpace(value)
	}
	return s
}

// linesOf are the lines of a text that are not empty.
func linesOf(s string) (lines []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// effectiveEvents are the types that a webhook gets.
func effectiveEvents(d manage.Definition) []string {
	switch {
	case slices.Equal(d.Events, []string{"*"}):
		return typeNames(saidBy(d.Format))
	case len(d.Events) > 0:
		return d.Events
	}
	return defaultEvents(d)
}

// defaultEvents are the types that a webhook gets whose events are not given.
func defaultEvents(d manage.Definition) []string {
	name := d.Format
	if p, ok := presets.Get(d.Preset); ok {
		var keys struct {
			Format string   `yaml:"format"`
			Events []string `yaml:"events"`
		}
		if err := yaml.Unmarshal([]byte(p.Webhook), &keys); err == nil {
			if len(keys.Events) > 0 {
				return keys.Events
			}
			if name == "" {
				name = keys.Format
			}
		}
	}
	quiet := []detect.Type{detect.PullArtifact, detect.DownloadChart, detect.DeleteTag}
	return typeNames(slices.DeleteFunc(saidBy(name), func(t detect.Type) bool { return slices.Contains(quiet, t) }))
}

// saidBy are the types that a format has a body for.
func saidBy(name string) []detect.Type {
	if f, err := format.New(name, "", format.Options{}); err == nil {
		return f.Says()
	}
	return slices.Clone(eventTypes) // template, whose options are not known here, says all
}

func typeNames(types []detect.Type) []string {
	names := make([]string, 0, len(types))
	for _, t := range types {
		names = append(names, string(t))
	}
	return names
}
