package api

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// mostExecutions bounds the deliveries that a list counts and shows.
const mostExecutions = 10_000

// Harbor's words for the states of a delivery.
const (
	statusSuccess = "Success"
	statusError   = "Error"
	statusPending = "Pending"
	statusRunning = "Running"
	statusStopped = "Stopped"
)

func statusWord(d store.Delivery) string {
	switch {
	case d.State == store.Delivered:
		return statusSuccess
	case d.State == store.Dead:
		return statusError
	case d.State == store.Parked:
		return statusStopped
	case d.Attempts > 0:
		return statusRunning
	}
	return statusPending
}

type executionJSON struct {
	ID      int64          `json:"id"`
	Vendor  string         `json:"vendor_type"`
	Policy  int64          `json:"vendor_id"`
	Status  string         `json:"status"`
	Message string         `json:"status_message,omitempty"`
	Metrics map[string]int `json:"metrics"`
	Trigger string         `json:"trigger"`
	Extra   map[string]any `json:"extra_attrs"`
	Begun   string         `json:"start_time"`
	Ended   string         `json:"end_time,omitempty"`
}

type taskJSON struct {
	ID        int64  `json:"id"`
	Execution int64  `json:"execution_id"`
	Status    string `json:"status"`
	Message   string `json:"status_message,omitempty"`
	Runs      int    `json:"run_count"`
	Made      string `json:"creation_time"`
	Changed   string `json:"update_time"`
	Begun     string `json:"start_time"`
	Ended     string `json:"end_time,omitempty"`
}

type jobJSON struct {
	ID      int64      `json:"id"`
	Policy  int64      `json:"policy_id"`
	Event   string     `json:"event_type"`
	Notify  string     `json:"notify_type"`
	Status  string     `json:"status"`
	Detail  string     `json:"job_detail"`
	Made    harborTime `json:"creation_time"`
	Changed harborTime `json:"update_time"`
}

// executions returns a webhook's deliveries with one of the statuses, newest first. Without
// statuses it returns all.
func (h *Harbor) executions(c *call, w manage.Policy, statuses []string) ([]store.Delivery, error) {
	found, err := h.History.Deliveries(c.Context(), c.by, store.DeliveryQuery{Webhook: w.Key, Limit: mostExecutions})
	if len(statuses) > 0 {
		found = slices.DeleteFunc(found, func(d store.Delivery) bool { return !slices.Contains(statuses, statusWord(d)) })
	}
	return found, err
}

// window is the part of a list that a page shows. Items outside it are not read.
func window[T any](p page, all []T, show func(T) error) error {
	if p.size == 0 {
		p.size = mostExecutions
	}
	for i := (p.number - 1) * p.size; i < min(p.number*p.size, len(all)); i++ {
		if err := show(all[i]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Harbor) listExecutions(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	terms, err := c.terms("status", "vendor_id", "vendor_type", "id")
	if err != nil {
		return err
	}
	var statuses []string
	for _, t := range terms {
		if t.key == "status" {
			statuses = append(statuses, t.value)
		}
	}
	found, err := h.executions(c, c.webhook, statuses)
	if err != nil {
		return err
	}
	out := make([]executionJSON, len(found))
	for i, d := range found {
		out[i].ID = d.ID
	}
	i := (p.number - 1) * p.size
	err = window(p, found, func(d store.Delivery) (err error) {
		out[i], err = h.execution(c, d)
		i++
		return err
	})
	if err != nil {
		return err
	}
	return answerPage(c, p, out)
}

func (h *Harbor) execution(c *call, d store.Delivery) (executionJSON, error) {
	event, payload, err := h.about(c, d)
	status := statusWord(d)
	e := executionJSON{
		ID: d.ID, Vendor: "WEBHOOK", Policy: c.webhook.Number, Status: status, Message: d.Reason, Trigger: "EVENT",
		Metrics: map[string]int{"task_count": 1, strings.ToLower(status) + "_task_count": 1},
		Extra:   map[string]any{"event_type": event, "payload": payload},
		Begun:   seconds(d.CreatedAt), Ended: seconds(d.FinishedAt),
	}
	return e, err
}

// about returns the type of a delivery's event, and the rendered body, if there is one.
func (h *Harbor) about(c *call, d store.Delivery) (event, payload string, err error) {
	if event, err = h.History.Type(c.Context(), d.EventID); err != nil {
		return "", "", err
	}
	whole, err := h.History.Deliveries(c.Context(), c.by, store.DeliveryQuery{IDs: []int64{d.ID}})
	if err == nil && len(whole) > 0 && whole[0].Payload != nil {
		payload = strings.ToValidUTF8(string(whole[0].Payload.Body), "\uFFFD")
	}
	return event, payload, err
}

func seconds(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// delivery returns the delivery whose number is in the path. It must be a delivery of the webhook.
func (h *Harbor) delivery(c *call, name string) (store.Delivery, error) {
	id, err := c.number(name)
	if err != nil {
		return store.Delivery{}, err
	}
	found, err := h.History.Deliveries(c.Context(), c.by, store.DeliveryQuery{IDs: []int64{id}})
	if err != nil {
		return store.Delivery{}, err
	}
	if len(found) == 0 || found[0].Webhook != c.webhook.Key {
		return store.Delivery{}, fmt.Errorf("%w: %s %d not found", manage.ErrNotFound, name, id)
	}
	return found[0], nil
}

func (h *Harbor) listTasks(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	d, err := h.delivery(c, "execution")
	if err != nil {
		return err
	}
	changed := d.CreatedAt
	if !d.FinishedAt.IsZero() {
		changed = d.FinishedAt
	}
	return answerPage(c, p, []taskJSON{{ID: d.ID, Execution: d.ID, Status: statusWord(d), Message: d.Reason, Runs: d.Attempts,
		Made: seconds(d.CreatedAt), Changed: seconds(changed), Begun: seconds(d.CreatedAt), Ended: seconds(d.FinishedAt)}})
}

// taskLog answers with a line for each attempt.
func (h *Harbor) taskLog(c *call) error {
	d, err := h.delivery(c, "task")
	if err != nil {
		return err
	}
	if c.PathValue("execution") != c.PathValue("task") {
		return fmt.Errorf("%w: the execution has no such task", manage.ErrNotFound)
	}
	attempts, err := h.History.Attempts(c.Context(), c.by, d.ID)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	var log strings.Builder
	for i, a := range attempts {
		line := func(level, text string) {
			fmt.Fprintf(&log, "%s [%s] attempt %d: %s\n", a.At.UTC().Format(time.RFC3339), level, i+1, text)
		}
		answer := strings.ToValidUTF8(string(a.Response), "\uFFFD")
		took := a.Latency.Round(time.Millisecond)
		switch {
		case a.Status == 0:
			line("ERROR", fmt.Sprintf("no answer after %v: %s: %s", took, a.Reason, a.Error))
		case a.Reason != "":
			line("ERROR", fmt.Sprintf("response code %d after %v (%s), body: %s", a.Status, took, a.Reason, answer))
		default:
			line("INFO", fmt.Sprintf("response code %d after %v, body: %s", a.Status, took, answer))
		}
	}
	_, _ = io.WriteString(c.w, log.String())
	return nil
}

func (h *Harbor) supportedEvents(c *call) error {
	type formats struct {
		Notify  string   `json:"notify_type"`
		Formats []string `json:"formats"`
	}
	return c.answer(struct {
		Events  []string  `json:"event_type"`
		Notify  []string  `json:"notify_type"`
		Formats []formats `json:"payload_formats"`
	}{EventTypes(), []string{"http", "slack"}, []formats{{"http", []string{"Default", "CloudEvents"}}}})
}

// lastTriggers answers with an entry for each type of each webhook.
func (h *Harbor) lastTriggers(c *call) error {
	type row struct {
		Policy  string     `json:"policy_name"`
		Event   string     `json:"event_type"`
		Enabled bool       `json:"enabled"`
		Made    harborTime `json:"creation_time"`
		Last    harborTime `json:"last_trigger_time"`
	}
	all, err := h.policies(c)
	if err != nil {
		return err
	}
	out := []row{}
	for _, w := range all {
		fired, err := h.History.LastFired(c.Context(), w.Key)
		if err != nil {
			return err
		}
		for _, e := range shownPolicy(w, c.project).Events {
			out = append(out, row{w.Name, e, w.Enabled, harborTime(w.Made), harborTime(fired[e])})
		}
	}
	return c.answer(out)
}

// listJobs answers with the executions of a policy in the form of older versions of Harbor.
func (h *Harbor) listJobs(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	query := c.URL.Query()
	number, err := strconv.ParseInt(query.Get("policy_id"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: policy_id in query is required, and a number", errUnprocessable)
	}
	all, err := h.policies(c)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(w manage.Policy) bool { return w.Number == number })
	if i < 0 {
		return fmt.Errorf("%w: webhook policy %d not found", manage.ErrNotFound, number)
	}
	c.webhook = all[i]
	found, err := h.executions(c, c.webhook, query["status"])
	if err != nil {
		return err
	}
	out := make([]jobJSON, len(found))
	at := (p.number - 1) * p.size
	err = window(p, found, func(d store.Delivery) error {
		event, payload, err := h.about(c, d)
		out[at] = jobJSON{ID: d.ID, Policy: number, Event: event, Notify: shownPolicy(c.webhook, c.project).Targets[0].Type,
			Status: statusWord(d), Detail: payload, Made: harborTime(d.CreatedAt), Changed: harborTime(latest(d))}
		at++
		return err
	})
	if err != nil {
		return err
	}
	return answerPage(c, p, out)
}

func latest(d store.Delivery) time.Time {
	if d.FinishedAt.IsZero() {
		return d.CreatedAt
	}
	return d.FinishedAt
}
