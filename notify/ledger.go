package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// View implements detect.Ledger.
func (o *Outbox) View(ctx context.Context, read func(detect.View) error) error {
	return o.store.View(ctx, func(r store.Reader) error { return read(view{r}) })
}

// Due implements detect.Ledger.
func (o *Outbox) Due(ctx context.Context, kind detect.RowKind, now time.Time, limit int) ([]detect.Row, error) {
	rows, err := o.store.Due(ctx, string(kind), now, limit)
	return fromRows(rows), ledgerError("reading due rows", err)
}

// Own implements detect.Ledger.
func (o *Outbox) Own(ctx context.Context, kind detect.RowKind, after string, limit int) ([]detect.Row, error) {
	rows, err := o.store.Own(ctx, string(kind), after, limit)
	return fromRows(rows), ledgerError("taking over rows", err)
}

// Page returns the rows of a kind, ordered by ID, beginning behind after.
func (o *Outbox) Page(ctx context.Context, kind detect.RowKind, after string, limit int) ([]detect.Row, error) {
	rows, err := o.store.Page(ctx, string(kind), after, limit)
	return fromRows(rows), ledgerError("reading a page of rows", err)
}

func ledgerError(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", doing, detect.ErrStore, err)
}

// view adapts a store.Reader to detect.View.
type view struct{ reader store.Reader }

func (v view) Get(k detect.Key) (detect.Row, bool, error) {
	r, ok, err := v.reader.Get(toKey(k))
	return fromRow(r), ok, ledgerError("reading a row", err)
}

func (v view) Scan(kind detect.RowKind, prefix string, limit int) ([]detect.Row, error) {
	rows, err := v.reader.Scan(string(kind), prefix, limit)
	return fromRows(rows), ledgerError("scanning rows", err)
}

func toKey(k detect.Key) store.Key { return store.Key{Kind: string(k.Kind), ID: k.ID} }

func toRow(r detect.Row) store.Row {
	return store.Row{Key: toKey(r.Key), Value: r.Value, Due: r.Due, Seen: r.Seen}
}

func fromRow(r store.Row) detect.Row {
	return detect.Row{
		Key:   detect.Key{Kind: detect.RowKind(r.Kind), ID: r.ID},
		Value: r.Value, Due: r.Due, Seen: r.Seen,
	}
}

func fromRows(rows []store.Row) []detect.Row {
	out := make([]detect.Row, 0, len(rows))
	for _, r := range rows {
		out = append(out, fromRow(r))
	}
	return out
}
