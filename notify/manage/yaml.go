package manage

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/bellbuoy/bellbuoy/notify/access"
)

// YAML returns a webhook as an entry of webhooks in the configuration file. A webhook of the store
// gets the name project/name there, so that the entry replaces the stored one. Secrets become ${…}.
func (d *AccountWebhooks) YAML(ctx context.Context, by access.Principal, number int64) ([]byte, error) {
	w, err := d.one(ctx, by, number)
	if err != nil {
		return nil, err
	}
	def := w.Definition
	escapeExpansions(reflect.ValueOf(&def).Elem())
	if w.Source == "" {
		def.Name = w.Project + "/" + w.Name
		// the file has no other bound, and match may name more projects
		def.Match.Projects = []string{w.Project}
	}
	e := exporter{prefix: strings.Trim(notInNames.ReplaceAllString(strings.ToUpper(def.Name), "_"), "_")}
	e.secrets(&def)
	entry, err := yaml.MarshalWithOptions([]Definition{def}, yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("writing webhook %s: %w", w.Key, err)
	}
	return append([]byte(e.comment(&w)), entry...), nil
}

var notInNames = regexp.MustCompile(`[^A-Z0-9]+`)

// exporter replaces masks by variables of the environment.
type exporter struct {
	prefix string
	names  []string
}

func (e *exporter) secrets(def *Definition) {
	e.mask(&def.URL, "URL")
	e.mask(&def.Proxy, "PROXY")
	e.mask(&def.AuthHeader, "AUTH_HEADER")
	for name, value := range def.Headers {
		e.mask(&value, "HEADER_"+notInNames.ReplaceAllString(strings.ToUpper(name), "_"))
		def.Headers[name] = value
	}
	for i := range def.SigningSecrets {
		e.mask(&def.SigningSecrets[i], fmt.Sprintf("SIGNING_SECRET_%d", i+1))
	}
	for i := range def.Signatures {
		e.mask(&def.Signatures[i].Secret, fmt.Sprintf("SIGNATURE_%d", i+1))
	}
}

// mask replaces a text that has a mask.
func (e *exporter) mask(text *string, what string) {
	if strings.Contains(*text, Mask) {
		name := e.prefix + "_" + what
		e.names = append(e.names, name)
		*text = "${" + name + "}"
	}
}

func (e *exporter) comment(w *Webhook) string {
	from := "Made by " + w.Maker + " in project " + w.Project + "."
	if w.Source != "" {
		from = "As in " + w.Source + ", with all defaults and without the files of tls."
	}
	text := "# An entry of webhooks. " + strings.Join(strings.Fields(from), " ") + "\n"
	if len(e.names) > 0 {
		text += "# Secrets are not exported. Set them in bellbuoy's environment: " + strings.Join(e.names, " ") + "\n"
	}
	return text
}

// escapeExpansions writes ${ as $${ in every text, in copies of its lists.
func escapeExpansions(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.ReplaceAll(v.String(), "${", "$${"))
	case reflect.Struct:
		for i := range v.NumField() {
			escapeExpansions(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v))
		for i := range v.Len() {
			escapeExpansions(v.Index(i))
		}
	case reflect.Map:
		out := reflect.MakeMap(v.Type())
		for name, value := range v.Seq2() {
			out.SetMapIndex(name, reflect.ValueOf(strings.ReplaceAll(value.String(), "${", "$${")))
		}
		if !v.IsNil() {
			v.Set(out)
		}
	}
}
