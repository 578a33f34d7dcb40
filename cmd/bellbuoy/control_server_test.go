package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// running is a bellbuoy that serves on a free port. Its command method runs commands with its
// configuration.
type running struct {
	path  string      // of the configuration
	log   chan string // its lines
	stop  context.CancelFunc
	ended chan int // receives the exit code, then is closed
	first string   // the line "bellbuoy serves", which has the address
	early []string // the lines before it
}

func start(t *testing.T, config string) *running {
	t.Helper()
	return startFrom(t, config, "")
}

// startFrom is start with a copy of a directory's database; database is the path of its file, ""
// for none.
func startFrom(t *testing.T, config, database string) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "bb") // not t.TempDir: the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bellbuoy.yaml")
	if database != "" {
		if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(filepath.Dir(database))); err != nil {
			t.Fatal(err)
		}
	}
	own := "data_dir: " + dir + "/data\nlisten: 127.0.0.1:0\nadmin: {listen: ''}\nlog: {level: info}\n"
	if !strings.Contains(config, "health:") {
		own += "health: {listen: ''}\n"
	}
	if err := os.WriteFile(path, []byte(config+own), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	// room for more lines than a test causes, so that bellbuoy never waits for the test to read
	r := &running{path: path, log: make(chan string, 1000), stop: stop, ended: make(chan int, 1)}
	go func() {
		defer close(r.ended)
		r.ended <- run(ctx, []string{"serve", "-c", path}, system{Stdout: io.Discard, Stderr: write, LookupEnv: func(string) (string, bool) { return "", false }})
		write.Close()
	}()
	go func() {
		defer close(r.log)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			r.log <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		if code := <-r.ended; code != 0 {
			t.Errorf("serve ended with %d", code)
		}
		_ = os.RemoveAll(dir)
	})
	r.first = r.until(t, "bellbuoy serves")
	return r
}

// until returns the next log line that contains text, or one from before "bellbuoy serves".
func (r *running) until(t *testing.T, text string) string {
	t.Helper()
	for _, line := range r.early {
		if strings.Contains(line, text) {
			return line
		}
	}
	for line := range r.log {
		if strings.Contains(line, text) {
			return line
		}
		if r.first == "" {
			r.early = append(r.early, line)
		}
	}
	t.Fatalf("the log ended without %q", text)
	return ""
}

func (r *running) command(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), append(args, "-c", r.path), system{Stdout: &out, Stderr: &errs, LookupEnv: func(string) (string, bool) { return "", false }})
	return code, out.String(), errs.String()
}

// push pushes the manifest team/app:v1 through bellbuoy.
func (r *running) push(t *testing.T) {
	t.Helper()
	var first struct{ Listen string }
	if err := json.Unmarshal([]byte(r.first), &first); err != nil {
		t.Fatal(err)
	}
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	push, err := http.NewRequest(http.MethodPut, "http://"+first.Listen+"/v2/team/app/manifests/v1", strings.NewReader(`{"schemaVersion":2,"mediaType":"`+mediaType+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	push.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(push)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("push of team/app:v1: got %s, want 201", resp.Status)
	}
}

// acceptingRegistry starts a registry that answers every PUT with 201, and every other request with
// 200.
func acceptingRegistry(t *testing.T) *httptest.Server {
	t.Helper()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	t.Cleanup(registry.Close)
	return registry
}

func TestEnableAndDisableAreLogged(t *testing.T) {
	r := start(t, smallConfig)
	for _, name := range []string{"disable", "enable"} {
		if code, stdout, stderr := r.command(name, "ci"); code != 0 || stdout != "ci: "+name+"d\n" {
			t.Fatalf("%s ci: exit code %d, stdout %q, stderr %q", name, code, stdout, stderr)
		}
		if line := r.until(t, `"webhook `+name+"d"); !strings.Contains(line, `"webhook":"ci"`) || !strings.Contains(line, `"account":"admin.sock"`) {
			t.Errorf("the log line of %s lacks the webhook or the account: %s", name, line)
		}
	}
}

func TestCommandsRefuseUnknownWebhooks(t *testing.T) {
	r := start(t, smallConfig)
	for _, args := range [][]string{{"enable", "nope"}, {"disable", "nope"}, {"ping", "nope"}, {"redeliver", "--webhook", "nope"}} {
		if code, _, stderr := r.command(args...); code != 1 || !strings.Contains(stderr, `"nope": no such webhook`) {
			t.Errorf("%v: exit code %d, stderr %q, want 1 and no such webhook", args, code, stderr)
		}
	}
	if code, stdout, stderr := r.command("redeliver", "--webhook", "ci"); code != 0 || stdout != "0 deliveries to be delivered again\n" {
		t.Errorf("redeliver --webhook ci: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestDeliveriesExplainsWhyTheyWait(t *testing.T) {
	r := start(t, smallConfig)
	if code, _, stderr := r.command("deliveries"); code != 0 || stderr != "" {
		t.Errorf("deliveries while nothing waits: exit code %d, stderr %q", code, stderr)
	}
	if code, _, stderr := r.command("disable", "ci"); code != 0 {
		t.Fatal(stderr)
	}
	for _, tt := range []struct {
		args []string
		want bool // stderr explains that ci waits
	}{
		{[]string{"deliveries"}, true},
		{[]string{"deliveries", "--webhook", "ci"}, true},
		{[]string{"deliveries", "--webhook", "all"}, false},
	} {
		_, _, stderr := r.command(tt.args...)
		got := strings.HasPrefix(stderr, "ci: disabled by command (") && strings.HasSuffix(stderr, "its deliveries wait until: bellbuoy enable ci\n")
		if got != tt.want || !tt.want && stderr != "" {
			t.Errorf("%v: got stderr %q, want an explanation about ci: %t", tt.args, stderr, tt.want)
		}
	}
}

func TestWhyWaiting(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	since := at.Format("2006-01-02 15:04:05 MST")
	for want, s := range map[string]notify.WebhookState{
		"not enabled in the configuration; its deliveries wait":                                                  {Name: "w", Off: notify.SwitchedByGone},
		"disabled since its receiver answered 410 (" + since + "); its deliveries wait until: bellbuoy enable w": {Name: "w", Enabled: true, Off: notify.SwitchedByGone, OffSince: at, Open: true},
		"disabled by command (" + since + "); its deliveries wait until: bellbuoy enable w":                      {Name: "w", Enabled: true, Off: notify.SwitchedByOperator, OffSince: at},
		"its receiver has failed since " + since + " (503 Service Unavailable); one delivery probes at " + since + ", and the others wait until one succeeds": {
			Name: "w", Enabled: true, Open: true, Failing: at, Why: "503 Service Unavailable", ProbeAt: at},
	} {
		state, from, why := manage.StateOf(s)
		if got := whyWaiting(api.V1Waiting{Webhook: s.Name, State: state, Since: from, Why: why, NextTry: s.ProbeAt}); got != want {
			t.Errorf("%+v: got %q, want %q", s, got, want)
		}
	}
	if state, _, _ := manage.StateOf(notify.WebhookState{Name: "w", Enabled: true}); state != manage.StateOK {
		t.Errorf("an enabled webhook without events: got state %q, want %q", state, manage.StateOK)
	}
}

// A shell lacks the STATE_DIRECTORY that systemd set for bellbuoy. The error of a command says so.
func TestErrorWithoutRunningBellbuoy(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("bellbuoy.yaml", []byte(smallConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		state string
		want  string
	}{
		{"", "data/admin.sock); if systemd or a container runs it without data_dir in the file, its data is in $STATE_DIRECTORY"},
		{"/nonexistent/state", "(nothing answers on /nonexistent/state/admin.sock)\n"},
	} {
		var errs bytes.Buffer
		env := func(name string) (string, bool) {
			value, set := map[string]string{"STATE_DIRECTORY": tt.state}[name]
			return value, set && value != ""
		}
		if code := run(t.Context(), []string{"events"}, system{Stdout: io.Discard, Stderr: &errs, LookupEnv: env}); code != 1 || !strings.Contains(errs.String(), tt.want) {
			t.Errorf("STATE_DIRECTORY=%q: exit code %d, stderr %q, want 1 and %q", tt.state, code, errs.String(), tt.want)
		}
	}
}

func TestNextAttempt(t *testing.T) {
	due, probe := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for name, c := range map[string]struct {
		state notify.WebhookState
		want  time.Time
	}{
		"works":             {notify.WebhookState{Enabled: true}, due},
		"fails":             {notify.WebhookState{Enabled: true, Open: true, ProbeAt: probe}, probe},
		"answered 410":      {notify.WebhookState{Enabled: true, Off: notify.SwitchedByGone}, time.Time{}},
		"disabled":          {notify.WebhookState{Enabled: true, Off: notify.SwitchedByOperator, Open: true, ProbeAt: probe}, time.Time{}},
		"off in the config": {notify.WebhookState{}, time.Time{}},
	} {
		if got := nextAttempt(c.state, due); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestNextAttemptIsNeverInThePast(t *testing.T) {
	if got := nextAttempt(notify.WebhookState{Enabled: true}, time.Now().Add(-time.Minute)); !got.IsZero() {
		t.Errorf("nextAttempt of a delivery that was due a minute ago: got %v, want no time", got)
	}
}
