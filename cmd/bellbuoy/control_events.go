package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	eventsPage = 500     // events read at a time
	eventsMost = 100_000 // events tested for one request
	mostListed = 10_000  // lines of one answer
)

// stoppedAt is the header with the time at which a search stopped before the end.
const stoppedAt = "Bellbuoy-Stopped-At"

// eventSearch is a search for recorded events.
type eventSearch struct {
	query store.EventQuery // the part that the store can answer
	match func(*detect.Event) bool
	limit int
}

// searchOf parses a search from a command's query.
func searchOf(form url.Values) (s eventSearch, err error) {
	for _, kind := range form["type"] {
		if !slices.Contains(notify.Types(), detect.Type(kind)) {
			return s, fmt.Errorf("%w: there is no type %q of events; there are %s", errBad, kind, joined(notify.Types()))
		}
		s.query.Types = append(s.query.Types, kind)
	}
	if s.limit, err = limitOf(form, 20); err != nil {
		return s, err
	}
	if s.query.Since, s.query.Until, err = spanOf(form); err != nil {
		return s, err
	}
	s.match, err = notify.Search(notify.Match{Repositories: form["repository"], Tags: form["tag"], Operators: form["operator"]})
	if err != nil {
		return s, fmt.Errorf("%w: %s", errBad, strings.TrimPrefix(err.Error(), "search."))
	}
	return s, nil
}

// newest returns the latest events that match, oldest first. If the search stopped before the end,
// looked is the time of the last event that was tested; else zero.
func (api controlAPI) newest(ctx context.Context, s eventSearch) (found []detect.Event, looked time.Time, err error) {
	q := s.query
	for seen := 0; len(found) < s.limit; {
		q.Limit = eventsPage
		page, err := api.dispatcher.Events(ctx, q)
		if err != nil {
			return nil, looked, err
		}
		for i := range page {
			q.Before = page[i].Seq
			if len(found) < s.limit && s.match(&page[i]) {
				found = append(found, page[i])
			}
		}
		if seen += len(page); len(page) < eventsPage {
			break
		}
		if seen >= eventsMost {
			looked = page[len(page)-1].At
			break
		}
	}
	slices.Reverse(found)
	return found, looked, nil
}

func (api controlAPI) events(w http.ResponseWriter, r *http.Request) error {
	s, err := searchOf(r.URL.Query())
	if err != nil {
		return err
	}
	appended := api.dispatcher.EventAppended()
	top, err := api.dispatcher.Events(r.Context(), store.EventQuery{Limit: 1})
	if err != nil {
		return err
	}
	found, looked, err := api.newest(r.Context(), s)
	if err != nil {
		return err
	}
	for i := range top {
		// followers continue from here, even if none of it matched
		s.query.After = top[i].Seq
	}
	if !looked.IsZero() {
		w.Header().Set(stoppedAt, looked.Format(time.RFC3339Nano))
	}
	out := json.NewEncoder(w)
	for i := range found {
		s.query.After = max(s.query.After, found[i].Seq)
		if out.Encode(lineOfEvent(&found[i])) != nil {
			return nil // the client has disconnected
		}
	}
	if r.URL.Query().Get("follow") != "" {
		api.followEvents(w, r, s, appended)
	}
	return nil
}

// followEvents writes events after s.query.After until the client disconnects. appended must have
// been taken before the last read.
func (api controlAPI) followEvents(w http.ResponseWriter, r *http.Request, s eventSearch, appended <-chan struct{}) {
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	q := s.query
	q.Ascending, q.Limit = true, eventsPage
	for {
		next := api.dispatcher.EventAppended()
		found, err := api.dispatcher.Events(r.Context(), q)
		if err != nil {
			return
		}
		for i := range found {
			q.After = found[i].Seq
			if s.match(&found[i]) && out.Encode(lineOfEvent(&found[i])) != nil {
				return
			}
		}
		_ = flush.Flush()
		if len(found) < eventsPage {
			select {
			case <-r.Context().Done():
				return
			case <-appended:
			}
		}
		appended = next
	}
}

func lineOfEvent(e *detect.Event) eventLine {
	return eventLine{Seq: e.Seq, BellbuoyEvent: format.NewBellbuoyEvent(e)}
}

// limitOf returns the requested number of lines.
func limitOf(form url.Values, usual int) (int, error) {
	text := form.Get("limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostListed {
		return 0, fmt.Errorf("%w: --limit must be a number from 1 to %d", errBad, mostListed)
	}
	return n, nil
}

func spanOf(form url.Values) (since, until time.Time, err error) {
	for key, into := range map[string]*time.Time{"since": &since, "until": &until} {
		if text := form.Get(key); text != "" {
			if *into, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return since, until, fmt.Errorf("%w: %s must be a time", errBad, key)
			}
		}
	}
	return since, until, nil
}

func joined[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, t := range all {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}
