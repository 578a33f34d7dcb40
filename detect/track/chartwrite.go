package track

import "github.com/bellbuoy/bellbuoy/detect"

// uploaded decides a chart POST that the upstream did.
func (d *decision) uploaded() error {
	if !d.out.asked {
		return d.takes()
	}
	for _, u := range d.out.charts {
		if err := d.uploadedChart(u); err != nil {
			return err
		}
	}
	return nil
}

// uploadedChart is the event of one chart, and what bellbuoy knows of it from now on.
func (d *decision) uploadedChart(u upload) error {
	e, err := d.event(detect.UploadChart)
	if err != nil {
		return err
	}
	c := u.Chart
	e.ID, e.Chart, e.Digest, e.Unnamed = u.id, &c, c.Digest, !c.Named()
	if e.Unnamed {
		d.emit(e)
		return nil
	}
	e.Tags = []string{c.Version}
	known, ok, err := read[chartRow](d, d.w.chartKey(chartFile(&c)))
	if err != nil {
		return err
	}
	e.Unchanged = ok && c.Digest != "" && known.Chart.Digest == c.Digest
	if ok && !e.Unchanged {
		e.Previous = known.Chart.Digest
	}
	d.put(newRow(d.w.chartKey(chartFile(&c)), chartRow{Chart: c}, d.now))
	d.emit(e)
	return nil
}

// removed decides a chart DELETE that the upstream did.
func (d *decision) removed() error {
	e, err := d.event(detect.DeleteChart)
	if err != nil {
		return err
	}
	c := *d.w.Chart
	known, ok, err := read[chartRow](d, d.w.chartKey(chartFile(&c)))
	if err != nil {
		return err
	}
	if ok {
		c = known.Chart
		d.drop(d.w.chartKey(chartFile(&c)))
	}
	if b := d.w.Before; b.Digest != "" && b.Digest != c.Digest {
		c.Digest, c.Size = b.Digest, b.Size
	} else if b.Size > 0 {
		c.Size = b.Size
	}
	e.Chart, e.Digest, e.Tags = &c, c.Digest, []string{c.Version}
	d.emit(e)
	return nil
}
