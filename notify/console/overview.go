package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// CountDesk has what was counted by minute and hour, in the scope of an account.
type CountDesk interface {
	EventCounts(ctx context.Context, by access.Principal, project string, s manage.Span) ([]counters.Line, error)
	DeliveryCounts(ctx context.Context, by access.Principal, number int64, s manage.Span) ([]counters.Line, error)
	TrafficCounts(ctx context.Context, by access.Principal, s manage.Span) ([]counters.Line, error)
}

func (c *Console) addOverview() { c.mux.Handle("GET /{$}", c.page(showOverview)) }

type overviewPage struct {
	Day       bool // the last day; otherwise the last hour
	Attention []attention
	Plots     template.HTML
}

// attention is something that somebody should look at.
type attention struct {
	Text string
	Path string // where; "": nowhere in the console
	Kind string // of its badge
	Word string
}

func showOverview(v *pageRequest) error {
	p := overviewPage{Day: v.URL.Query().Get("span") == "day"}
	var err error
	if p.Attention, err = v.attention(); err != nil {
		return err
	}
	if p.Plots, err = v.c.plots.drawn(v, p.Day); err != nil {
		return err
	}
	v.render(http.StatusOK, "overview", pageData{Title: "Overview", Tab: "overview", Body: p})
	return nil
}

// plotReads shares plots among the viewers of the overview, who refresh it all the time. Viewers
// with the same scope get the same plots for plotsFor.
type plotReads struct{ shared[plotRead] }

type plotRead struct {
	mu   sync.Mutex // held while they are drawn
	html template.HTML
}

const plotsFor = 5 * time.Second

// drawn returns the plots of the last day, or of the last hour, as HTML. If they cannot be drawn,
// the next viewer tries again.
func (r *plotReads) drawn(v *pageRequest, day bool) (template.HTML, error) {
	read := cmp.Or(r.of(fmt.Sprintf("%t %q %t", v.by.Administrator, v.by.Projects, day), plotsFor), new(plotRead))
	read.mu.Lock()
	defer read.mu.Unlock()
	if read.html != "" {
		return read.html, nil
	}
	all, err := v.plots(spanOf(day))
	if err != nil {
		return "", err
	}
	text, err := executed("overview", "plots", all)
	read.html = template.HTML(text)
	return read.html, err
}

// spanOf is the last day in hours, or the last hour in minutes.
func spanOf(day bool) manage.Span {
	span := manage.Span{Step: time.Minute, Steps: 60}
	if day {
		span = manage.Span{Step: time.Hour, Steps: 24}
	}
	span.From = time.Now().Truncate(span.Step).Add(-time.Duration(span.Steps-1) * span.Step)
	return span
}

// plots are those of traffic, which only administrators see, events, deliveries and their latency.
func (v *pageRequest) plots(s manage.Span) (all []plot, err error) {
	number := func(f float64) string { return grouped(int64(f)) }
	count := func(p counters.Point) float64 { return float64(p.Count) }
	events, err := v.c.Counts.EventCounts(v.Context(), v.by, "", s)
	if err != nil {
		return nil, err
	}
	all = append(all, plotOf("Events by type", s.From, s.Step, layersOf(events, func(l counters.Line) string { return eventWord(l.Label) }, count), 1, sum, number))
	deliveries, err := v.c.Counts.DeliveryCounts(v.Context(), v.by, 0, s)
	if err != nil {
		return nil, err
	}
	all = append(all,
		plotOf("Attempts to deliver", s.From, s.Step, colourOutcomes(layersOf(deliveries, outcomeWord, count)), 1, sum, number),
		plotOf("Latency of deliveries, mean", s.From, s.Step, latencies(deliveries), 1, func(values []float64) float64 { return slices.Max(append(values, 0)) },
			func(f float64) string { return grouped(int64(f)) + " ms" }))
	traffic, err := v.c.Counts.TrafficCounts(v.Context(), v.by, s)
	if errors.Is(err, manage.ErrForbidden) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	upstream := func(l counters.Line) string { return l.Name }
	return append(all,
		plotOf("Requests by upstream", s.From, s.Step, layersOf(traffic, upstream, count), 1, sum, number),
		plotOf("Bytes by upstream", s.From, s.Step, layersOf(traffic, upstream, func(p counters.Point) float64 { return float64(p.In + p.Out) }), 1024, sum, bytesText)), nil
}

// colourOutcomes paints what was delivered green, and failures in other colours.
func colourOutcomes(layers []layer) []layer {
	failures := []string{"s3", "s2", "s4", "s5", "s0"}
	for i := range layers {
		if layers[i].Name == deliveredWord {
			layers[i].Class = "s1"
			continue
		}
		layers[i].Class, failures = failures[0], append(failures[1:], failures[0])
	}
	return layers
}

const deliveredWord = "Delivered"

func outcomeWord(l counters.Line) string {
	if l.Label == counters.Delivered {
		return deliveredWord
	}
	return "Failed: " + strings.ReplaceAll(l.Label, "_", " ")
}

// latencies is one layer: the mean latency of all attempts of a step, in milliseconds.
func latencies(lines []counters.Line) []layer {
	var all []counters.Point
	for _, l := range lines {
		if all == nil {
			all = make([]counters.Point, len(l.Points))
		}
		for i, p := range l.Points {
			all[i].Posts += p.Posts
			all[i].Latency += p.Latency
		}
	}
	if all == nil {
		return nil
	}
	one := layer{Name: "All webhooks, highest", Class: layerClasses[0]}
	for _, p := range all {
		one.values = append(one.values, float64(p.Mean().Milliseconds()))
	}
	return []layer{one}
}

// bytesText is a size in its largest unit.
func bytesText(f float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		switch {
		case f < 1000:
			return fmt.Sprintf("%.3g %s", f, unit)
		case f < 1024:
			return fmt.Sprintf("%.0f %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.4g TiB", f)
}

// mostAttention bounds the lines that need attention; a further one says how many more there are.
const mostAttention = 50

// attention lists what an account should look at, the store first.
func (v *pageRequest) attention() ([]attention, error) {
	all, err := v.allAttention()
	if more := len(all) - mostAttention; more > 0 {
		all = append(all[:mostAttention], attention{Text: "And " + plural(more, "more line", "more lines") + "; see all webhooks.", Path: webhooksPath, Kind: "warn", Word: "More"})
	}
	return all, err
}

func (v *pageRequest) allAttention() (all []attention, err error) {
	if v.by.Administrator && v.c.System != nil {
		for _, text := range v.c.System(v.Context()) {
			all = append(all, attention{Text: sentence(text), Kind: "bad", Word: "System"})
		}
	}
	webhooks, err := v.c.Webhooks.Webhooks(v.Context(), v.by)
	if err != nil {
		return nil, err
	}
	for _, w := range webhooks {
		path := fmt.Sprintf("%s/%d", webhooksPath, w.Number)
		switch {
		case w.Health.State == "gone":
			all = append(all, attention{fullName(w) + " disabled itself: its receiver answered 410.", path, "bad", "Disabled"})
		case w.Health.CircuitOpen:
			all = append(all, attention{fullName(w) + " gets nothing at the moment: its receiver fails. " + sentence(w.Health.Why), path, "warn", "Circuit open"})
		case w.Health.State == "failing":
			all = append(all, attention{fullName(w) + " fails. " + sentence(w.Health.Why), path, "warn", "Failing"})
		}
		if w.Health.Dead > 0 {
			dead := fmt.Sprintf("%s has %s.", fullName(w), plural(w.Health.Dead, "dead letter", "dead letters"))
			all = append(all, attention{dead, deliveriesPath + "?state=dead&webhook=" + url.QueryEscape(fullName(w)), "bad", "Dead"})
		}
	}
	return all, nil
}
