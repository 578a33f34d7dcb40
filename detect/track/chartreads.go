package track

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// endChart takes in the end of a read from a chart repository. Each download is one event. An
// index.yaml shows which charts files hold.
func (t *reads) endChart(op *detect.Operation) {
	if !op.WholeAnswer() || !op.Complete {
		return
	}
	switch op.Action {
	case detect.ArchiveGet:
		t.fetched(op)
	case detect.ChartGet:
		t.downloaded(op)
	case detect.ChartIndex:
		t.readIndex(op)
	}
}

func (t *reads) downloaded(op *detect.Operation) {
	e := downloadOf(op)
	if op.GotChart != nil {
		c := *op.GotChart
		e.Chart = &c
	}
	if e.Chart.Digest == "" {
		e.Chart.Digest = op.Got.Digest
	}
	if e.Chart.Name == "" {
		e.Chart.Name, e.Chart.Version, _ = detect.SplitChartFile(op.File)
	}
	e.Digest, e.Unnamed = e.Chart.Digest, !e.Chart.Named()
	if !e.Unnamed {
		e.Tags = []string{e.Chart.Version}
	}
	t.emitChart(e, op)
}

// downloadOf returns the event of a download, without the chart.
func downloadOf(op *detect.Operation) detect.Event {
	at := op.At
	if at.IsZero() {
		at = time.Now()
	}
	return detect.Event{
		ID: newID(), Type: detect.DownloadChart, At: at, Upstream: op.Upstream, External: op.External,
		Repository: op.Repository, Hint: op.Hint, Client: op.Client, RequestID: op.ID,
		Chart: &detect.Chart{Size: op.Size},
	}
}

func (t *reads) emitChart(e detect.Event, op *detect.Operation) {
	if op.GotChart != nil && op.GotChart.Name != "" {
		t.emit([]detect.Event{e})
		return
	}
	p := placeOf(op)
	if row, _, ok := get[chartRow](t.tags.rows, p.chartKey(op.File)); ok {
		nameChart(&e, row.Chart)
		t.emit([]detect.Event{e})
		return
	}
	look := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, _ = t.view(ctx, func(v detect.View) error {
			// if the store fails, the name of the file counts
			row, ok, err := read[chartRow](v, p.chartKey(op.File))
			if ok {
				nameChart(&e, row.Chart)
			} else if err == nil {
				row.Chart = *e.Chart
			}
			if err == nil {
				t.tags.rows.set(p.chartKey(op.File), row)
			}
			return err
		})
		t.emit([]detect.Event{e})
	}
	if !t.later(look) {
		t.emit([]detect.Event{e})
	}
}

// nameChart adds to a download the chart that its file is known to hold, and what its own bytes did
// not show.
func nameChart(e *detect.Event, known detect.Chart) {
	if !known.Named() {
		return
	}
	c := *e.Chart
	c.Name, c.Version, c.Path, e.Unnamed = known.Name, known.Version, known.Path, false
	if c.Digest == "" || c.Digest == known.Digest {
		c.Digest, c.Type, c.AppVersion = known.Digest, known.Type, known.AppVersion
	}
	if c.Size <= 0 {
		c.Size = known.Size
	}
	e.Chart, e.Digest, e.Tags = &c, c.Digest, []string{c.Version}
}

// maxIndexed bounds the charts that are learned from one index.yaml.
const maxIndexed = 10_000

// maxIndexing bounds the bytes of index.yaml files that wait to be read.
const maxIndexing = 64 << 20

// readIndex learns from an index.yaml which charts are in files whose names can be read in two
// ways, and which archives elsewhere are charts.
func (t *reads) readIndex(op *detect.Operation) {
	if op.Got.Bytes == nil {
		return
	}
	p, at, host, body := placeOf(op), op.File, op.External.Host, op.Got.Bytes
	seen := detect.Key{Kind: rowChart, ID: p.chartKey("index.yaml").ID}
	if digest, _, ok := get[string](t.tags.rows, seen); ok && op.Got.Digest != "" && digest == op.Got.Digest {
		return
	}
	size := int64(len(body))
	learn := func(ctx context.Context) {
		defer t.indexing.Add(-size)
		if t.learnCharts(ctx, p, chartRows(p, at, host, body)) != nil {
			t.tags.rows.remove(seen) // the next read of it shows it again
		}
	}
	if t.indexing.Add(size) > maxIndexing || !t.later(learn) {
		t.indexing.Add(-size)
		return
	}
	t.tags.rows.set(seen, op.Got.Digest)
}

// learnCharts stores the rows that an index.yaml has shown.
func (t *reads) learnCharts(ctx context.Context, p place, rows []detect.Row) error {
	if len(rows) == 0 {
		return nil
	}
	var final commitResult[detect.Changes]
	err := t.ledger.Commit(ctx, p.scope(), func(v detect.View) (changes detect.Changes, err error) {
		changes.Put, err = newCharts(v, rows)
		final.set(changes)
		return changes, err
	})
	if changes, ok := final.get(); err == nil && ok {
		t.tags.rows.apply(changes)
	}
	return err
}

// newCharts leaves out the rows of charts that are known: an upload has shown more of them.
func newCharts(v detect.View, rows []detect.Row) (fresh []detect.Row, err error) {
	for _, row := range rows {
		var c chartRow
		_ = json.Unmarshal(row.Value, &c) // newRow has made it
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

// chartRows returns the rows of the charts of an index.yaml whose file names would be read wrongly,
// or whose archives are not where ChartMuseum has them.
func chartRows(p place, at, host string, body []byte) (rows []detect.Row) {
	now := time.Now()
	tenant := strings.TrimSuffix(at, "index.yaml")
	_ = detect.IndexedCharts(bytes.NewReader(body), func(listed string, c detect.Chart) {
		// what was read before an error counts
		path, ok := detect.ArchivePath(at, host, listed)
		if !ok || len(rows) >= maxIndexed {
			return
		}
		if file, ok := strings.CutPrefix(path, tenant+"charts/"); ok && !strings.Contains(file, "/") {
			if n, v, ok := detect.SplitChartFile(file); !ok || n != c.Name || v != c.Version {
				rows = append(rows, newRow(p.chartKey(file), chartRow{Chart: c}, now))
			}
			return
		}
		c.Path = path
		rows = append(rows, newRow(p.archiveKey(path), chartRow{Chart: c, Tenant: p.Repository}, now))
	})
	return rows
}

// fetched takes in the download of an archive that need not be a chart. It is one if an index.yaml
// has listed it. Gitea's lists no digests: there the upload of that chart has shown the digest.
func (t *reads) fetched(op *detect.Operation) {
	e, k := downloadOf(op), placeOf(op).archiveKey(op.File)
	told := func(listed, uploaded chartRow) {
		if !listed.Chart.Named() {
			return
		}
		e.Repository = listed.Tenant
		if listed.Chart.Digest == "" && uploaded.Chart.Size == e.Chart.Size {
			nameChart(&e, uploaded.Chart)
		}
		nameChart(&e, listed.Chart)
		t.emit([]detect.Event{e})
	}
	uploadKey := func(listed chartRow) detect.Key {
		return place{op.Upstream, op.Hint, listed.Tenant}.chartKey(chartFile(&listed.Chart))
	}
	listed, at, ok := get[chartRow](t.tags.rows, k)
	if ok && (listed.Chart.Digest != "" || !listed.Chart.Named() && time.Since(at) < freshness) {
		told(listed, chartRow{})
		return
	}
	if ok && listed.Chart.Named() {
		if uploaded, _, ok := get[chartRow](t.tags.rows, uploadKey(listed)); ok {
			told(listed, uploaded)
			return
		}
	}
	t.later(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var listed, uploaded chartRow
		_, err := t.view(ctx, func(v detect.View) (err error) {
			if listed, _, err = read[chartRow](v, k); err == nil && listed.Chart.Named() {
				uploaded, _, err = read[chartRow](v, uploadKey(listed))
			}
			return err
		})
		if err != nil {
			return
		}
		t.tags.rows.set(k, listed)
		if listed.Chart.Named() {
			t.tags.rows.set(uploadKey(listed), uploaded)
		}
		told(listed, uploaded)
	})
}
