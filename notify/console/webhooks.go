package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

const webhooksPath = "/webhooks"

func (c *Console) addWebhooks() {
	c.mux.Handle("GET "+webhooksPath, c.page(showWebhooks))
	c.mux.Handle("GET "+webhooksPath+"/{number}/triggers", c.page(showTriggers))
	c.mux.Handle("POST "+webhooksPath+"/action", c.page(actOnWebhooks))
}

const webhooksAtOnce = 50 // rows of a page

type webhooksPage struct {
	Filters filters
	Rows    []webhookRow
	Keep    []pair // the filters
	Back    string // the filters, as a query
	Pages   pages
	Project string // that is filtered by, for a new one
	MayMake bool
}

type webhookRow struct {
	manage.Webhook
	Label    string // what its box, arrow and link are called: the name, with the project if another row has the same
	Tickable bool   // something can be done with it
	Types    string
	Opened   bool
	Triggers []manage.Trigger
}

func showWebhooks(v *pageRequest) error {
	all, err := v.c.Webhooks.Webhooks(v.Context(), v.by)
	if err != nil {
		return err
	}
	p := webhooksPage{Filters: v.filters(byWebhook, byProject), MayMake: true}
	p.Project = p.Filters.Form.Value("project")
	all = slices.DeleteFunc(all, func(w manage.Webhook) bool { return !p.shows(w) })
	from := v.offset(len(all), webhooksAtOnce)
	shown := all[from:min(from+webhooksAtOnce, len(all))]
	q := v.URL.Query()
	q.Del("triggers")
	q.Del("done")
	q.Del("n")
	p.Keep, p.Back = pairs(q), q.Encode()
	p.Pages = offsetPages(q, from, len(shown), len(all), "webhook", "webhooks")
	if p.Rows, err = v.webhookRows(shown); err != nil {
		return err
	}
	v.render(http.StatusOK, "webhooks", pageData{Title: "Webhooks", Tab: "webhooks", Body: p})
	return nil
}

// shows reports whether the filters let a webhook through: each is a part of what it compares.
func (p webhooksPage) shows(w manage.Webhook) bool {
	name, project := p.Filters.Form.Value("webhook"), p.Project
	if !containsFold(w.Name, name) && !containsFold(w.Project+"/"+w.Name, name) {
		return false
	}
	return project == "" || containsFold(w.Project, project) ||
		slices.ContainsFunc(w.Projects, func(one string) bool { return containsFold(one, project) })
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

func (v *pageRequest) webhookRows(all []manage.Webhook) (rows []webhookRow, err error) {
	opened, _ := strconv.ParseInt(v.URL.Query().Get("triggers"), 10, 64)
	named := map[string]int{}
	for _, w := range all {
		named[w.Name]++
	}
	for _, w := range all {
		row := webhookRow{Webhook: w, Label: w.Name, Tickable: w.Editable || v.by.Administrator, Types: typesText(effectiveEvents(w.Complete))}
		if named[w.Name] > 1 {
			row.Label = fullName(w)
		}
		if row.Opened = opened == w.Number && opened != 0; row.Opened {
			if row.Triggers, err = v.c.Webhooks.Triggers(v.Context(), v.by, w.Number); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// typesText lists types of events in words.
func typesText(types []string) string {
	words := make([]string, 0, len(types))
	for _, t := range types {
		words = append(words, eventWord(t))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// offset is the first row of the page that the address asks for.
func (v *pageRequest) offset(all, most int) int {
	n, err := strconv.Atoi(v.URL.Query().Get("page"))
	if err != nil || n < 1 || (n-1)*most >= all {
		return 0
	}
	return (n - 1) * most
}

// offsetPages links the pages of a list whose length is known; one and many name what it lists.
func offsetPages(q url.Values, from, shown, all int, one, many string) pages {
	p := pages{FirstLabel: "Previous", NextLabel: "Next", Shown: plural(all, one, many)}
	if shown < all {
		p.Shown = fmt.Sprintf("%d–%d of %s", from+1, from+shown, p.Shown)
	}
	at := from/webhooksAtOnce + 1
	if from > 0 {
		p.First = withQuery(q, "page", strconv.Itoa(at-1))
	}
	if from+shown < all {
		p.Next = withQuery(q, "page", strconv.Itoa(at+1))
	}
	return p
}

// number is the webhook's, in the address.
func (v *pageRequest) number() (int64, error) {
	n, err := strconv.ParseInt(v.PathValue("number"), 10, 64)
	if err != nil {
		return 0, manage.ErrNotFound
	}
	return n, nil
}

// showTriggers is the row below a webhook, for the script that opens it in place.
func showTriggers(v *pageRequest) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	triggers, err := v.c.Webhooks.Triggers(v.Context(), v.by, n)
	if err != nil {
		return err
	}
	v.fragment("webhooks", "triggers-row", triggers)
	return nil
}

// actOnWebhooks does what the ACTION menu says with the ticked webhooks.
func actOnWebhooks(v *pageRequest) error {
	numbers, err := v.ticked("webhook")
	if err != nil {
		return err
	}
	back := v.back()
	do := v.PostFormValue("do")
	switch {
	case len(numbers) == 0:
		back.Set("done", "none")
		v.redirect(webhooksPath, back)
		return nil
	case do == "edit" && len(numbers) > 1:
		back.Set("done", "several")
		v.redirect(webhooksPath, back)
		return nil
	case do == "edit":
		v.redirect(fmt.Sprintf("%s/%d/edit", webhooksPath, numbers[0]), nil)
		return nil
	case do == "delete":
		return v.removeWebhooks(numbers, back)
	case do == "enable":
		return v.each(numbers, v.c.Webhooks.Enable, "enabled", back)
	case do == "disable":
		return v.each(numbers, v.c.Webhooks.Disable, "disabled", back)
	}
	return fmt.Errorf("%w: there is no action %q", errBadRequest, do)
}
