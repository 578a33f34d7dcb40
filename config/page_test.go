package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/bellbuoy/bellbuoy/test/docpage"
)

//go:generate go test -run TestConfigurationPage -update .

// configurationIntro is the beginning of the page.
const configurationIntro = "bellbuoy reads one YAML file: `-c FILE`, else `$BELLBUOY_CONFIG`, else `./bellbuoy.yaml`, else " +
	"`/etc/bellbuoy/bellbuoy.yaml`. Only [`upstreams`](#upstreams) is required. [reference.yaml](../../config/reference.yaml) is a " +
	"whole file with every key and its default; [schema.json](../../config/schema.json) lets an editor complete and check the file.\n\n" +
	"- **Check.** `bellbuoy check FILE` lists every problem with its line. Unknown keys, wrong types and duplicate names are problems.\n" +
	"- **Reload.** bellbuoy reads the file again when it changes, at SIGHUP and at `bellbuoy reload`. A file with a problem is not " +
	"used. A key that needs a restart keeps its old value until then, and the log says so.\n" +
	"- **Variables.** Any value may have `${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` (without one newline at its end). " +
	"They are replaced after the file is parsed, so a value cannot change the structure. `$${` is a literal `${`.\n" +
	"- **Secrets** are shown nowhere: not in the log, in errors, in the console or by the API."

// units lists the types of values with their own syntax.
var units = [][]string{
	{"block", "a mapping with the keys of the rows below it, such as `retention: {pulls: 24h}`"},
	{"size", "`64KiB`, `10GiB`, `500MB`; a number alone is bytes"},
	{"duration", "`250ms`, `30s`, `5m`, `1h30m`, `7d`"},
	{"percentage", "`85%`"},
	{"rate", "`1/s`, `30/m`, `100/h`"},
	{"CIDR", "`10.0.0.0/8`, `fd00::/8`, or an address alone"},
	{"file", "a path, relative to the working directory; bellbuoy reads the file again when it changes"},
}

// sectionExamples are shown with the key that they are about. They are whole files, but for the
// upstreams.
var sectionExamples = map[string]string{
	"upstreams": `upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
  - type: chartmuseum
    url: http://127.0.0.1:8081
    external_url: https://charts.example.com
`,
	"projects": `projects:
  - match: "team-*"
    quota: {limit: 50GiB, warn_at: [85%, 95%]}
`,
	"scanners": `scanners:
  - name: trivy
    url: http://trivy-adapter:8080
    registry_url: http://registry:5000
    every: 24h
`,
	"replication": `replication:
  - name: dr-site
    match: {source_cidrs: [10.1.0.0/16], user_agents: ["regclient/regsync*"]}
    also_push_events: false
`,
	"webhooks": `webhooks:
  - name: deploy
    url: https://ci.example.com/hooks/registry
    events: [PUSH_ARTIFACT]
    match: {repositories: ["team/**"], tags: ["v*"]}
    auth_header: Bearer ${DEPLOY_TOKEN}
  - name: team-chat
    url: https://hooks.slack.com/services/T0/B0/x
    format: slack
    group: {wait: 30s}
`,
	"admin": `admin:
  listen: 127.0.0.1:5082
  users:
    - {name: ops, password_hash: $2y$10$abcdefghijklmnopqrstuuwmDMYMjJVHbLIqGcFlHIBtV6U7r6oWC}
  tokens:
    - {name: team-ci, token: "${TEAM_CI_TOKEN}", projects: [team]}
`,
}

// sharedBlocks lists the types of blocks that several keys have. Each has its own section.
var sharedBlocks = map[reflect.Type]struct{ title, intro string }{
	reflect.TypeFor[ClientTLS](): {"TLS to a server", "The keys of `upstreams[].tls`, `scanners[].tls` and `webhooks[].tls`. They apply to an https URL."},
	reflect.TypeFor[Match]():     {"Filters", "The keys of `webhooks[].match` and `webhooks[].exclude`."},
}

// TestConfigurationPage generates docs/reference/configuration.md from the types.
func TestConfigurationPage(t *testing.T) {
	schema := makeSchema(t)
	page := docpage.New("configuration", "Configuration", "go generate ./config")
	page.Paragraph(configurationIntro)
	page.Table([]string{"Type of a value", "Written like"}, units)
	top, root := []configRow{}, reflect.TypeFor[Config]()
	var sections []field
	for _, f := range fieldsOf(root) {
		if ft := root.Field(f.index).Type; isBlock(ft) || ft.Kind() == reflect.Slice && isBlock(ft.Elem()) {
			sections = append(sections, f)
			continue
		}
		top = append(top, rowOf(schema, f, root.Field(f.index), ""))
	}
	links := []string{"[first level](#keys-of-the-first-level)"}
	for _, f := range sections {
		links = append(links, fmt.Sprintf("[%s](#%s)", f.name, f.name))
	}
	page.Paragraph("Keys: " + strings.Join(links, " · "))
	page.Heading(2, "Keys of the first level")
	writeRows(page, top)
	for _, f := range sections {
		writeSection(t, page, schema, f, root.Field(f.index).Type)
	}
	for _, block := range []reflect.Type{reflect.TypeFor[Match](), reflect.TypeFor[ClientTLS]()} {
		page.Heading(2, sharedBlocks[block].title)
		page.Paragraph(sharedBlocks[block].intro)
		path := map[reflect.Type]string{reflect.TypeFor[Match](): "webhooks[].match", reflect.TypeFor[ClientTLS](): "webhooks[].tls"}[block]
		writeRows(page, rowsBelow(propertyAt(schema, path), block, "", path))
	}
	page.Check(t, *update)
}

func writeSection(t *testing.T, page *docpage.Page, schema *jsonschema.Schema, f field, ft reflect.Type) {
	t.Helper()
	page.Heading(2, f.name)
	property, path := propertyAt(schema, f.name), f.name
	intro := meaning(property.Description, nil)
	if ft.Kind() == reflect.Slice {
		ft, path = ft.Elem(), f.name+"[]"
		intro += " A list; each entry has these keys:"
	}
	page.Paragraph(intro)
	writeRows(page, rowsBelow(propertyAt(schema, path), ft, "", path))
	if example := sectionExamples[f.name]; example != "" {
		checkExample(t, example)
		page.Block("yaml", example)
	}
}

// checkExample fails if an example is not part of a valid file.
func checkExample(t *testing.T, example string) {
	t.Helper()
	if !strings.HasPrefix(example, "upstreams:") {
		example = "upstreams: [{type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}]\n" + example
	}
	variables := func(string) (string, bool) { return "a-secret-of-32-characters-or-more", true }
	if _, warnings, err := Parse("example", []byte(example), variables); err != nil || len(warnings) > 0 {
		t.Errorf("%v %v\n%s", err, warnings, example)
	}
}

// A configRow is a key on the page.
type configRow struct{ key, typ, fallback, meaning, change string }

// writeRows writes the rows. It adds a column for what a change needs if the rows differ in it.
func writeRows(page *docpage.Page, rows []configRow) {
	header := []string{"Key", "Type", "Default", "Meaning"}
	restarts := slices.ContainsFunc(rows, func(r configRow) bool { return r.change != reloads && r.change != "" })
	if restarts {
		header = append(header, "A change needs")
	}
	var cells [][]string
	for _, r := range rows {
		row := []string{docpage.Code(r.key), r.typ, r.fallback, r.meaning}
		if restarts {
			row = append(row, r.change)
		}
		cells = append(cells, row)
	}
	page.Table(header, cells)
	if !restarts {
		page.Paragraph("Changes apply at a reload.")
	}
}

// rowsBelow returns the keys of a block at path. Their names begin with prefix.
func rowsBelow(s *jsonschema.Schema, block reflect.Type, prefix, path string) (rows []configRow) {
	for _, f := range fieldsOf(block) {
		ft := block.Field(f.index).Type
		name := join(prefix, f.name)
		at := join(path, f.name)
		row := rowOf(s, f, block.Field(f.index), path)
		row.key = name
		shared, isShared := sharedBlocks[ft]
		switch list := ft.Kind() == reflect.Slice && isBlock(ft.Elem()); {
		case isShared:
			anchor := strings.ReplaceAll(strings.ToLower(shared.title), " ", "-")
			row.typ = fmt.Sprintf("[%s](#%s)", shared.title, anchor)
			row.fallback = "none"
			rows = append(rows, row)
		case isBlock(ft):
			row.typ, row.change = "block", ""
			if row.fallback != "required" {
				row.fallback = ""
			}
			rows = append(rows, row)
			rows = append(rows, rowsBelow(propertyOf(s, f.name), ft, name, at)...)
		case list:
			row.typ, row.fallback = "list", "`[]`"
			rows = append(rows, row)
			rows = append(rows, rowsBelow(itemsOf(propertyOf(s, f.name)), ft.Elem(), name+"[]", at+"[]")...)
		default:
			rows = append(rows, row)
		}
	}
	return rows
}

// rowOf returns the row of a key of the block at path.
func rowOf(s *jsonschema.Schema, f field, sf reflect.StructField, path string) configRow {
	property := propertyOf(s, f.name)
	row := configRow{key: f.name, typ: typeName(f, sf), meaning: meaning(property.Description, f.enum), change: changeNeeds(join(path, f.name))}
	switch {
	case slices.Contains(required[path], f.name):
		row.fallback = "required"
	case f.fallback != "" && sf.Type.Kind() == reflect.Slice:
		list := strings.ReplaceAll(f.fallback, ",", ", ")
		if strings.Contains(list, "*") {
			list = strconv.Quote(list)
		}
		row.fallback = docpage.Code("[" + list + "]")
	case f.fallback != "":
		row.fallback = docpage.Code(f.fallback)
	default:
		row.fallback = zeroOf(sf.Type)
	}
	return row
}

// written matches the parts of a comment that are code: keys, types of events, and variables.
var written = regexp.MustCompile(`\$?\b[A-Za-z]+(\[\])?([_.][a-z]+|_[A-Z]+)*_[A-Za-z]+\b|\b[a-z]+\[\]\.[a-z]+`)

// meaning returns the comment of a key as Markdown. Values with a colon after them are code too.
func meaning(comment string, values []string) string {
	text := written.ReplaceAllString(docpage.Plain(comment), "`$0`")
	for _, value := range append([]string{"true", "false", "null"}, values...) {
		text = regexp.MustCompile(`(^|[.;] )`+regexp.QuoteMeta(value)+`: `).ReplaceAllString(text, "$1`"+value+"`: ")
	}
	return text
}

// zeroOf returns the value of an absent key without a default tag.
func zeroOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "`[]`"
	case reflect.Map:
		return "`{}`"
	case reflect.Pointer:
		return "`null`"
	case reflect.Int, reflect.Int64:
		if t == reflect.TypeFor[Interval]() {
			return "`\"\"`"
		}
		return "`0`"
	}
	return "`\"\"`"
}

// typeName returns the type of a key for people.
func typeName(f field, sf reflect.StructField) string {
	t := sf.Type
	switch {
	case sf.Tag.Get("enum") == "@presets":
		return "[preset](../presets/README.md)"
	case f.name == "events":
		return "list of [types](events.md), or `*`"
	case f.name == "format" && slices.Contains(f.enum, "harbor"):
		return "[format](formats.md): " + docpage.Codes(f.enum)
	case len(f.enum) > 0 && t.Kind() == reflect.Slice:
		return "list of " + docpage.Codes(f.enum)
	case len(f.enum) > 0:
		return docpage.Codes(f.enum)
	case sf.Tag.Get("role") == "file":
		return "file"
	case t.Kind() == reflect.Slice:
		return "list of " + scalarName(t.Elem()) + "s"
	case t.Kind() == reflect.Map:
		return "mapping to " + scalarName(t.Elem()) + "s"
	}
	return scalarName(t)
}

func scalarName(t reflect.Type) string {
	switch reflect.New(t).Interface().(type) {
	case *Secret:
		return "secret"
	case *URL:
		return "URL"
	case *Size:
		return "size"
	case *Duration, *Interval:
		return "duration"
	case *Percent:
		return "percentage"
	case *Rate:
		return "rate"
	}
	switch {
	case isPrefix(reflect.New(t).Elem()):
		return "CIDR"
	case t.Kind() == reflect.Bool, t.Kind() == reflect.Pointer:
		return "`true`, `false`"
	case t.Kind() == reflect.Int:
		return "number"
	}
	return "text"
}

// propertyAt returns the schema at a path, in which [] is the entries of a list.
func propertyAt(s *jsonschema.Schema, path string) *jsonschema.Schema {
	for name := range strings.SplitSeq(path, ".") {
		name, list := strings.CutSuffix(name, "[]")
		if s = propertyOf(s, name); list {
			s = itemsOf(s)
		}
	}
	return s
}

// propertyOf returns the schema of a key of a block, which may stand beside null.
func propertyOf(s *jsonschema.Schema, name string) *jsonschema.Schema {
	for _, choice := range append([]*jsonschema.Schema{s}, s.AnyOf...) {
		if choice.Properties != nil {
			property, _ := choice.Properties.Get(name)
			return property
		}
	}
	return nil
}

func itemsOf(s *jsonschema.Schema) *jsonschema.Schema {
	for _, choice := range append([]*jsonschema.Schema{s}, s.AnyOf...) {
		if choice.Items != nil {
			return choice.Items
		}
	}
	return nil
}

// What a change of a key needs.
const (
	reloads       = "reload"
	restarts      = "**restart**"
	restartsOnOff = "reload; **restart** to turn TLS on or off"
)

// changeNeeds finds by KeepUntilRestart whether a change of the value at path needs a restart.
// Lists never do.
func changeNeeds(path string) string {
	kept := func(before, after int) bool {
		running, next := &Config{}, &Config{}
		return setAt(reflect.ValueOf(running).Elem(), path, before) && setAt(reflect.ValueOf(next).Elem(), path, after) &&
			len(KeepUntilRestart(running, next)) > 0
	}
	switch {
	case kept(1, 2):
		return restarts
	case kept(0, 1):
		return restartsOnOff
	}
	return reloads
}

// setAt sets the scalar at path to one of several values; 0 is the zero value. It reports false for
// a path through a list, and for a list.
func setAt(v reflect.Value, path string, n int) bool {
	for name := range strings.SplitSeq(path, ".") {
		i := slices.IndexFunc(fieldsOf(v.Type()), func(f field) bool { return f.name == name })
		if i < 0 {
			return false
		}
		if v = v.Field(fieldsOf(v.Type())[i].index); v.Kind() == reflect.Slice {
			return false
		}
	}
	switch {
	case n == 0:
	case v.Kind() == reflect.String:
		v.SetString(strings.Repeat("x", n))
	case v.CanInt():
		v.SetInt(int64(n))
	case v.Kind() == reflect.Bool:
		v.SetBool(n == 1)
	}
	return true
}
