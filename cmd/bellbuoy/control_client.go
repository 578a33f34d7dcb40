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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// The commands talk to the running bellbuoy over data_dir/admin.sock, by /api/v1. Whoever may
// read the data may use it. control_server.go has the server.

const socketName = "admin.sock"

// controlClient is the client of admin.sock.
type controlClient struct {
	http   http.Client
	socket string
	hint   string // where another bellbuoy may have its socket; "": nowhere
}

// withDataDirFlag adds --data-dir to a command that talks to the running bellbuoy.
func (a *app) withDataDirFlag(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&a.dataDir, "data-dir", "", "`DIRECTORY` of the running bellbuoy's data; by default data_dir of the configuration")
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
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
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
		return nil, errorOf(resp)
	}
	return resp, nil
}

// errorOf returns the error that an answer describes.
func errorOf(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct{ Message, Location string }
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		return errors.New(strings.TrimSpace(string(body)))
	}
	if resp.StatusCode == http.StatusUnprocessableEntity && problem.Detail == "validation failed" {
		var texts []string
		for _, e := range problem.Errors {
			texts = append(texts, e.Location+": "+e.Message)
		}
		return errors.New(strings.Join(texts, "; "))
	}
	return errors.New(problem.Detail)
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

const (
	mostLines    = 10_000 // that a command lists
	mostSearches = 100    // pages that the server ended because it had tested enough rows
)

// v1 is the path of an endpoint of /api/v1.
func v1(path string) string { return api.V1Path + path }

// listPage is a page of a list of /api/v1.
type listPage[T any] struct {
	Items    []T       `json:"items"`
	Next     string    `json:"next"`
	LookedTo time.Time `json:"looked_to"`
	Last     string    `json:"last"`
}

// webhookNamed returns the path of a webhook by its key, or of one of the store by project/name.
func (c *controlClient) webhookNamed(ctx context.Context, name string) (path string, err error) {
	var found listPage[api.V1Webhook]
	if err := c.call(ctx, http.MethodGet, v1("/webhooks"), url.Values{"named": {name}}, nil, &found); err != nil {
		return "", err
	}
	if len(found.Items) == 0 {
		return "", fmt.Errorf("%q: %w", name, notify.ErrNoWebhook)
	}
	i := slices.IndexFunc(found.Items, func(w api.V1Webhook) bool { return w.Key == name })
	return v1(fmt.Sprintf("/webhooks/%d", found.Items[max(i, 0)].Number)), nil
}

// newestOf returns the newest items of a list, newest first, at most limit. If it stopped before
// the end of the list, looked is the time of the last row that was tested. last is the first page's
// position of the newest event.
func newestOf[T any](ctx context.Context, c *controlClient, path string, query url.Values, limit int) (items []T, looked time.Time, last string, err error) {
	if limit < 1 || limit > mostLines {
		return nil, looked, "", fmt.Errorf("--limit must be a number from 1 to %d", mostLines)
	}
	for searches := 0; ; {
		query.Set("limit", strconv.Itoa(min(limit-len(items), manage.MostPage)))
		var p listPage[T]
		if err := c.call(ctx, http.MethodGet, path, query, nil, &p); err != nil {
			return nil, looked, "", err
		}
		if query.Get("cursor") == "" {
			last = p.Last
		}
		items = append(items, p.Items...)
		if !p.LookedTo.IsZero() {
			searches++
		}
		switch {
		case p.Next == "" || len(items) >= limit:
			return items, looked, last, nil
		case searches >= mostSearches:
			return items, p.LookedTo, last, nil
		}
		query.Set("cursor", p.Next)
	}
}
