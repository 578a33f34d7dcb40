package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
)

// V1Operations acts on the running bellbuoy as a whole. It is for administrators.
type V1Operations interface {
	Status(ctx context.Context) (V1Status, error)
	// Reload reads the configuration file again. The answer holds its problems.
	Reload(ctx context.Context, by access.Principal) (V1Reloaded, error)
	// Backup sends a copy of the database. It does not call send if no copy can be made.
	Backup(ctx context.Context, by access.Principal, send func(copy io.Reader, size int64) error) error
	// Index reads registries into the tag index and reports the progress.
	Index(ctx context.Context, in V1Index, line func(V1IndexLine) error) error
	// Waiting returns the webhooks whose deliveries wait longer than their schedule says.
	Waiting(ctx context.Context) ([]V1Waiting, error)
	// ConsoleURL returns an address of the console that logs in an administrator, once and
	// within a minute. Only requests of admin.sock get one.
	ConsoleURL(ctx context.Context, by access.Principal) (string, error)
	// ExplainRequest returns the event that a request would cause.
	ExplainRequest(ctx context.Context, in V1Question) (V1Meaning, error)
}

// V1Status is the state of the running bellbuoy.
type V1Status struct {
	Version   string             `json:"version"`
	Config    string             `json:"config" doc:"the configuration file"`
	Started   time.Time          `json:"started"`
	Webhooks  []V1WebhookStatus  `json:"webhooks"`
	Upstreams []V1UpstreamStatus `json:"upstreams"`
	Scanners  []V1ScannerStatus  `json:"scanners,omitempty"`
	Store     V1StoreStatus      `json:"store"`
	Attention []string           `json:"attention" nullable:"false" doc:"what needs an operator's attention, the worst first"`
}

// V1WebhookStatus is the state of a webhook.
type V1WebhookStatus struct {
	Name        string                    `json:"name" doc:"the key of its deliveries"`
	State       string                    `json:"state" enum:"ok,failing,disabled,gone,off"`
	Since       time.Time                 `json:"since,omitzero"`
	Why         string                    `json:"why,omitempty"`
	Circuit     string                    `json:"circuit" enum:"closed,open"`
	NextAttempt time.Time                 `json:"next_attempt,omitzero" doc:"absent: none waits for a time"`
	SuccessRate *float64                  `json:"success_rate,omitempty" doc:"of the attempts of the last 24 hours; absent: there were none"`
	Tried       int64                     `json:"tried" doc:"attempts of the last 24 hours"`
	Pending     int64                     `json:"pending"`
	Oldest      time.Time                 `json:"oldest,omitzero" doc:"when the oldest pending one was planned"`
	Dead        int64                     `json:"dead"`
	Parked      int64                     `json:"parked,omitempty"`
	LastFired   map[detect.Type]time.Time `json:"last_fired,omitempty"`
}

// V1UpstreamStatus says whether an upstream can be reached.
type V1UpstreamStatus struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	URL    string  `json:"url"`
	Error  string  `json:"error,omitempty"`
	Millis float64 `json:"milliseconds"`
}

// V1ScannerStatus is the state of a scanner.
type V1ScannerStatus struct {
	Name      string `json:"name"`
	Waiting   int    `json:"waiting" doc:"jobs, at most 1,000 are counted"`
	Scanning  int    `json:"scanning"`
	Completed int    `json:"completed" doc:"since the start"`
	Failed    int    `json:"failed"`
	Error     string `json:"error,omitempty" doc:"why jobs wait"`
}

// V1StoreStatus is the state of the store.
type V1StoreStatus struct {
	Kind        string   `json:"kind" enum:"sqlite,postgres"`
	Dir         string   `json:"data_dir,omitempty"`
	Size        int64    `json:"size" doc:"bytes"`
	MaxSize     int64    `json:"max_size" doc:"store.retention.max_size; 0: no limit"`
	DiskFree    int64    `json:"disk_free" doc:"bytes that bellbuoy may use"`
	DiskSize    int64    `json:"disk_size"`
	Error       string   `json:"error,omitempty" doc:"why it cannot be written"`
	InMemory    int      `json:"in_memory" doc:"commits that wait for the store"`
	OpenIntents int      `json:"open_intents" doc:"writes whose outcome is unknown"`
	Lost        int64    `json:"lost" doc:"events lost since the start"`
	Warnings    []string `json:"warnings,omitempty"`
}

// V1Waiting is a webhook whose deliveries wait.
type V1Waiting struct {
	Webhook string    `json:"webhook" doc:"the key of its deliveries"`
	State   string    `json:"state" enum:"failing,disabled,gone,off"`
	Since   time.Time `json:"since,omitzero"`
	Why     string    `json:"why,omitempty"`
	NextTry time.Time `json:"next_try,omitzero"`
}

// V1WaitingList are all webhooks whose deliveries wait.
type V1WaitingList struct {
	Items []V1Waiting `json:"items" nullable:"false"`
}

// V1ConsoleURL is an address of the console.
type V1ConsoleURL struct {
	URL string `json:"url" doc:"logs in an administrator, once and within a minute"`
}

// V1Reloaded is the result of a reload.
type V1Reloaded struct {
	File      string   `json:"file"`
	Taken     bool     `json:"taken"`
	Said      []string `json:"said,omitempty" doc:"problems and warnings"`
	Upstreams int      `json:"upstreams"`
	Webhooks  int      `json:"webhooks"`
}

// V1Index selects the repositories that are read into the tag index.
type V1Index struct {
	Upstream     string   `json:"upstream,omitempty" maxLength:"255" doc:"name of a registry; by default all"`
	Repositories []string `json:"repositories,omitempty" maxItems:"1000" doc:"repositories of the registry; by default all of its catalog"`
	Heads        bool     `json:"heads,omitempty" doc:"true: read only tags and digests, no manifests"`
}

// V1IndexLine is one line of the answer: the progress, a repository that was skipped, or the end.
type V1IndexLine struct {
	Repositories     int     `json:"repositories"`
	Counted          bool    `json:"counted"`
	RepositoriesDone int     `json:"repositories_done"`
	Tags             int     `json:"tags"`
	Skipped          int     `json:"skipped"`
	Rate             float64 `json:"rate"`
	Skip             string  `json:"skip,omitempty" doc:"what could not be read, and why"`
	Done             bool    `json:"done,omitempty"`
	Error            string  `json:"error,omitempty"`
}

// addOperations adds the endpoints about the running bellbuoy.
func (v *V1) addOperations() {
	addV1(v, operation("status", "GET /status", "The state of webhooks, upstreams, scanners and the store", "system"), administratorsOnly,
		func(ctx context.Context, _ access.Principal, _ *struct{}) (*struct{ Body V1Status }, error) {
			status, err := v.Operations.Status(ctx)
			return &struct{ Body V1Status }{status}, err
		})
	addV1(v, operation("waiting", "GET /waiting", "The webhooks whose deliveries wait, and why", "system"), administratorsOnly,
		func(ctx context.Context, _ access.Principal, _ *struct{}) (*struct{ Body V1WaitingList }, error) {
			all, err := v.Operations.Waiting(ctx)
			return &struct{ Body V1WaitingList }{V1WaitingList{all}}, err
		})
	addV1(v, operation("consoleURL", "POST /console", "An address of the console that logs in once; only over admin.sock", "system"), administratorsOnly,
		func(ctx context.Context, by access.Principal, _ *struct{}) (*struct{ Body V1ConsoleURL }, error) {
			address, err := v.Operations.ConsoleURL(ctx, by)
			return &struct{ Body V1ConsoleURL }{V1ConsoleURL{address}}, err
		})
	addV1(v, operation("reload", "POST /reload", "Read the configuration file again", "system"), administratorsOnly,
		func(ctx context.Context, by access.Principal, _ *struct{}) (*struct{ Body V1Reloaded }, error) {
			done, err := v.Operations.Reload(ctx, by)
			return &struct{ Body V1Reloaded }{done}, err
		})
	addV1(v, answering(operation("backup", "POST /backup", "A consistent copy of the SQLite database", "system", http.StatusConflict, http.StatusInsufficientStorage), "application/vnd.sqlite3", &huma.Schema{Type: "string", Format: "binary"}),
		administratorsOnly, v.backup)
	addV1(v, linesOf[V1IndexLine](v, operation("index", "POST /index", "Read what registries already hold; the progress comes as lines of JSON", "system")), administratorsOnly,
		func(_ context.Context, _ access.Principal, in *struct{ Body V1Index }) (*huma.StreamResponse, error) {
			return streamLines(v, "index", func(ctx context.Context, line func(V1IndexLine) error) error {
				return v.Operations.Index(ctx, in.Body, line)
			}), nil
		})
	addV1(v, operation("explainRequest", "GET /explain", "The event that a request would cause, and the webhooks that would get it; nothing is sent", "events"), administratorsOnly,
		func(ctx context.Context, _ access.Principal, in *V1Question) (*struct{ Body V1Meaning }, error) {
			meaning, err := v.Operations.ExplainRequest(ctx, *in)
			return &struct{ Body V1Meaning }{meaning}, err
		})
}

// V1Question describes a request for ExplainRequest.
type V1Question struct {
	Method    string `query:"method" required:"true" maxLength:"16" example:"PUT" doc:"method of the request"`
	URL       string `query:"url" required:"true" maxLength:"4096" doc:"URL of bellbuoy, or only its path" example:"/v2/team/app/manifests/v1"`
	Operator  string `query:"operator" maxLength:"255" doc:"name of the operator; anonymous by default"`
	UserAgent string `query:"user_agent" maxLength:"255" doc:"User-Agent of the request"`
}

// V1Meaning is the event that a request would cause if the upstream answers with success.
type V1Meaning struct {
	Upstream string           `json:"upstream,omitempty" doc:"absent: none is configured for this host and path"`
	Request  string           `json:"request,omitempty" doc:"how it is classified"`
	Event    detect.Type      `json:"event,omitempty" doc:"absent: none"`
	Because  string           `json:"because,omitempty"`
	Also     string           `json:"also,omitempty" doc:"other events"`
	Webhooks []V1RequestFires `json:"webhooks,omitempty"`
	Scanners []V1ScanVerdict  `json:"scanners,omitempty"`
}

// V1RequestFires is the decision of a webhook about the event of a request.
type V1RequestFires struct {
	Webhook string `json:"webhook"`
	Fires   string `json:"fires" enum:"yes,no,depends"`
	Because string `json:"because,omitempty"`
}

func (v *V1) backup(_ context.Context, by access.Principal, _ *struct{}) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		w, begun := hc.BodyWriter().(http.ResponseWriter), false
		err := v.Operations.Backup(hc.Context(), by, func(copy io.Reader, size int64) error {
			begun = true
			w.Header().Set("Content-Type", "application/vnd.sqlite3")
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			writes := http.NewResponseController(w)
			_, err := io.Copy(boundedWriter{w, writes}, copy)
			_ = writes.SetWriteDeadline(time.Time{})
			return err
		})
		if err == nil {
			return
		}
		if begun {
			panic(http.ErrAbortHandler) // end the answer early instead of appending an error
		}
		v.writeError(w, "backup", err)
	}}, nil
}

// boundedWriter is a writer that fails when the client reads nothing for streamWrite.
type boundedWriter struct {
	w      io.Writer
	writes *http.ResponseController
}

// Write implements io.Writer.
func (b boundedWriter) Write(p []byte) (int, error) {
	_ = b.writes.SetWriteDeadline(time.Now().Add(streamWrite)) // the writers of tests have no deadlines
	return b.w.Write(p)
}

// answering describes the answer of an endpoint that huma does not write.
func answering(op huma.Operation, contentType string, schema *huma.Schema) huma.Operation {
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{contentType: {Schema: schema}}}}
	return op
}

// linesOf describes an answer of lines of JSON.
func linesOf[T any](v *V1, op huma.Operation) huma.Operation {
	return answering(op, "application/x-ndjson", v.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, op.OperationID))
}

// streamLines answers with the lines that run writes. An error before the first line is answered
// as a problem, a later one as a line.
func streamLines[T any](v *V1, operation string, run func(ctx context.Context, line func(T) error) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		w, begun := hc.BodyWriter().(http.ResponseWriter), false
		out, writes := json.NewEncoder(w), http.NewResponseController(w)
		err := run(hc.Context(), func(line T) error {
			if !begun {
				begun = true
				w.Header().Set("Content-Type", "application/x-ndjson")
			}
			_ = writes.SetWriteDeadline(time.Now().Add(streamWrite)) // the writers of tests have no deadlines
			if err := out.Encode(line); err != nil {
				return err
			}
			return writes.Flush()
		})
		_ = writes.SetWriteDeadline(time.Time{})
		if err != nil && !begun {
			v.writeError(w, operation, err)
		}
	}}
}
