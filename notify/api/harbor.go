package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// HarborPath is the path of Harbor's API.
const HarborPath = "/api/v2.0"

// Harbor serves Harbor's API.
type Harbor struct {
	Webhooks Webhooks
	Projects Projects
	History  History
	System   System
	Log      *zap.Logger
}

// Route is one endpoint.
type Route struct {
	Method, Path string
	scope        scope
	do           func(*Harbor, *call) error
}

// scope is what the router checks before a handler runs.
type scope int

const (
	anybody   scope = iota // every account
	ofProject              // accounts that manage the project
	ofPolicy               // as ofProject, if the webhook belongs to the project
)

// Routes returns all endpoints.
func Routes() []Route {
	const project = "/projects/{project}"
	const policies = project + "/webhook/policies"
	const policy = policies + "/{policy}"
	return []Route{
		{"GET", "/ping", anybody, (*Harbor).ping},
		{"GET", "/users/current", anybody, (*Harbor).currentUser},
		{"GET", "/systeminfo", anybody, (*Harbor).systemInfo},
		{"GET", "/health", anybody, (*Harbor).health},
		{"GET", "/projects", anybody, (*Harbor).listProjects},
		{"GET", project, ofProject, (*Harbor).getProject},
		{"GET", project + "/scanner", ofProject, (*Harbor).getScanner},
		{"GET", policies, ofProject, (*Harbor).listPolicies},
		{"POST", policies, ofProject, (*Harbor).createPolicy},
		{"GET", policy, ofPolicy, (*Harbor).getPolicy},
		{"PUT", policy, ofPolicy, (*Harbor).updatePolicy},
		{"DELETE", policy, ofPolicy, (*Harbor).deletePolicy},
		{"GET", policy + "/executions", ofPolicy, (*Harbor).listExecutions},
		{"GET", policy + "/executions/{execution}/tasks", ofPolicy, (*Harbor).listTasks},
		{"GET", policy + "/executions/{execution}/tasks/{task}/log", ofPolicy, (*Harbor).taskLog},
		{"GET", project + "/webhook/events", ofProject, (*Harbor).supportedEvents},
		{"GET", project + "/webhook/lasttrigger", ofProject, (*Harbor).lastTriggers},
		{"GET", project + "/webhook/jobs", ofProject, (*Harbor).listJobs},
	}
}

// Handler serves all routes below HarborPath.
func (h *Harbor) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range Routes() {
		mux.HandleFunc(route.Method+" "+HarborPath+route.Path, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, route) })
	}
	mux.HandleFunc(HarborPath+"/", func(w http.ResponseWriter, r *http.Request) {
		HarborError(w, r, http.StatusNotFound, "there is no such endpoint")
	})
	return mux
}

// call is one request, with its account, project and webhook.
type call struct {
	*http.Request
	w       http.ResponseWriter
	by      access.Principal
	project Project       // set for routes with a project
	webhook manage.Policy // set for routes with a policy
}

// mostBody bounds the body of a request.
const mostBody = 256 << 10

func (h *Harbor) serve(w http.ResponseWriter, r *http.Request, route Route) {
	r.Body = http.MaxBytesReader(w, r.Body, mostBody)
	c := &call{Request: r, w: w, by: access.PrincipalOf(r.Context())}
	w.Header().Set("X-Request-Id", requestID(r))
	err := h.admit(c, route.scope)
	if err == nil {
		err = route.do(h, c)
	}
	if err == nil {
		return
	}
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		h.Log.Error("request of Harbor's API failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
		err = errors.New("internal error; the log says more")
	}
	HarborError(w, r, status, textOf(err))
}

// admit finds the account, project and webhook of a request. Its error is manage.ErrNotFound for
// everything that the account may not see.
func (h *Harbor) admit(c *call, s scope) (err error) {
	if !c.by.Knows() {
		return errUnauthorized
	}
	if s == anybody {
		return nil
	}
	if c.project, err = h.projectOf(c); err != nil {
		return err
	}
	if s == ofPolicy {
		c.webhook, err = h.policyOf(c)
	}
	return err
}

// requestID returns the client's request id if it is a valid header value, or else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= 128 {
		return id
	}
	return uuid.NewString()
}

var (
	errUnauthorized  = errors.New("unauthorized")
	errUnprocessable = errors.New("unprocessable")
)

func statusOf(err error) int {
	switch {
	case errors.Is(err, errUnauthorized):
		return http.StatusUnauthorized
	case errors.Is(err, manage.ErrForbidden):
		return http.StatusForbidden
	case errors.Is(err, manage.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, manage.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, errUnprocessable):
		return http.StatusUnprocessableEntity
	case errors.Is(err, ErrInvalid), isProblems(err):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

func isProblems(err error) bool {
	_, ok := errors.AsType[manage.Problems](err)
	return ok
}

// textOf returns the text of an error without the sentinel in front.
func textOf(err error) string {
	text := err.Error()
	for _, kind := range []error{ErrInvalid, manage.ErrForbidden, manage.ErrNotFound, manage.ErrConflict, errUnprocessable} {
		text = strings.TrimPrefix(text, kind.Error()+": ")
	}
	return text
}

// codes are Harbor's error codes for statuses.
var codes = map[int]string{
	http.StatusBadRequest: "BAD_REQUEST", http.StatusUnauthorized: "UNAUTHORIZED", http.StatusForbidden: "FORBIDDEN",
	http.StatusNotFound: "NOT_FOUND", http.StatusConflict: "CONFLICT", http.StatusUnprocessableEntity: "UNPROCESSABLE_ENTITY",
	http.StatusTooManyRequests: "TOO_MANY_REQUEST", http.StatusInternalServerError: "UNKNOWN",
}

// HarborError answers with an error in Harbor's form.
func HarborError(w http.ResponseWriter, r *http.Request, status int, message string) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if w.Header().Get("X-Request-Id") == "" {
		w.Header().Set("X-Request-Id", requestID(r))
	}
	writeJSON(w, status, map[string][]item{"errors": {{codes[status], message}}})
}

func (c *call) answer(v any) error {
	writeJSON(c.w, http.StatusOK, v)
	return nil
}

// writeJSON ignores errors, because they mean that the client has disconnected.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// number returns a number in the path.
func (c *call) number(name string) (int64, error) {
	n, err := strconv.ParseInt(c.PathValue(name), 10, 64)
	if err != nil || n < 0 {
		return 0, errors.Join(errUnprocessable, errors.New(name+" must be a number"))
	}
	return n, nil
}
