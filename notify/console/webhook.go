package console

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func (c *Console) addWebhook() {
	one := webhooksPath + "/{number}"
	c.mux.Handle("GET "+one, c.page(showWebhook))
	c.mux.Handle("GET "+one+"/yaml", c.page(exportWebhook))
	c.mux.Handle("POST "+one+"/test", c.page(testWebhook))
	c.mux.Handle("POST "+one+"/replay", c.page(replayWebhook))
	c.mux.Handle("POST "+one+"/takeover", c.page(takeOverWebhook))
}

type webhookPage struct {
	Webhook    manage.Webhook
	Triggers   []manage.Trigger
	Deliveries []manage.Delivery
	MayChange  bool // edit, delete
	MaySwitch  bool // enable, disable
	MayTake    bool // over
	Form       form // of tests and replays
	Sent       *manage.Sent
}

func showWebhook(v *pageRequest) error {
	return v.showWebhook(http.StatusOK, newForm(url.Values{"sample": {string(detect.PushArtifact)}, "since": {"24h"}}), nil)
}

func (v *pageRequest) showWebhook(status int, f form, sent *manage.Sent) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	p := webhookPage{Form: f, Sent: sent}
	if p.Webhook, err = v.c.Webhooks.Webhook(v.Context(), v.by, n); err != nil {
		return err
	}
	if p.Triggers, err = v.c.Webhooks.Triggers(v.Context(), v.by, n); err != nil {
		return err
	}
	recent, err := v.c.Deliveries.Deliveries(v.Context(), v.by, manage.DeliveryQuery{Webhook: n, Limit: 10})
	if err != nil {
		return err
	}
	p.Deliveries = recent.Deliveries
	p.MayChange = p.Webhook.Editable
	p.MaySwitch = p.Webhook.Editable || v.by.Administrator
	p.MayTake = v.by.Administrator && p.Webhook.Limited
	v.render(status, "webhook", pageData{Title: p.Webhook.Name, Tab: "webhooks", Body: p})
	return nil
}

// exportWebhook is the entry of webhooks in the configuration that stands for a webhook.
func exportWebhook(v *pageRequest) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	text, err := v.c.Webhooks.YAML(v.Context(), v.by, n)
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = v.w.Write(text) // fails only if the client has disconnected
	return nil
}

func testWebhook(v *pageRequest) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	if err := v.ParseForm(); err != nil {
		return fmt.Errorf("%w: the form cannot be read", errBadRequest)
	}
	sample := v.PostForm.Get("sample")
	if eventWords[detect.Type(sample)] == "" {
		sample = string(detect.PushArtifact)
	}
	sent, err := v.c.Webhooks.Test(v.Context(), v.by, n, sample)
	if problems, ok := errors.AsType[manage.Problems](err); ok {
		sent, err = manage.Sent{Error: problems.Error()}, nil
	}
	if err != nil {
		return err
	}
	v.PostForm.Set("since", "24h")
	return v.showWebhook(http.StatusOK, newForm(v.PostForm), &sent)
}

// replayWebhook asks with the number, and then plans what the webhook has missed.
func replayWebhook(v *pageRequest) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	since, err := timeOf(v.PostFormValue("since"), time.Now(), false)
	if err != nil {
		return v.refusedReplay(err.Error())
	}
	confirmed := v.PostFormValue("confirmed") == "yes"
	got, err := v.c.Deliveries.Replay(v.Context(), v.by, n, since, confirmed)
	if problems, ok := errors.AsType[manage.Problems](err); ok {
		return v.refusedReplay(problems.Error())
	}
	if err != nil {
		return err
	}
	if !confirmed {
		return v.confirmReplay(n, since, got)
	}
	v.redirect(fmt.Sprintf("%s/%d", webhooksPath, n), url.Values{"done": {"replayed"}, "n": {strconv.Itoa(got.Deliveries)}})
	return nil
}

// refusedReplay shows what is wrong beside the field.
func (v *pageRequest) refusedReplay(problem string) error {
	f := newForm(v.PostForm)
	f.problems["since"] = sentence(problem)
	return v.showWebhook(http.StatusUnprocessableEntity, f, nil)
}

func (v *pageRequest) confirmReplay(n int64, since time.Time, got manage.Replayed) error {
	w, err := v.c.Webhooks.Webhook(v.Context(), v.by, n)
	if err != nil {
		return err
	}
	here := fmt.Sprintf("%s/%d", webhooksPath, n)
	p := confirmPage{
		Title: "Replay for " + w.Name + "?", Action: here + "/replay", Back: here, Button: "Replay " + strconv.Itoa(got.Deliveries),
		Text: fmt.Sprintf("Since %s %s it and was not sent to it. Replaying sends %s.", absolute(since), plural(got.Events, "event matches", "events match"), plural(got.Deliveries, "delivery", "deliveries")),
		Keep: []pair{{"since", since.Format(time.RFC3339Nano)}},
	}
	v.render(http.StatusOK, "confirm", pageData{Title: "Replay", Tab: "webhooks", Body: p})
	return nil
}

func takeOverWebhook(v *pageRequest) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	if err := v.c.Webhooks.TakeOver(v.Context(), v.by, n); err != nil {
		return err
	}
	v.redirect(fmt.Sprintf("%s/%d?done=takenover", webhooksPath, n), nil)
	return nil
}
