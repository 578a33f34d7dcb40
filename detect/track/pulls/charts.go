package pulls

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// endChart observes the end of a read from a chart repository. Each download is one event. An
// index.yaml shows which charts files hold.
func (t *Pulls) endChart(op *detect.Operation) {
	if !op.WholeAnswer() || !op.Complete {
		return
	}
	switch op.Action {
	case detect.ArchiveGet:
		t.archiveRead(op)
	case detect.ChartGet:
		t.chartRead(op)
	case detect.ChartIndex:
		t.tags.ObserveChartIndex(op)
	}
}

// chartRead emits the download of a chart from where ChartMuseum has it.
func (t *Pulls) chartRead(op *detect.Operation) {
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
		ID: detect.NewID(), Type: detect.DownloadChart, At: at, Upstream: op.Upstream, External: op.External,
		Repository: op.Repository, Hint: op.Hint, Client: op.Client, RequestID: op.ID,
		Chart: &detect.Chart{Size: op.Size},
	}
}

// emitChart emits a download. The archive itself names its chart, or else an index.yaml or an
// upload has, or else the name of the file.
func (t *Pulls) emitChart(e detect.Event, op *detect.Operation) {
	if op.GotChart != nil && op.GotChart.Name != "" {
		t.emit([]detect.Event{e})
		return
	}
	k := tagindex.PlaceOf(op).ChartKey(op.File)
	if row, _, ok := t.tags.CachedChart(k); ok {
		nameChart(&e, row.Chart)
		t.emit([]detect.Event{e})
		return
	}
	lookUp := func(ctx context.Context) {
		// if the store fails, the name of the file counts
		row, _ := t.tags.LookUpChart(ctx, k, tagindex.ChartRow{Chart: *e.Chart})
		nameChart(&e, row.Chart)
		t.emit([]detect.Event{e})
	}
	if !t.tags.Later(lookUp) {
		t.emit([]detect.Event{e})
	}
}

// nameChart sets in the event of a download which chart its file is known to hold, and adds what
// the bytes of the file did not show.
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

// archiveRead emits the download of an archive if it is a chart: if an index.yaml has listed it.
func (t *Pulls) archiveRead(op *detect.Operation) {
	e, k := downloadOf(op), tagindex.PlaceOf(op).ArchiveKey(op.File)
	listed, fresh, ok := t.tags.CachedChart(k)
	switch {
	case !ok:
	case listed.Chart.Digest != "":
		t.emitArchive(e, listed, tagindex.ChartRow{})
		return
	case listed.Chart.Named():
		if uploaded, _, ok := t.tags.CachedChart(uploadKey(&e, listed)); ok {
			t.emitArchive(e, listed, uploaded)
			return
		}
	case fresh:
		return // no chart
	}
	t.tags.Later(func(ctx context.Context) {
		listed, err := t.tags.LookUpChart(ctx, k, tagindex.ChartRow{})
		if err != nil || !listed.Chart.Named() {
			return
		}
		// if the store fails, the event has less
		uploaded, _ := t.tags.LookUpChart(ctx, uploadKey(&e, listed), tagindex.ChartRow{})
		t.emitArchive(e, listed, uploaded)
	})
}

// uploadKey returns the key under which the upload of a listed chart has stored it.
func uploadKey(e *detect.Event, listed tagindex.ChartRow) detect.Key {
	p := tagindex.Place{Upstream: e.Upstream, Hint: e.Hint, Repository: listed.Tenant}
	return p.ChartKey(tagindex.ChartFile(&listed.Chart))
}

// emitArchive emits the download of a listed chart. Gitea's index.yaml has no digests: the upload
// of a chart of the same size has shown the digest.
func (t *Pulls) emitArchive(e detect.Event, listed, uploaded tagindex.ChartRow) {
	e.Repository = listed.Tenant
	if listed.Chart.Digest == "" && uploaded.Chart.Size == e.Chart.Size {
		nameChart(&e, uploaded.Chart)
	}
	nameChart(&e, listed.Chart)
	t.emit([]detect.Event{e})
}
