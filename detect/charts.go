package detect

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// endChart is a chart repository's read: each download is one event, and an index.yaml tells how files are to be read.
func (t *Tracker) endChart(op *Operation) {
	if op.Status != http.StatusOK || !op.Complete {
		return
	}
	switch op.Action {
	case ChartGet:
		t.downloaded(op)
	case ChartIndex:
		t.readIndex(op)
	}
}

func (t *Tracker) downloaded(op *Operation) {
	at := op.At
	if at.IsZero() {
		at = time.Now()
	}
	e := Event{
		ID: newID(), Type: DownloadChart, At: at, Upstream: op.Upstream, External: op.External,
		Repository: op.Repository, Hint: op.Hint, Client: op.Client, RequestID: op.ID,
		Chart: &Chart{Size: op.Size},
	}
	if op.GotChart != nil {
		c := *op.GotChart
		e.Chart = &c
	}
	if e.Chart.Digest == "" {
		e.Chart.Digest = op.Got.Digest
	}
	if e.Chart.Name == "" {
		e.Chart.Name, e.Chart.Version, _ = SplitChartFile(op.File)
	}
	if e.Chart.Name == "" {
		e.Chart.Name = op.File
	}
	e.Digest, e.Tags = e.Chart.Digest, []string{e.Chart.Version}
	t.tellChart(e, op)
}

func (t *Tracker) tellChart(e Event, op *Operation) {
	if op.GotChart != nil && op.GotChart.Name != "" {
		t.tell([]Event{e})
		return
	}
	p := placeOf(op)
	if row, _, ok := get[chartRow](t.index, p.chartKey(op.File)); ok {
		nameChart(&e, row.Chart)
		t.tell([]Event{e})
		return
	}
	look := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, _ = t.view(ctx, func(v View) error { // a store that fails leaves the file's name
			row, ok, err := read[chartRow](v, p.chartKey(op.File))
			if ok {
				nameChart(&e, row.Chart)
			} else if err == nil {
				row.Chart = *e.Chart
			}
			if err == nil {
				t.index.set(p.chartKey(op.File), row)
			}
			return err
		})
		t.tell([]Event{e})
	}
	if !t.later(look) {
		t.tell([]Event{e})
	}
}

// nameChart gives a download the name that its file is known to have, and what its own bytes did not tell.
func nameChart(e *Event, known Chart) {
	c := *e.Chart
	c.Name, c.Version = known.Name, known.Version
	if c.Digest == "" || c.Digest == known.Digest {
		c.Digest, c.Type, c.AppVersion = known.Digest, known.Type, known.AppVersion
	}
	if c.Size <= 0 {
		c.Size = known.Size
	}
	e.Chart, e.Digest, e.Tags = &c, c.Digest, []string{c.Version}
}

// maxIndexed bounds what one index.yaml may teach.
const maxIndexed = 10_000

// readIndex learns from an index.yaml which charts the files hold whose names leave a doubt.
func (t *Tracker) readIndex(op *Operation) {
	if op.Got.Bytes == nil {
		return
	}
	p, body := placeOf(op), op.Got.Bytes
	seen := Key{rowChart, p.chartKey("index.yaml").ID}
	if digest, _, ok := get[string](t.index, seen); ok && op.Got.Digest != "" && digest == op.Got.Digest {
		return
	}
	t.index.set(seen, op.Got.Digest)
	t.later(func(ctx context.Context) {
		rows := t.doubtful(p, body)
		if len(rows) == 0 {
			return
		}
		var final commitResult[Changes]
		err := t.ledger.Commit(ctx, p.scope(), func(v View) (changes Changes, err error) {
			changes.Put, err = newCharts(v, rows)
			final.set(changes)
			return changes, err
		})
		if err != nil {
			t.index.rows.remove(seen) // the next read of it shows it again
		} else if changes, ok := final.get(); ok {
			t.index.apply(changes)
		}
	})
}

// newCharts leaves out what is known: an upload has told more of it.
func newCharts(v View, rows []Row) (fresh []Row, err error) {
	for _, row := range rows {
		var c chartRow
		_ = json.Unmarshal(row.Value, &c) // made by newRow
		known, ok, err := read[chartRow](v, row.Key)
		if err != nil {
			return nil, err
		}
		if !ok || known.Chart.Name != c.Chart.Name || known.Chart.Version != c.Chart.Version {
			fresh = append(fresh, row)
		}
	}
	return fresh, nil
}

// doubtful are the charts whose files' names would be read wrongly.
func (t *Tracker) doubtful(p place, body []byte) (rows []Row) {
	now := time.Now()
	_ = IndexedCharts(bytes.NewReader(body), func(url string, c Chart) { // what could be read counts
		url, _, _ = strings.Cut(url, "?")
		_, file := cutLast(url)
		n, v, ok := SplitChartFile(file)
		if ok && n == c.Name && v == c.Version || len(rows) >= maxIndexed || file == "" || len(file) > 2*maxChartWord {
			return
		}
		rows = append(rows, newRow(p.chartKey(file), chartRow{c}, now))
	})
	return rows
}
