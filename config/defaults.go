package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// setDefaults fills a block from its default tags. A default that does not parse is an error of
// this package; a test sets all of them.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		target := v.Field(f.index)
		switch {
		case isBlock(target.Type()):
			setDefaults(target)
		case f.fallback == "":
		case target.Kind() == reflect.Slice:
			setDefaultList(target, strings.Split(f.fallback, ","))
		default:
			setDefault(target, f.fallback)
		}
	}
}

func setDefaultList(v reflect.Value, texts []string) {
	v.Set(reflect.MakeSlice(v.Type(), len(texts), len(texts)))
	for i, t := range texts {
		setDefault(v.Index(i), t)
	}
}

func setDefault(v reflect.Value, value string) {
	// Expanded values may become any type.
	if problem := setScalar(v, text, value, rawScalar{raw: value, expanded: true}); problem != "" {
		panic(fmt.Sprintf("default %q of a %s: %s", value, v.Type(), problem))
	}
}

// complete fills in the defaults that depend on other values.
func (d *decoder) complete(cfg *Config) {
	if _, set := d.places["data_dir"]; !set {
		if dir := d.stateDirectory(); dir != "" {
			cfg.DataDir = dir
		}
	}
	for i := range cfg.Upstreams {
		cfg.Upstreams[i].complete()
	}
	for i := range cfg.Webhooks {
		cfg.Webhooks[i].complete()
	}
}

// stateDirectory returns the first of the directories that systemd made for the service.
func (d *decoder) stateDirectory() string {
	dirs, _ := d.expander.env("STATE_DIRECTORY")
	for _, dir := range filepath.SplitList(dirs) {
		if dir != "" {
			return dir
		}
	}
	return ""
}

func (u *Upstream) complete() {
	if u.Name == "" {
		u.Name = u.Type
	}
	u.URL = strings.TrimSuffix(u.URL, "/")
	u.ExternalURL = strings.TrimRight(u.ExternalURL, "/")
	for i, host := range u.Hosts {
		u.Hosts[i] = strings.ToLower(host)
	}
}

func (w *Webhook) complete() {
	w.Events = completeEvents(w.Events, FormatEvents(w.Format))
	if tagFormats[w.Format] && w.Match.Tagged == nil {
		w.Match.Tagged = new(true)
	}
	if w.RateLimit == (Rate{}) && chatFormats[w.Format] {
		setDefault(reflect.ValueOf(&w.RateLimit).Elem(), "1/s")
	}
	o := &w.FormatOptions
	switch {
	case w.Format == "cloudevents" && o.Mode == "":
		o.Mode = "structured"
	case w.Format == "cdevents" && o.Spec == "":
		o.Spec = "0.4.1"
	case w.Format == "template" && o.ContentType == "":
		o.ContentType = "application/json"
	}
}

// completeEvents returns the types that an empty list or "*" stands for, among those that the
// format can render.
func completeEvents(events, says []string) []string {
	if slices.Contains(events, "*") {
		return says
	}
	if len(events) > 0 {
		return events
	}
	return slices.DeleteFunc(says, func(e string) bool { return quietEvents[e] })
}

// EventTypes returns all types of events, in the order of the documentation.
func EventTypes() []string {
	f, _ := reflect.TypeFor[Webhook]().FieldByName("Events")
	types := strings.Split(f.Tag.Get("enum"), "|")
	return slices.DeleteFunc(types, func(e string) bool { return e == "*" })
}
