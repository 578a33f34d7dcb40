package console

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

const deliveriesPath = "/deliveries"

func (c *Console) addDeliveries() {
	c.mux.Handle("GET "+deliveriesPath, c.page(showDeliveries))
	c.mux.Handle("GET "+deliveriesPath+"/{id}", c.page(showDelivery))
	c.mux.Handle("POST "+deliveriesPath+"/redeliver", c.page(redeliver))
}

const deliveriesAtOnce = 50 // rows of a page

type deliveriesPage struct {
	Filters filters
	Rows    []manage.Delivery
	Back    string // the filters, as a query
	Pages   pages
}

func showDeliveries(v *pageRequest) error {
	p := deliveriesPage{Filters: v.filters(byWebhook, byState, byType, byRepository, byProject, byFrom, byTo)}
	q, err := v.deliveryQuery(p.Filters)
	if err != nil {
		return err
	}
	q.Cursor, q.Limit = v.URL.Query().Get("cursor"), deliveriesAtOnce
	if !p.Filters.Form.Problems() {
		found, err := v.c.Deliveries.Deliveries(v.Context(), v.by, q)
		if err := p.Filters.refused(err); err != nil {
			return err
		}
		p.Rows = found.Deliveries
		p.Pages = p.Filters.pages(v.URL.Query(), found.Next, searched(found.Searched, found.LookedTo), q.Since, q.Until)
	}
	p.Back = p.Filters.Form.values.Encode()
	v.render(p.Filters.status(), "deliveries", pageData{Title: "Deliveries", Tab: "deliveries", Body: p})
	return nil
}

// deliveryQuery reads the filters. What is wrong with one is a problem of its field.
func (v *pageRequest) deliveryQuery(f filters) (q manage.DeliveryQuery, err error) {
	q = manage.DeliveryQuery{Project: f.Form.Value("project"), Repository: f.Form.Value("repository")}
	q.Since, q.Until = f.span()
	if state := f.Form.Value("state"); state != "" {
		q.States = []string{state}
	}
	if t := f.Form.Value("type"); t != "" {
		q.Types = []string{t}
	}
	name := f.Form.Value("webhook")
	if name == "" {
		return q, nil
	}
	w, err := v.findWebhook(name)
	switch {
	case errors.Is(err, manage.ErrNotFound) && strings.Contains(name, "#"):
		q.WebhookKey, err = name, nil // of one that was deleted
	case errors.Is(err, manage.ErrNotFound), errors.Is(err, errBadRequest):
		f.Form.problems["webhook"], err = sentence(plainText(err)), nil
	}
	q.Webhook = w.Number
	return q, err
}

// findWebhook finds a webhook by its name, with or without its project.
func (v *pageRequest) findWebhook(name string) (w manage.Webhook, err error) {
	w, err = v.c.Webhooks.Find(v.Context(), v.by, name)
	if !errors.Is(err, manage.ErrNotFound) {
		return w, err
	}
	all, err := v.c.Webhooks.Webhooks(v.Context(), v.by)
	if err != nil {
		return w, err
	}
	all = slices.DeleteFunc(all, func(w manage.Webhook) bool { return w.Name != name })
	switch len(all) {
	case 0:
		return w, fmt.Errorf("%w: no webhook has this name", manage.ErrNotFound)
	case 1:
		return all[0], nil
	}
	names := make([]string, 0, len(all))
	for _, one := range all[:min(len(all), 5)] {
		names = append(names, fullName(one))
	}
	return w, fmt.Errorf("%w: several webhooks have this name: %s", errBadRequest, strings.Join(names, ", "))
}

type deliveryPage struct {
	Delivery    manage.DeliveryDetail
	Redelivered bool
}

func showDelivery(v *pageRequest) error {
	id, err := strconv.ParseInt(v.PathValue("id"), 10, 64)
	if err != nil {
		return manage.ErrNotFound
	}
	d, err := v.c.Deliveries.Delivery(v.Context(), v.by, id)
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "delivery", pageData{Title: fmt.Sprintf("Delivery %d", id), Tab: "deliveries", Body: deliveryPage{Delivery: d}})
	return nil
}

// redeliver makes deliveries due: one at once, several after it has asked with their number.
func redeliver(v *pageRequest) error {
	ids, err := v.ticked("delivery")
	if err != nil {
		return err
	}
	back := v.back()
	q := manage.DeliveryQuery{IDs: ids}
	one := v.PostFormValue("do") == "one"
	matching := v.PostFormValue("do") == "matching"
	switch {
	case matching:
		if q, err = v.matching(back); err != nil {
			return err
		}
	case len(ids) == 0:
		back.Set("done", "nodelivery")
		v.redirect(deliveriesPath, back)
		return nil
	}
	if err := v.seen(ids); err != nil {
		return err
	}
	if !one && v.PostFormValue("confirmed") != "yes" {
		return v.confirmRedelivery(q, ids, matching, back)
	}
	n, err := v.c.Deliveries.Redeliver(v.Context(), v.by, q)
	if err != nil {
		return err
	}
	done := url.Values{"done": {"redelivered"}, "n": {strconv.Itoa(n)}}
	if one && len(ids) == 1 {
		v.redirect(fmt.Sprintf("%s/%d", deliveriesPath, ids[0]), done)
		return nil
	}
	maps.Copy(back, done)
	v.redirect(deliveriesPath, back)
	return nil
}

// seen returns an error unless the account sees one of these deliveries.
func (v *pageRequest) seen(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := v.c.Deliveries.Deliveries(v.Context(), v.by, manage.DeliveryQuery{IDs: ids, Limit: 1})
	if err == nil && len(found.Deliveries) == 0 {
		err = manage.ErrNotFound
	}
	return err
}

// matching is the query of the filters in back. It ends when it was asked for, so that as many are
// redelivered as the question says.
func (v *pageRequest) matching(back url.Values) (q manage.DeliveryQuery, err error) {
	f := filters{Form: newForm(back)}
	if q, err = v.deliveryQuery(f); err != nil {
		return q, err
	}
	for name, problem := range f.Form.problems {
		return q, fmt.Errorf("%w: %s: %s", errBadRequest, name, problem)
	}
	if q.Until.IsZero() {
		q.Until = time.Now()
		if asked, err := time.Parse(time.RFC3339Nano, v.PostFormValue("asked")); err == nil {
			q.Until = asked
		}
	}
	return q, nil
}

func (v *pageRequest) confirmRedelivery(q manage.DeliveryQuery, ids []int64, matching bool, back url.Values) error {
	n, err := v.c.Deliveries.Redeliverable(v.Context(), v.by, q)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: there is nothing to redeliver; parked deliveries wait until their webhook is enabled", errBadRequest)
	}
	p := confirmPage{Title: "Redeliver?", Action: deliveriesPath + "/redeliver", Back: deliveriesPath + "?" + back.Encode(), Button: "Redeliver " + strconv.Itoa(n),
		Text: plural(n, "delivery is sent again, as it was made then, to its webhook.", "deliveries are sent again, as they were made then, to their webhooks."),
		Keep: []pair{{"do", v.PostFormValue("do")}, {"back", back.Encode()}}}
	for _, id := range ids {
		p.Keep = append(p.Keep, pair{"delivery", strconv.FormatInt(id, 10)})
	}
	if matching {
		p.Keep = append(p.Keep, pair{"asked", q.Until.Format(time.RFC3339Nano)})
		p.Items = filterWords(back)
		if len(q.States) == 0 {
			p.Items = append(p.Items, "State: Dead")
		}
	}
	v.render(http.StatusOK, "confirm", pageData{Title: "Redeliver", Tab: "deliveries", Body: p})
	return nil
}

// filterWords says which filters are set.
func filterWords(q url.Values) (words []string) {
	for _, f := range []filterField{byWebhook, byState, byType, byRepository, byProject, byFrom, byTo} {
		value := q.Get(f.Name)
		if value == "" {
			continue
		}
		for _, o := range f.Options {
			if o.Value == value {
				value = o.Label
			}
		}
		words = append(words, f.Label+": "+value)
	}
	return words
}

// headerLine is a header of a POST.
type headerLine struct{ Name, Value string }

// headerLines are headers, sorted.
func headerLines(h http.Header) (lines []headerLine) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			lines = append(lines, headerLine{name, value})
		}
	}
	return lines
}
