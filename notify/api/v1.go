package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Path is the path of bellbuoy's own API.
const V1Path = "/api/v1"

const bodyTimeout = 30 * time.Second // to send the body of a request

// V1 serves bellbuoy's own API. It builds the endpoints and the OpenAPI description at the first
// request, because most processes never need them and they take memory.
type V1 struct {
	Version      string
	Events       V1Events
	Deliveries   V1Deliveries
	Webhooks     V1Webhooks
	Trials       V1Trials
	ProjectNames Projects
	Scanners     V1Scanners
	Projects     V1Projects
	Counts       V1Counts
	Operations   V1Operations
	Log          *zap.Logger

	streams streams // open ones

	once sync.Once
	mux  *http.ServeMux
	api  huma.API
	ops  []V1Operation
}

// V1Operation is one endpoint of /api/v1.
type V1Operation struct {
	Method, Path string // with V1Path
	// Administrators means that limited accounts get 403.
	Administrators bool
}

// Handler serves all endpoints below V1Path.
func (v *V1) Handler() http.Handler { return http.HandlerFunc(v.serve) }

// Endpoints returns all endpoints.
func (v *V1) Endpoints() []V1Operation {
	v.once.Do(v.build)
	return slices.Clone(v.ops)
}

// OpenAPI returns the description of the API in YAML.
func (v *V1) OpenAPI() ([]byte, error) {
	v.once.Do(v.build)
	return v.api.OpenAPI().YAML()
}

// build makes the endpoints. Each file of the package that begins with v1_ adds its own.
func (v *V1) build() {
	v.mux = http.NewServeMux()
	v.api = humago.NewWithPrefix(v.mux, V1Path, v.humaConfig())
	v.addSystem()
	v.addEvents()
	v.addDeliveries()
	v.addProjects()
	v.addOperations()
	v.addCounts()
	v.addWebhooks()
	v.addTrials()
	v.addProjectNames()
	v.mux.HandleFunc("GET "+V1Path+"/openapi.json", v.serveOpenAPI("application/openapi+json", func() ([]byte, error) {
		return json.Marshal(v.api.OpenAPI())
	}))
	v.mux.HandleFunc("GET "+V1Path+"/openapi.yaml", v.serveOpenAPI("application/openapi+yaml", v.OpenAPI))
	v.ops = append(v.ops, V1Operation{Method: "GET", Path: V1Path + "/openapi.json"}, V1Operation{Method: "GET", Path: V1Path + "/openapi.yaml"})
}

func (v *V1) humaConfig() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "bellbuoy", Version: "1",
				Description: "bellbuoy's own API. A limited account sees and changes only what belongs to its projects; the answer for everything else is 404."},
			Servers: []*huma.Server{{URL: V1Path}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"basic": {Type: "http", Scheme: "basic", Description: "a user of admin.users"},
					"token": {Type: "http", Scheme: "bearer", Description: "a token of admin.tokens, or the content of admin.token"},
				},
			},
			Security: []map[string][]string{{"basic": {}}, {"token": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{withoutValues},
	}
}

// withoutValues removes the request's values from an error, because one may be a secret.
func withoutValues(_ huma.Context, _ string, body any) (any, error) {
	if problem, ok := body.(*huma.ErrorModel); ok {
		for _, detail := range problem.Errors {
			detail.Value = nil
		}
	}
	return body, nil
}

func (v *V1) serveOpenAPI(contentType string, description func() ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := description()
		if err != nil {
			v.writeError(w, r.Method+" "+r.URL.Path, err)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(text) // fails only if the client has disconnected
	}
}

func (v *V1) serve(w http.ResponseWriter, r *http.Request) {
	if !access.PrincipalOf(r.Context()).Knows() {
		V1Error(w, http.StatusUnauthorized, "a login is required")
		return
	}
	v.once.Do(v.build)
	if _, pattern := v.mux.Handler(r); pattern == "" {
		v.refuseRoute(w, r)
		return
	}
	if err := readWhole(w, r); err != nil {
		v.writeError(w, r.Method+" "+r.URL.Path, err)
		return
	}
	v.mux.ServeHTTP(w, r)
}

// refuseRoute answers a request without an endpoint: with 405 if the path has endpoints for other
// methods, else with 404.
func (v *V1) refuseRoute(w http.ResponseWriter, r *http.Request) {
	muxAnswer := headerOnly{header: http.Header{}}
	v.mux.ServeHTTP(&muxAnswer, r)
	if muxAnswer.status != http.StatusMethodNotAllowed {
		V1Error(w, http.StatusNotFound, "there is no such endpoint")
		return
	}
	allow := muxAnswer.header.Get("Allow")
	w.Header().Set("Allow", allow)
	V1Error(w, http.StatusMethodNotAllowed, "this endpoint takes "+allow)
}

// headerOnly is a ResponseWriter that keeps the status and the header.
type headerOnly struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (h *headerOnly) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *headerOnly) WriteHeader(status int) { h.status = cmp.Or(h.status, status) }

// Write implements http.ResponseWriter.
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }

// readWhole reads the body of a request, within bounds of size and time. It removes the deadline
// from the connection, because net/http would otherwise end long answers.
func readWhole(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Now().Add(bodyTimeout)) // the writers of tests have no deadlines
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	_ = deadlines.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(bytes.NewReader(body))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return huma.NewError(http.StatusRequestEntityTooLarge, "the body is larger than 256 KiB")
	}
	if err != nil {
		return huma.NewError(http.StatusBadRequest, "the body cannot be read")
	}
	return nil
}

// operation describes an endpoint. route is its method and its path below V1Path. errors lists the
// error statuses that not every endpoint has.
func operation(id, route, summary, tag string, errors ...int) huma.Operation {
	method, path, _ := strings.Cut(route, " ")
	errors = append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, errors...)
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag}, Errors: errors}
}

// admission says which accounts may call an endpoint. The method that the endpoint calls restricts
// the answer to the account's scope.
type admission bool

const (
	everyAccount       admission = false
	administratorsOnly admission = true
)

// addV1 adds an endpoint. do gets the account of the request.
func addV1[I, O any](v *V1, op huma.Operation, who admission, do func(ctx context.Context, by access.Principal, in *I) (*O, error)) {
	op.MaxBodyBytes = mostBody
	op.BodyReadTimeout = -1 // readWhole has its own
	v.ops = append(v.ops, V1Operation{Method: op.Method, Path: V1Path + op.Path, Administrators: bool(who)})
	huma.Register(v.api, op, func(ctx context.Context, in *I) (*O, error) {
		by := access.PrincipalOf(ctx)
		if !by.Knows() || who == administratorsOnly && !by.Administrator {
			return nil, huma.NewError(http.StatusForbidden, "only accounts without a limit to projects may do this")
		}
		out, err := do(ctx, by, in)
		if err != nil {
			return nil, v.problem(op.OperationID, err)
		}
		return out, nil
	})
}

// problem converts an error to the form for clients. An error that is not about the request is only
// logged.
func (v *V1) problem(operation string, err error) error {
	if known, ok := errors.AsType[huma.StatusError](err); ok {
		return known
	}
	if problems, ok := errors.AsType[manage.Problems](err); ok {
		return invalid(problems)
	}
	for _, kind := range []struct {
		err    error
		status int
	}{{manage.ErrChanged, http.StatusPreconditionFailed}, {manage.ErrNotFound, http.StatusNotFound}, {manage.ErrForbidden, http.StatusForbidden}, {manage.ErrConflict, http.StatusConflict},
		{manage.ErrNoRoom, http.StatusInsufficientStorage}} {
		if errors.Is(err, kind.err) {
			return huma.NewError(kind.status, strings.TrimPrefix(err.Error(), kind.err.Error()+": "))
		}
	}
	if !errors.Is(err, context.Canceled) {
		v.Log.Error("request of the API failed", zap.String("operation", operation), zap.Error(err))
	}
	return huma.NewError(http.StatusInternalServerError, "internal error; the log says more")
}

// invalid returns the error for a request that is well-formed but invalid.
func invalid(problems manage.Problems) error {
	details := make([]error, len(problems))
	for i, p := range problems {
		details[i] = &huma.ErrorDetail{Message: p.Message, Location: p.Field}
	}
	return huma.NewError(http.StatusUnprocessableEntity, problems.Error(), details...)
}

func (v *V1) writeError(w http.ResponseWriter, operation string, err error) {
	shown := v.problem(operation, err)
	status := http.StatusInternalServerError
	if s, ok := errors.AsType[huma.StatusError](shown); ok {
		status = s.GetStatus()
	}
	V1Error(w, status, shown.Error())
}

// V1Error answers with an error in the form of RFC 9457.
func V1Error(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

// IsV1 reports whether a path is one of bellbuoy's own API.
func IsV1(path string) bool { return path == V1Path || strings.HasPrefix(path, V1Path+"/") }
