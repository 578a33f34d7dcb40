package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

const tickedMost = 1000 // rows that one form may tick

// ticked are the numbers of the ticked rows.
func (v *pageRequest) ticked(field string) (numbers []int64, err error) {
	if err := v.ParseForm(); err != nil {
		return nil, fmt.Errorf("%w: the form cannot be read", errBadRequest)
	}
	all := v.PostForm[field]
	if len(all) > tickedMost {
		return nil, fmt.Errorf("%w: more than %d are ticked", errBadRequest, tickedMost)
	}
	for _, text := range all {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is not a number", errBadRequest, text)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// back is the query of the page that a form was on.
func (v *pageRequest) back() url.Values {
	q, err := url.ParseQuery(v.PostFormValue("back"))
	if err != nil {
		return url.Values{}
	}
	return q
}

// each does something with each webhook and goes back to the list, which says how many it was.
func (v *pageRequest) each(numbers []int64, do func(context.Context, access.Principal, int64) error, done string, back url.Values) error {
	for _, n := range numbers {
		if err := do(v.Context(), v.by, n); err != nil {
			return err
		}
	}
	back.Set("done", done)
	back.Set("n", strconv.Itoa(len(numbers)))
	if v.PostForm.Has("here") && done != "deleted" { // the button was on the webhook's own page
		v.redirect(fmt.Sprintf("%s/%d", webhooksPath, numbers[0]), back)
		return nil
	}
	v.redirect(webhooksPath, back)
	return nil
}

// removeWebhooks deletes webhooks once that is confirmed.
func (v *pageRequest) removeWebhooks(numbers []int64, back url.Values) error {
	if v.PostFormValue("confirmed") == "yes" {
		return v.each(numbers, v.c.Webhooks.Remove, "deleted", back)
	}
	p := confirmPage{Action: webhooksPath + "/action", Back: webhooksPath + "?" + back.Encode(), Button: "Delete", Danger: true,
		Keep: []pair{{"do", "delete"}, {"back", back.Encode()}}}
	waiting := int64(0)
	for _, n := range numbers {
		w, err := v.c.Webhooks.Webhook(v.Context(), v.by, n)
		if err != nil {
			return err
		}
		if !w.Editable {
			return fmt.Errorf("%w: the webhook %s is in the configuration file (%s); delete it there", errBadRequest, w.Name, w.Source)
		}
		waiting += w.Health.Pending + w.Health.Parked
		p.Items = append(p.Items, fullName(w))
		p.Keep = append(p.Keep, pair{"webhook", strconv.FormatInt(n, 10)})
	}
	p.Title = "Delete " + plural(len(numbers), "webhook", "webhooks") + "?"
	p.Text = "This cannot be undone."
	if waiting > 0 {
		p.Text = plural(waiting, "delivery that waits becomes a dead letter", "deliveries that wait become dead letters") + ". This cannot be undone."
	}
	v.render(http.StatusOK, "confirm", pageData{Title: "Delete", Tab: "webhooks", Body: p})
	return nil
}

// fullName is the name by which a webhook is found: one of the store has its project before it.
func fullName(w manage.Webhook) string {
	if w.Project == "" || w.Source != "" {
		return w.Name
	}
	return w.Project + "/" + w.Name
}
