package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator6 "github.com/santhosh-tekuri/jsonschema/v6"
)

//go:generate go test -run TestSchema -update .

const schemaID = "https://raw.githubusercontent.com/bellbuoy/bellbuoy/main/config/schema.json"

// TestSchema checks that schema.json agrees with the types.
func TestSchema(t *testing.T) {
	got, err := json.MarshalIndent(makeSchema(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", string(got)+"\n")
}

// TestSchemaDescribesEveryKey checks that every field has a comment.
func TestSchemaDescribesEveryKey(t *testing.T) {
	keys := 0
	var check func(s *jsonschema.Schema, path string)
	check = func(s *jsonschema.Schema, path string) {
		for _, choice := range s.AnyOf {
			check(choice, path)
		}
		if s.Items != nil {
			check(s.Items, path+"[]")
		}
		for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
			if pair.Value.Description == "" {
				t.Errorf("%s has no description", join(path, pair.Key))
			}
			keys++
			check(pair.Value, join(path, pair.Key))
		}
	}
	check(makeSchema(t), "")
	if keys < 100 {
		t.Errorf("only %d keys", keys)
	}
}

// TestSchemaAgrees checks that the schema accepts what Parse accepts, and refuses mistakes that an
// editor can notice.
func TestSchemaAgrees(t *testing.T) {
	schema := compileSchema(t)
	for name, file := range map[string]string{
		"reference": string(Reference()),
		"smallest":  smallest,
		"examples":  examples,
		"expanded":  smallest + "    enabled: ${ON:-true}\n    concurrency: ${N:-3}\n    order: ${O:-tag}\n    timeout: ${T:-5s}\n    events: ['${E:-*}']\n",
		"zeros":     "limits: {idle: 0, header_size: 0, connections: 0}\n" + smallest,
		"absent":    smallest + "    tls:\n    timeout:\n    match: null\n",
	} {
		if err := schema.Validate(yamlValue(t, file)); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
		mustParse(t, file)
	}
	for _, wrong := range []string{
		"unheard_of: true", "listen: 5080", "limits: {idle: 5}", "limits: {header_size: 64K}", "log: {level: loud}", "scanners: [{name: x}]",
		"proxy_protocol: 'yes'", "identity: []", "trusted_proxies: [a.example.com]", "admin: {users: [{name: x}]}",
		"webhooks: [{name: x, url: 'http://x', format: mqtt}]", "webhooks: [{url: 'http://x'}]", "webhooks: [{name: x, url: 'http://x', rate_limit: 1}]",
	} {
		if schema.Validate(yamlValue(t, "upstreams: [{type: registry, url: 'http://x:1'}]\n"+wrong)) == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
	if schema.Validate(yamlValue(t, "listen: ':1'")) == nil {
		t.Error("a file without upstreams is accepted")
	}
}

func compileSchema(t *testing.T) *validator6.Schema {
	t.Helper()
	data, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator6.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := validator6.NewCompiler()
	if err := c.AddResource(schemaID, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(schemaID)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// yamlValue decodes a file as an editor does.
func yamlValue(t *testing.T, file string) any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	value, err := validator6.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// makeSchema takes the structure and the descriptions from the Go types, and defaults and enums
// from their tags.
func makeSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	r := &jsonschema.Reflector{
		DoNotReference: true, ExpandedStruct: true, Anonymous: true, FieldNameTag: "yaml",
		RequiredFromJSONSchemaTags: true, Mapper: scalarSchema,
	}
	if err := r.AddGoComments("github.com/bellbuoy/bellbuoy/config", "./", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	for name, comment := range r.CommentMap {
		r.CommentMap[name] = strings.Join(strings.Fields(comment), " ")
	}
	s := r.Reflect(&Config{})
	s.ID, s.Title, s.Description = schemaID, "bellbuoy", "The configuration of bellbuoy."
	describeBlock(s, reflect.TypeFor[Config](), "")
	return s
}

// required lists the required keys of blocks.
var required = map[string][]string{
	"":                        {"upstreams"},
	"upstreams[]":             {"type", "url"},
	"projects[]":              {"match"},
	"scanners[]":              {"name", "url"},
	"replication[]":           {"name", "match"},
	"webhooks[]":              {"name", "url"},
	"webhooks[].signatures[]": {"header", "secret"},
	"admin.users[]":           {"name", "password_hash"},
	"admin.tokens[]":          {"name", "token"},
}

// describeBlock completes the properties of a block.
func describeBlock(s *jsonschema.Schema, t reflect.Type, path string) {
	s.Required = required[path]
	for _, f := range fieldsOf(t) {
		at := join(path, f.name)
		property, _ := s.Properties.Get(f.name)
		describe(property, f, t.Field(f.index).Type, at)
		if !slices.Contains(s.Required, f.name) {
			s.Properties.Set(f.name, nullable(property))
		}
	}
}

func describe(s *jsonschema.Schema, f field, t reflect.Type, path string) {
	s.Default = defaultValue(f, t)
	enum := slices.Clone(f.enum)
	switch {
	case isBlock(t):
		describeBlock(s, t, path)
	case t.Kind() == reflect.Slice && isBlock(t.Elem()):
		describeBlock(s.Items, t.Elem(), path+"[]")
	case t.Kind() == reflect.Slice && len(enum) > 0:
		s.Items = enumSchema(enum)
	case len(enum) > 0:
		description, value := s.Description, s.Default
		if f.fallback == "" && !strings.HasSuffix(path, ".type") {
			enum = append(enum, "")
		}
		*s = *enumSchema(enum)
		s.Description, s.Default = description, value
	}
}

// expanded matches a text with ${…}, which may stand for any scalar.
const expanded = `\$\{`

func enumSchema(values []string) *jsonschema.Schema {
	known := &jsonschema.Schema{}
	for _, v := range values {
		known.Enum = append(known.Enum, v)
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{known, {Type: "string", Pattern: expanded}}}
}

// nullable returns a schema that also accepts null.
func nullable(s *jsonschema.Schema) *jsonschema.Schema {
	null := &jsonschema.Schema{Type: "null"}
	if len(s.AnyOf) > 0 {
		s.AnyOf = append(s.AnyOf, null)
		return s
	}
	out := &jsonschema.Schema{Description: s.Description, Default: s.Default}
	s.Description, s.Default = "", nil
	out.AnyOf = []*jsonschema.Schema{s, null}
	return out
}

// scalarSchema returns the schema of a type that is written as a text or a number.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: fmt.Sprintf(`^(%s)$|%s`, pattern, expanded)}
	}
	or := func(ss ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: ss} }
	switch reflect.New(t).Interface().(type) {
	case *Secret, *URL:
		return &jsonschema.Schema{Type: "string"}
	case *Size:
		return or(text(`[0-9]+(\.[0-9]+)?([KMGTP]i?B|kB|B)|[0-9]+`), &jsonschema.Schema{Type: "integer", Minimum: "0"})
	case *Duration:
		return or(text(`([0-9]+(\.[0-9]+)?(d|h|m|s|ms|us|µs|ns))+|0`), &jsonschema.Schema{Const: 0})
	case *Interval:
		return or(text(`([0-9]+(\.[0-9]+)?(d|h|m|s|ms|us|µs|ns))*|0`), &jsonschema.Schema{Const: 0})
	case *Percent:
		return text(`[0-9]+(\.[0-9]+)?%`)
	case *Rate:
		return text(`([1-9][0-9]*/[smhd])?`)
	}
	switch {
	case isPrefix(reflect.New(t).Elem()):
		return text(`[0-9.]+(/[0-9]+)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]+)?`)
	case t.Kind() == reflect.Bool:
		return or(&jsonschema.Schema{Type: "boolean"}, &jsonschema.Schema{Type: "string", Pattern: expanded})
	case t.Kind() == reflect.Int:
		return or(&jsonschema.Schema{Type: "integer"}, &jsonschema.Schema{Type: "string", Pattern: expanded})
	}
	return nil
}

// defaultValue returns a default tag as JSON, or nil if there is none.
func defaultValue(f field, t reflect.Type) any {
	switch {
	case f.fallback == "":
		return nil
	case t.Kind() == reflect.Slice:
		return strings.Split(f.fallback, ",")
	case t.Kind() == reflect.Bool || t.Kind() == reflect.Int:
		return json.RawMessage(f.fallback)
	}
	return f.fallback
}
