package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format/presets"
	"github.com/bellbuoy/bellbuoy/test/docpage"
)

//go:generate go test -run Schema -update .
//go:generate go test -run FormatsPage|EventsPage -update .

const formatsIntro = "`format` of a webhook names what its receiver understands; a [preset](#presets) sets it for a known receiver. " +
	"The types of events are described in the [reference of events](events.md).\n\n" +
	"- **One POST or several.** A format whose body names one tag sends a POST for each tag of a push or a delete. A pull is always one POST.\n" +
	"- **The same bytes.** A body is made at the first attempt and kept: each later attempt sends the same bytes.\n" +
	"- **Headers of every POST** are those of [Standard Webhooks](https://www.standardwebhooks.com): `webhook-id` (the same in each attempt; " +
	"the receiver recognises repetitions by it), `webhook-timestamp`, and `webhook-signature` with `signing_secrets`. " +
	"`User-Agent` is `bellbuoy/VERSION` unless the format or `headers` say otherwise.\n" +
	"- **Messages.** For people, `group` combines several events into one message.\n\n" +
	"The samples are indented for readers. `bellbuoy ping WEBHOOK` sends one to a receiver."

// aboutFormats says for each format what its body is and who reads it.
var aboutFormats = map[string]string{
	"harbor": "The default: the body of Harbor 2.x, byte for byte, for everything that understands Harbor's webhooks. Charts are those of Harbor 2.7 and " +
		"before. Where no tag is known, `tag` is the digest. `DELETE_TAG` is bellbuoy's own.",
	"cloudevents": "Harbor's CloudEvents 1.0. `source` has the numbers of project and webhook of [Harbor's API](api.md#harbors-api).",
	"bellbuoy": "Everything that bellbuoy knows of an event, in one POST whatever its tags: previous digest, platforms, children, client, findings of a scan. " +
		"The [JSON schema](../../notify/format/bellbuoy.schema.json) has the version `bellbuoy.event/v1`, under which keys are only added.",
	"slack":        "A message for Slack's incoming webhooks, and for Mattermost, which shows its `text`.",
	"teams":        "An Adaptive Card for the workflow *Post to a channel when a webhook request is received* of Microsoft Teams.",
	"discord":      "An embed for webhooks of Discord. It never mentions anybody.",
	"distribution": "The notification of the distribution registry, with one event, for what reads the notifications of a Docker registry.",
	"cdevents":     "CDEvents of artifacts, with the attributes as CloudEvents headers. The subject is a package URL.",
	"acr":          "The webhook of Azure Container Registry. Its `User-Agent` is ACR's, by which Kargo recognises it.",
	"dockerhub":    "The webhook of Docker Hub, for pushes with a tag.",
	"quay":         "The webhook of Quay, for pushes with a tag.",
	"template": "A body of your own: a Go [text/template](https://pkg.go.dev/text/template) in `format_options.file` or `format_options.text`. Its data are the fields of " +
		"an event, by the names of the format `bellbuoy`, such as `{{.repository}}`; a name that does not exist is an error. When the file is loaded, the template is " +
		"tried with a sample of each type that the webhook gets. A body has at most 1 MiB.",
}

// templateHelpers says what the functions of a template do. Those of text/template itself are left
// out.
var templateHelpers = [][]string{
	{"json", "`{{json .repository}}`", "the value as JSON, with quotes"},
	{"lower", "`{{lower .name}}`", "in lower case"},
	{"upper", "`{{upper .name}}`", "in upper case"},
	{"replace", "`{{replace \"/\" \"-\" .repository}}`", "with each first text replaced by the second"},
	{"trimPrefix", "`{{trimPrefix \"v\" .tag_asked}}`", "without the text at its beginning"},
	{"default", "`{{default \"nobody\" .operator}}`", "the first value if the second is empty"},
	{"formatTime", "`{{formatTime \"2006-01-02\" .time}}`", "a time in a layout of Go"},
	{"plain", "`{{plain .user_agent}}`", "one short line of printable text"},
}

var templateValues = [][]string{
	{"`.message`", "the events of the message in plain text, a line each"},
	{"`.events`", "the events of the message, each with the same fields"},
	{"`.more`", "how many events the message does not list"},
}

// sampleTemplate is the template of the page's sample.
const sampleTemplate = `{"image": {{json (index .references 0)}}, "by": {{json (default "nobody" .operator)}}}`

// inDocumentationsOrder are the names of all formats, in the order of the configuration.
func inDocumentationsOrder(t *testing.T) []string {
	t.Helper()
	order := []string{"harbor", "cloudevents", "bellbuoy", "slack", "teams", "discord", "distribution", "cdevents", "acr", "dockerhub", "quay", "template"}
	if got := slices.Sorted(slices.Values(order)); !slices.Equal(got, Names()) {
		t.Fatalf("the page has the formats %v, the code %v", got, Names())
	}
	return order
}

// TestFormatsPage makes docs/reference/formats.md of the formats and presets.
func TestFormatsPage(t *testing.T) {
	page := docpage.New("formats", "Formats", "go generate ./notify/format")
	page.Paragraph(formatsIntro)
	names := inDocumentationsOrder(t)
	var rows [][]string
	for _, name := range names {
		f := pageFormat(t, name)
		each, group := "event", ""
		if f.PerTag() {
			each = "tag"
		}
		if f.group != nil {
			group = "yes"
		}
		rows = append(rows, []string{fmt.Sprintf("[`%s`](#%s)", name, name), typesText(f.Says()), each, group})
	}
	page.Table([]string{"Format", "Types of events", "One POST for each", "Messages"}, rows)
	usual := defaultEvents(t, "bellbuoy")
	quiet := slices.DeleteFunc(textsOf(allTypes), func(kind string) bool { return slices.Contains(usual, kind) })
	page.Paragraph("Without `events` a webhook gets the types of its format except " + docpage.Codes(quiet) + "; with `events: [\"*\"]` all of them.")
	for _, name := range names {
		writeFormat(t, page, name)
	}
	writePresets(page)
	page.Check(t, *update)
}

func pageFormat(t *testing.T, name string) Format {
	t.Helper()
	o := Options{}
	if name == "template" {
		o.Template = `{"text": {{json .message}}}`
	}
	f, err := New(name, "deploy", o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func typesText(types []detect.Type) string {
	if len(types) == len(allTypes) {
		return "all"
	}
	return docpage.Codes(textsOf(types))
}

func textsOf(types []detect.Type) []string {
	var texts []string
	for _, t := range types {
		texts = append(texts, string(t))
	}
	return texts
}

func writeFormat(t *testing.T, page *docpage.Page, name string) {
	t.Helper()
	page.Heading(2, name)
	page.Paragraph(aboutFormats[name])
	f := pageFormat(t, name)
	if got, want := defaultEvents(t, name), textsOf(f.Says()); len(want) < len(allTypes) {
		page.Paragraph("By default a webhook gets " + docpage.Codes(got) + ".")
	}
	if rows := optionRows(t, name); len(rows) > 0 {
		page.Table([]string{"`format_options`", "Meaning"}, rows)
	}
	if name == "template" {
		f = writeTemplateHelp(t, page)
	}
	contentType, header, body, err := f.Render(Sample(detect.PushArtifact), 0)
	if err != nil {
		t.Fatal(err)
	}
	headers := "Content-Type: " + contentType + "\n"
	for _, key := range slices.Sorted(maps.Keys(header)) {
		headers += key + ": " + header[key] + "\n"
	}
	page.Details("A push", "http", headers+"\n"+indented(body))
}

// writeTemplateHelp writes what a template can use, and returns the format of the sample.
func writeTemplateHelp(t *testing.T, page *docpage.Page) Format {
	t.Helper()
	var rows [][]string
	functions := new(templateRun).functions()
	for _, builtin := range []string{"print", "println", "printf", "html", "js", "urlquery"} {
		delete(functions, builtin)
	}
	for _, helper := range templateHelpers {
		if functions[helper[0]] == nil {
			t.Errorf("templates have no function %s", helper[0])
		}
		delete(functions, helper[0])
		if _, err := New("template", "deploy", Options{Template: strings.Trim(helper[1], "`"), ContentType: "text/plain", Events: []detect.Type{detect.PullArtifact}}); err != nil {
			t.Error(err)
		}
		rows = append(rows, []string{docpage.Code(helper[0]), helper[1], helper[2]})
	}
	for name := range functions {
		t.Errorf("the page lacks the function %s", name)
	}
	page.Table([]string{"Function", "Example", "Result"}, rows)
	page.Table([]string{"Value of messages", "Meaning"}, templateValues)
	page.Block("yaml", "webhooks:\n  - name: deploy\n    url: https://ci.example.com/hooks/registry\n    format: template\n    format_options:\n      text: '"+sampleTemplate+"'")
	f, err := New("template", "deploy", Options{Template: sampleTemplate, Events: []detect.Type{detect.PushArtifact}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// defaultEvents returns the types that a webhook gets that names none.
func defaultEvents(t *testing.T, name string) []string {
	t.Helper()
	c, _, err := config.Parse("page", []byte("upstreams: [{type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}]\n"+
		"webhooks: [{name: w, url: 'https://h.example.com/', format: "+name+", format_options: {"+map[bool]string{true: "text: '{}'"}[name == "template"]+"}}]\n"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c.Webhooks[0].Events
}

// optionRows returns the format_options of a format, as the JSON schema of the file describes them.
func optionRows(t *testing.T, name string) (rows [][]string) {
	t.Helper()
	content, err := os.ReadFile("../../config/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	options := find(find(schema, "format_options"), "properties").(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		description, _ := options[key].(map[string]any)["description"].(string)
		if text, ok := strings.CutPrefix(description, name+": "); ok {
			rows = append(rows, []string{docpage.Code(key), docpage.Plain(text)})
		}
	}
	return rows
}

// find returns the value of a key, wherever it is in a JSON document.
func find(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		if found, ok := v[key]; ok {
			return found
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if found := find(v[name], key); found != nil {
				return found
			}
		}
	case []any:
		for _, item := range v {
			if found := find(item, key); found != nil {
				return found
			}
		}
	}
	return nil
}

func indented(body []byte) string {
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") != nil {
		return string(body)
	}
	return out.String()
}

func writePresets(page *docpage.Page) {
	page.Heading(2, "Presets")
	page.Paragraph("`preset: NAME` sets format, events, filters and headers of a webhook for a receiver. Each has a page with the settings of both sides. All need `external_url` of the upstream.")
	var rows [][]string
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		var needs []string
		for _, need := range p.Needs {
			needs = append(needs, need.Key)
		}
		rows = append(rows, []string{fmt.Sprintf("[`%s`](../presets/%s.md)", name, name), p.Title, docpage.Code(presetFormat(p)), docpage.Codes(needs), p.About})
	}
	page.Table([]string{"Preset", "Receiver", "Format", "Needs", "What it does"}, rows)
}

// presetFormat returns the format of a preset's webhook; harbor is the default.
func presetFormat(p presets.Preset) string {
	for line := range strings.Lines(p.Webhook) {
		if name, ok := strings.CutPrefix(line, "format: "); ok {
			return strings.TrimSpace(name)
		}
	}
	return "harbor"
}
