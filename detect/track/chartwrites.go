package track

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// chartTransaction is the part of a transaction that concerns charts.
type chartTransaction struct{ *transaction }

// uploaded decides a chart POST that the upstream has done.
func (tx chartTransaction) uploaded() error {
	if !tx.result.asked {
		return tx.accepted()
	}
	for _, u := range tx.result.charts {
		if err := tx.uploadedChart(u); err != nil {
			return err
		}
	}
	return nil
}

// uploadedChart emits the event of one chart, and adds its row.
func (tx chartTransaction) uploadedChart(u upload) error {
	e, err := tx.event(detect.UploadChart)
	if err != nil {
		return err
	}
	c := u.Chart
	e.ID, e.Chart, e.Digest, e.Unnamed = u.id, &c, c.Digest, !c.Named()
	if e.Unnamed {
		tx.emit(e)
		return nil
	}
	e.Tags = []string{c.Version}
	known, ok, err := tagindex.Read[tagindex.ChartRow](tx, tx.w.ChartKey(tagindex.ChartFile(&c)))
	if err != nil {
		return err
	}
	e.Unchanged = ok && c.Digest != "" && known.Chart.Digest == c.Digest
	if ok && !e.Unchanged {
		e.Previous = known.Chart.Digest
	}
	tx.Store(tagindex.NewRow(tx.w.ChartKey(tagindex.ChartFile(&c)), tagindex.ChartRow{Chart: c}, tx.Now))
	tx.emit(e)
	return nil
}

// removed decides a chart DELETE that the upstream has done.
func (tx chartTransaction) removed() error {
	e, err := tx.event(detect.DeleteChart)
	if err != nil {
		return err
	}
	c := *tx.w.Chart
	known, ok, err := tagindex.Read[tagindex.ChartRow](tx, tx.w.ChartKey(tagindex.ChartFile(&c)))
	if err != nil {
		return err
	}
	if ok {
		c = known.Chart
		tx.Drop(tx.w.ChartKey(tagindex.ChartFile(&c)))
	}
	if b := tx.w.Before; b.Digest != "" && b.Digest != c.Digest {
		c.Digest, c.Size = b.Digest, b.Size
	} else if b.Size > 0 {
		c.Size = b.Size
	}
	e.Chart, e.Digest, e.Tags = &c, c.Digest, []string{c.Version}
	tx.emit(e)
	return nil
}

// accepted decides an upload that the upstream has accepted and has not been asked about.
func (tx chartTransaction) accepted() error {
	if tx.w.Chart.Named() {
		if err := tx.uploadedChart(upload{*tx.w.Chart, tx.w.Event}); err != nil {
			return err
		}
	}
	if len(tx.w.Claims) > 0 {
		w := tx.w.asking(tx.Now)
		tx.Store(tagindex.NewRow(w.Key(rowIntent, w.Reference, w.ID), w, time.Time{}))
	}
	return nil
}
