package tagindex

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// ChartFile returns the file in which ChartMuseum has a chart.
func ChartFile(c *detect.Chart) string { return c.Name + "-" + c.Version + ".tgz" }

// CachedChart returns the row of a chart if it is in the cache. fresh means that it need not be
// looked up again.
func (t *Index) CachedChart(k detect.Key) (row ChartRow, fresh, ok bool) {
	row, at, ok := get[ChartRow](t.rows, k)
	return row, ok && time.Since(at) < freshness, ok
}

// LookUpChart looks up the row of a chart in the ledger. If there is none, it returns and caches
// otherwise.
func (t *Index) LookUpChart(ctx context.Context, k detect.Key, otherwise ChartRow) (row ChartRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = t.ledger.View(ctx, func(v detect.View) (err error) {
		found, ok, err := Read[ChartRow](v, k)
		if row = found; !ok {
			row = otherwise
		}
		return err
	})
	if err == nil {
		t.rows.set(k, row)
	}
	return row, err
}

// maxCharts bounds the charts that are learned from one index.yaml.
const maxCharts = 10_000

// ObserveChartIndex learns from an index.yaml which charts are in files whose names can be read in
// two ways, and which archives that are elsewhere are charts.
func (t *Index) ObserveChartIndex(op *detect.Operation) {
	if op.Got.Bytes == nil {
		return
	}
	p, path, host, body := PlaceOf(op), op.File, op.External.Host, op.Got.Bytes
	// the digest of the index.yaml that was read last is cached under the key of such a file
	last := p.ChartKey("index.yaml")
	if digest, _, ok := get[string](t.rows, last); ok && op.Got.Digest != "" && digest == op.Got.Digest {
		return
	}
	learn := func(ctx context.Context) {
		if t.learnCharts(ctx, p, chartRows(p, path, host, body)) != nil {
			t.rows.remove(last) // the next read of it shows it again
		}
	}
	if t.laterWith(len(body), learn) {
		t.rows.set(last, op.Got.Digest)
	}
}

// learnCharts stores the rows that an index.yaml has shown.
func (t *Index) learnCharts(ctx context.Context, p Place, rows []detect.Row) error {
	if len(rows) == 0 {
		return nil
	}
	var final CommitResult[detect.Changes]
	err := t.ledger.Commit(ctx, p.Scope(), func(v detect.View) (changes detect.Changes, err error) {
		changes.Put, err = newCharts(v, rows)
		final.Set(changes)
		return changes, err
	})
	if changes, ok := final.Get(); err == nil && ok {
		t.rows.apply(changes)
	}
	return err
}

// newCharts leaves out the rows of charts that are known: an upload has shown more of them.
func newCharts(v detect.View, rows []detect.Row) (fresh []detect.Row, err error) {
	for _, row := range rows {
		var c ChartRow
		_ = json.Unmarshal(row.Value, &c) // NewRow has made it
		known, ok, err := Read[ChartRow](v, row.Key)
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
// or whose archives are not where ChartMuseum has them. path is that of the index.yaml.
func chartRows(p Place, path, host string, body []byte) (rows []detect.Row) {
	now := time.Now()
	tenant := strings.TrimSuffix(path, "index.yaml")
	_ = detect.IndexedCharts(bytes.NewReader(body), func(listed string, c detect.Chart) {
		// what was read before an error counts
		archive, ok := detect.ArchivePath(path, host, listed)
		if !ok || len(rows) >= maxCharts {
			return
		}
		if file, ok := strings.CutPrefix(archive, tenant+"charts/"); ok && !strings.Contains(file, "/") {
			if n, v, ok := detect.SplitChartFile(file); !ok || n != c.Name || v != c.Version {
				rows = append(rows, NewRow(p.ChartKey(file), ChartRow{Chart: c}, now))
			}
			return
		}
		c.Path = archive
		rows = append(rows, NewRow(p.ArchiveKey(archive), ChartRow{Chart: c, Tenant: p.Repository}, now))
	})
	return rows
}
