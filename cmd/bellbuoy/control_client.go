package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// The commands talk to the running bellbuoy over data_dir/admin.sock, in JSON over HTTP. Whoever
// may read the data may use it. Lists are JSON lines. These types are used by both sides;
// control_server.go has the server.

const socketName = "admin.sock"

type (
	eventLine struct {
		Seq int64 `json:"seq"`
		format.BellbuoyEvent
	}
	deliveryLine struct {
		ID         int64         `json:"id"`
		Webhook    string        `json:"webhook"`
		State      string        `json:"state"` // pending, delivered, dead or parked
		EventID    string        `json:"event_id"`
		Type       string        `json:"type"`
		Repository string        `json:"repository"`
		Tag        string        `json:"tag,omitempty"`
		Attempts   int           `json:"attempts"`
		Status     int           `json:"status,omitempty"` // of the last answer
		Reason     string        `json:"reason,omitempty"` // of the last failure
		CreatedAt  time.Time     `json:"created_at"`
		NextAt     time.Time     `json:"next_at,omitzero"`
		FinishedAt time.Time     `json:"finished_at,omitzero"`
		Sent       *sentRequest  `json:"sent,omitempty"` // only if one delivery was requested
		Log        []attemptLine `json:"log,omitempty"`  // its attempts
	}
	sentRequest struct {
		URL    string      `json:"url,omitempty"` // without secrets
		Header http.Header `json:"header"`        // secrets are masked
		Body   string      `json:"body"`
		Binary []byte      `json:"binary,omitempty"` // the body, if it is not text
	}
	attemptLine struct {
		At       time.Time `json:"at"`
		Status   int       `json:"status,omitempty"`
		Millis   float64   `json:"milliseconds"`
		Reason   string    `json:"reason,omitempty"`
		Error    string    `json:"error,omitempty"`
		Response string    `json:"response,omitempty"`
		Replica  string    `json:"replica,omitempty"`
	}
	redeliverRequest struct {
		IDs     []int64   `json:"ids,omitempty"`
		Webhook string    `json:"webhook,omitempty"`
		States  []string  `json:"states,omitempty"`
		Since   time.Time `json:"since,omitzero"`
	}
	countAnswer struct {
		Count int `json:"count"`
	}
	reloadAnswer struct {
		File      string   `json:"file"`
		Taken     bool     `json:"taken"`
		Said      []string `json:"said,omitempty"` // problems and warnings, one per line
		Upstreams int      `json:"upstreams"`
		Webhooks  int      `json:"webhooks"`
	}
	pingAnswer struct {
		Status   int     `json:"status"`
		Millis   float64 `json:"milliseconds"`
		Response string  `json:"response,omitempty"`
		Error    string  `json:"error,omitempty"`
		OK       bool    `json:"ok"`
	}
	consoleAnswer struct {
		URL string `json:"url"`
	}
	indexRequest struct {
		Upstream     string   `json:"upstream"`
		Repositories []string `json:"repositories,omitempty"`
		Heads        bool     `json:"heads,omitempty"`
	}
	indexLine struct {
		Repositories     int     `json:"repositories"`
		Counted          bool    `json:"counted"`
		RepositoriesDone int     `json:"repositories_done"`
		Tags             int     `json:"tags"`
		Skipped          int     `json:"skipped"`
		Rate             float64 `json:"rate"`
		Skip             string  `json:"skip,omitempty"` // what could not be read, and why
		Done             bool    `json:"done,omitempty"`
		Error            string  `json:"error,omitempty"`
	}
)

// controlClient is the client of admin.sock.
type controlClient struct {
	http   http.Client
	socket string
	hint   string // where another bellbuoy may have its socket; "": nowhere
}

// withDataDirFlag adds --data-dir to a command that talks to the running bellbuoy.
func (a *app) withDataDirFlag(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&a.dataDir, "data-dir", "", "`directory` of the running bellbuoy's data; default: data_dir of the configuration")
	_ = c.MarkFlagDirname("data-dir") // fails only if the flag is missing
	return c
}

// connect finds the socket of the running bellbuoy: in --data-dir, else in data_dir of the
// configuration.
func (a *app) connect() (*controlClient, error) {
	dir, hint, err := a.findDataDir()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, socketName)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &controlClient{socket: socket, hint: hint, http: http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// findDataDir returns the directory of the running bellbuoy's data, and a hint for an error if none
// runs there.
func (a *app) findDataDir() (dir, hint string, err error) {
	if a.dataDir != "" {
		return a.dataDir, "", nil
	}
	path, err := config.Find(a.configFlag, a.LookupEnv)
	if err != nil {
		return "", "", fmt.Errorf("%w; give the directory of its data with --data-dir", err)
	}
	dir, named, err := config.DataDir(path, a.LookupEnv)
	if err != nil {
		return "", "", fmt.Errorf("%w\ngive the directory of its data with --data-dir", err)
	}
	if _, set := a.LookupEnv("STATE_DIRECTORY"); !set && !named {
		hint = "; if systemd or a container runs it without data_dir in the file, its data is in $STATE_DIRECTORY: give that, such as --data-dir /var/lib/bellbuoy"
	}
	return dir, hint, nil
}

// do sends one request; a nil body sends none. Every answer except 2xx becomes an error with the
// server's text.
func (c *controlClient) do(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://bellbuoy"+path+"?"+query.Encode(), payload)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no bellbuoy is running there (nothing answers on %s)%s", c.socket, c.hint)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied; run this as the user of the running bellbuoy, or as root", c.socket)
	case err != nil:
		return nil, err
	case resp.StatusCode/100 != 2:
		defer resp.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, errors.New(strings.TrimSpace(string(said)))
	}
	return resp, nil
}

// call sends one request and decodes its answer.
func (c *controlClient) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// lines calls each for every JSON line of an answer, as the lines arrive.
func lines[T any](answer io.Reader, each func(T) error) error {
	in := bufio.NewScanner(answer)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var line T
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
	return in.Err()
}
