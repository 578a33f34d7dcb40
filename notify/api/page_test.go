package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bellbuoy/bellbuoy/test/docpage"
)

//go:generate go test -run TestAPIPage -update .

const apiIntro = "Both APIs are at `admin.listen` (`127.0.0.1:5082`), with the console.\n\n" +
	"- **Logins.** A user of `admin.users` by HTTP Basic, or a token as `Authorization: Bearer`: one of `admin.tokens`, or, where there are neither users nor tokens, the content of " +
	"`admin.token` in `data_dir`. See [`admin`](configuration.md#admin).\n" +
	"- **Accounts.** An account without `projects` is an administrator. One with `projects` sees and changes only what is of these projects; all else is 404 for it. " +
	"An operation for administrators answers it 403.\n" +
	"- **On the machine itself** the commands use the same API over `admin.sock`, as administrators.\n\n" +
	"The guide [Webhooks by API](../guides/api.md) has examples."

const v1Intro = "Bodies are JSON of at most 256 KiB. A parameter that an operation does not have is an error. Errors have the form of RFC 9457 (`application/problem+json`). " +
	"`{number}` is the number of a webhook, `{id}` the id of an event or a delivery. Lists come in pages: `next` of a page is the `cursor` of the next one. [openapi.yaml](../openapi.yaml), also served at `/api/v1/openapi.yaml` and " +
	"`/api/v1/openapi.json`, has all bodies and answers."

const harborIntro = "The part of Harbor's API that manages webhooks, for terraform-provider-harbor, harbor-cli and Harbor's go-client, which work unchanged. A `{project}` is a number or a name; " +
	"with `X-Is-Resource-Name: true` it is a name even if it is a number. Errors have Harbor's form, `{\"errors\":[{\"code\":…,\"message\":…}]}`."

// apiTags are the groups of operations, in the order of the page.
var apiTags = [][2]string{
	{"webhooks", "Webhooks"}, {"events", "Events"}, {"deliveries", "Deliveries"}, {"projects", "Projects, quotas, scans, replications"}, {"system", "System"}, {"counts", "Counts"},
}

// errorMeanings says what the statuses of errors mean.
var errorMeanings = map[string]string{
	"400": "the request cannot be read",
	"401": "no login, or a wrong one",
	"403": "the account may not do this",
	"404": "it does not exist, or the account may not see it",
	"405": "the path has no such method; `Allow` names those that it has",
	"409": "the state does not allow it: a name is taken, a webhook of the file, a store that is no SQLite database",
	"412": "the definition was changed meanwhile (`If-Match`)",
	"413": "the body is larger than 256 KiB",
	"422": "a parameter or a key of the body is wrong; `errors` names each",
	"429": "too many failed logins; `Retry-After` says when to come back",
	"500": "a failure of bellbuoy; the log says more",
	"507": "the disk has no room for the copy",
}

// harborOperations says what the operations of Harbor's API do here.
var harborOperations = map[string]string{
	"GET /ping":                                                    "`Pong`",
	"GET /users/current":                                           "The account",
	"GET /systeminfo":                                              "Version and external host",
	"GET /health":                                                  "`healthy` while the store works",
	"GET /projects":                                                "Projects that the account sees; `name` selects one by its name or a part of it",
	"GET /projects/{project}":                                      "One project",
	"GET /projects/{project}/scanner":                              "404: no project has a scanner of its own",
	"GET /projects/{project}/webhook/policies":                     "Webhooks of a project, also those of the file",
	"POST /projects/{project}/webhook/policies":                    "Make a webhook",
	"GET /projects/{project}/webhook/policies/{policy}":            "One webhook",
	"PUT /projects/{project}/webhook/policies/{policy}":            "Change a webhook; settings that Harbor does not know stay as they are. 403 for one of the file",
	"DELETE /projects/{project}/webhook/policies/{policy}":         "Delete a webhook; its pending deliveries become dead letters. 403 for one of the file",
	"GET /projects/{project}/webhook/policies/{policy}/executions": "Deliveries of the webhook",
	"GET /projects/{project}/webhook/policies/{policy}/executions/{execution}/tasks":            "A delivery, as the only task of its execution",
	"GET /projects/{project}/webhook/policies/{policy}/executions/{execution}/tasks/{task}/log": "Attempts of a delivery, as text",
	"GET /projects/{project}/webhook/events":                                                    "Types of events and formats that a webhook of this API may have",
	"GET /projects/{project}/webhook/lasttrigger":                                               "When each webhook of the project last got each type",
	"GET /projects/{project}/webhook/jobs":                                                      "Deliveries of the webhook `policy_id`, as older versions of Harbor list them",
}

// TestAPIPage makes docs/reference/api.md of the OpenAPI document and of Harbor's routes.
func TestAPIPage(t *testing.T) {
	v := newV1()
	endpoints := v.Endpoints()
	page := docpage.New("api", "API", "go generate ./notify/api")
	page.Paragraph(apiIntro)
	page.Heading(2, "bellbuoy's API")
	page.Paragraph("Below `" + V1Path + "`. " + v1Intro)
	operations := operationsOf(v.api.OpenAPI())
	left := len(operations)
	for _, tag := range apiTags {
		var some []pageOperation
		for _, op := range operations {
			if op.Tags[0] == tag[0] {
				some = append(some, op)
			}
		}
		left -= len(some)
		writeOperations(t, page, tag[1], some, endpoints, v.api.OpenAPI().Components.Schemas)
	}
	if left != 0 {
		t.Errorf("%d operations have a tag that the page has not", left)
	}
	writeErrors(t, page, operations)
	writeHarbor(t, page)
	page.Check(t, *update)
}

type pageOperation struct {
	*huma.Operation
	method, path string
}

// operationsOf returns all operations, by path and method.
func operationsOf(o *huma.OpenAPI) (operations []pageOperation) {
	for _, path := range slices.Sorted(maps.Keys(o.Paths)) {
		item := o.Paths[path]
		for _, method := range []struct {
			name string
			op   *huma.Operation
		}{{"GET", item.Get}, {"POST", item.Post}, {"PUT", item.Put}, {"PATCH", item.Patch}, {"DELETE", item.Delete}} {
			if method.op != nil {
				operations = append(operations, pageOperation{method.op, method.name, path})
			}
		}
	}
	return operations
}

func writeOperations(t *testing.T, page *docpage.Page, title string, operations []pageOperation, endpoints []V1Operation, schemas huma.Registry) {
	t.Helper()
	page.Heading(3, title)
	var rows [][]string
	for _, op := range operations {
		rows = append(rows, []string{docpage.Code(op.method + " " + op.path), docpage.Plain(op.Summary), accounts(t, op, endpoints), statuses(op.Operation)})
	}
	page.Table([]string{"Operation", "What it does", "Who", "Answers"}, rows)
	var parameters [][]string
	for _, op := range operations {
		parameters = append(parameters, parametersOf(t, op, schemas)...)
	}
	if len(parameters) > 0 {
		page.Table([]string{"Parameters of", "Name", "Values", "Meaning"}, parameters)
	}
}

// accounts returns who may call an operation.
func accounts(t *testing.T, op pageOperation, endpoints []V1Operation) string {
	t.Helper()
	i := slices.IndexFunc(endpoints, func(e V1Operation) bool { return e.Method == op.method && e.Path == V1Path+op.path })
	switch {
	case i < 0:
		t.Errorf("%s %s is no endpoint", op.method, op.path)
		return ""
	case endpoints[i].Administrators:
		return "administrators"
	}
	return "all accounts"
}

// common are the errors of every operation.
var common = []string{"401", "403", "404", "500"}

// statuses returns the statuses of an operation, without the common errors.
func statuses(op *huma.Operation) string {
	var own []string
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		if !slices.Contains(common, status) {
			own = append(own, status)
		}
	}
	return strings.Join(own, ", ")
}

// parametersOf returns the parameters of an operation, and the keys of its body.
func parametersOf(t *testing.T, op pageOperation, schemas huma.Registry) (rows [][]string) {
	t.Helper()
	name := docpage.Code(op.method + " " + op.path)
	add := func(cells ...string) {
		rows = append(rows, append([]string{name}, cells...))
		name = ""
	}
	for _, p := range op.Parameters {
		if p.Description == "" && (p.Schema == nil || p.Schema.Description == "") {
			t.Errorf("%s %s: the parameter %s has no description", op.method, op.path, p.Name)
		}
		if p.In == "path" {
			continue // the intro says what they are
		}
		where := docpage.Code(p.Name)
		if p.In != "query" {
			where += " (" + p.In + ")"
		}
		meaning := docpage.Plain(p.Description)
		if p.Required && p.In == "query" {
			meaning += " (required)"
		}
		add(where, valuesOf(p.Schema), meaning)
	}
	if op.RequestBody == nil {
		return rows
	}
	for _, content := range op.RequestBody.Content {
		s := content.Schema
		if s.Ref != "" {
			s = schemas.SchemaFromRef(s.Ref)
		}
		keys := slices.Sorted(maps.Keys(s.Properties))
		if len(keys) > mostKeys {
			add("the body", "object", "the definition: keys as in an entry of [`webhooks`](configuration.md#webhooks) in the file")
			return rows
		}
		for _, key := range keys {
			if key == "$schema" {
				continue
			}
			add(docpage.Code(key)+" (body)", valuesOf(s.Properties[key]), docpage.Plain(s.Properties[key].Description))
			if s.Properties[key].Description == "" {
				t.Errorf("%s %s: the key %s of the body has no description", op.method, op.path, key)
			}
		}
	}
	return rows
}

// mostKeys is how many keys of a body are listed; the definition of a webhook has more.
const mostKeys = 12

// valuesOf returns the values that a schema allows, for people.
func valuesOf(s *huma.Schema) string {
	if s == nil {
		return ""
	}
	if s.Ref != "" {
		return "object"
	}
	if s.Type == "array" {
		return "several: " + valuesOf(s.Items)
	}
	text := s.Type
	switch {
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprint(v))
		}
		text = docpage.Codes(values)
	case s.Format == "date-time":
		text = "time (RFC 3339)"
	case s.Type == "integer":
		text = "number"
	case s.Type == "string":
		text = "text"
	case s.Type == "object":
		text = "object"
	case s.Type == "boolean":
		text = "`true`, `false`"
	}
	if s.Minimum != nil && s.Maximum != nil {
		text += fmt.Sprintf(", %v to %v", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil {
		text += "; default " + docpage.Code(fmt.Sprint(s.Default))
	}
	return text
}

func writeErrors(t *testing.T, page *docpage.Page, operations []pageOperation) {
	t.Helper()
	page.Heading(3, "Errors")
	used := map[string]bool{"400": true, "405": true, "413": true, "429": true} // of the server, not of an operation
	for _, op := range operations {
		for status := range op.Responses {
			if n, err := strconv.Atoi(status); err == nil && n >= http.StatusBadRequest {
				used[status] = true
			}
		}
	}
	var rows [][]string
	for _, status := range slices.Sorted(maps.Keys(used)) {
		if errorMeanings[status] == "" {
			t.Errorf("the page does not say what %s means", status)
		}
		rows = append(rows, []string{status, errorMeanings[status]})
	}
	page.Paragraph("Every operation may answer " + strings.Join(common, ", ") + ".")
	page.Table([]string{"Status", "Meaning"}, rows)
}

func writeHarbor(t *testing.T, page *docpage.Page) {
	t.Helper()
	page.Heading(2, "Harbor's API")
	page.Paragraph("Below `" + HarborPath + "`. " + harborIntro)
	who := map[scope]string{anybody: "all accounts", ofProject: "who manages the project", ofPolicy: "who manages the project"}
	unused := maps.Clone(harborOperations)
	var rows [][]string
	for _, route := range Routes() {
		name := route.Method + " " + route.Path
		if unused[name] == "" {
			t.Errorf("the page does not say what %s does", name)
		}
		rows = append(rows, []string{docpage.Code(name), unused[name], who[route.scope]})
		delete(unused, name)
	}
	for name := range unused {
		t.Errorf("%s is on the page and is not served", name)
	}
	page.Table([]string{"Operation", "What it does", "Who"}, rows)
}
