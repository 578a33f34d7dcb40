package track

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// rows is the database of the fake ledger. It survives a crash.
type rows struct {
	mu     sync.Mutex
	rows   map[detect.Key]detect.Row
	events []detect.Event
}

func newRows() *rows { return &rows{rows: map[detect.Key]detect.Row{}} }

// count counts rows of a kind.
func (r *rows) count(kind detect.RowKind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.rows {
		if k.Kind == kind {
			n++
		}
	}
	return n
}

// fakeLedger is a ledger in memory that checks the Tracker's part of the contract: decide is pure,
// and no call comes after close.
type fakeLedger struct {
	t      testing.TB
	db     *rows
	mu     sync.Mutex
	closed bool
	fail   func() error // returns the error of the store; nil: the store works
	late   []func(detect.View) (detect.Changes, error)
	commit func() // called within each commit, before its changes are visible
}

func (f *fakeLedger) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// fails makes the store answer with err from now on; nil makes it work again.
func (f *fakeLedger) fails(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = nil
	if err != nil {
		f.fail = func() error { return err }
	}
}

// scan returns the rows of a kind, for tests.
func (r *rows) scan(kind detect.RowKind) []detect.Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, _ := fakeView{r}.Scan(kind, "", len(r.rows))
	return found
}

func (f *fakeLedger) failure(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", detect.ErrStore, err)
	}
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail != nil {
		if err := fail(); err != nil {
			return fmt.Errorf("%w: %w", detect.ErrStore, err)
		}
	}
	return nil
}

func (f *fakeLedger) Commit(ctx context.Context, scope string, decide func(detect.View) (detect.Changes, error)) error {
	if err := f.failure(ctx); err != nil {
		return err
	}
	return f.apply(scope, decide)
}

func (f *fakeLedger) apply(scope string, decide func(detect.View) (detect.Changes, error)) error {
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	f.mu.Lock()
	if f.closed {
		f.t.Errorf("commit in %q after close", scope)
	}
	commit := f.commit
	f.mu.Unlock()
	first, err := decide(fakeView{f.db})
	if err != nil {
		return err
	}
	c, err := decide(fakeView{f.db})
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(first, c) {
		f.t.Errorf("decide in %q is not pure in its view: %d events, %d rows put, %d dropped; then %d, %d, %d", scope,
			len(first.Events), len(first.Put), len(first.Delete), len(c.Events), len(c.Put), len(c.Delete))
	}
	if commit != nil {
		commit()
	}
	for _, k := range c.Delete {
		delete(f.db.rows, k)
	}
	for _, row := range c.Put {
		if row.Kind == "" || row.ID == "" {
			f.t.Errorf("a row without a key: %+v", row)
		}
		f.db.rows[row.Key] = row
	}
	for _, e := range c.Events {
		f.record(e)
	}
	return nil
}

func (f *fakeLedger) record(e detect.Event) {
	for _, other := range f.db.events {
		if other.ID == e.ID {
			f.t.Errorf("event %s twice: %+v", e.ID, e)
		}
	}
	if e.ID == "" || e.At.IsZero() {
		f.t.Errorf("event without id or time: %+v", e)
	}
	e.Seq = int64(len(f.db.events) + 1)
	f.db.events = append(f.db.events, e)
}

func (f *fakeLedger) CommitLater(ctx context.Context, scope string, fallback bool, decide func(detect.View) (detect.Changes, error)) error {
	if err := f.failure(ctx); err != nil {
		f.mu.Lock()
		f.late = append(f.late, decide)
		f.mu.Unlock()
		return err
	}
	return f.apply(scope, decide)
}

// recover runs the functions that CommitLater has deferred.
func (f *fakeLedger) recover() {
	f.mu.Lock()
	f.fail = nil
	late := f.late
	f.late = nil
	f.mu.Unlock()
	for _, decide := range late {
		if err := f.apply("", decide); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fakeLedger) Record(events ...detect.Event) {
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	for _, e := range events {
		f.record(e)
	}
}

func (f *fakeLedger) View(ctx context.Context, look func(detect.View) error) error {
	if err := f.failure(ctx); err != nil {
		return err
	}
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	return look(fakeView{f.db})
}

func (f *fakeLedger) Due(ctx context.Context, kind detect.RowKind, now time.Time, limit int) (due []detect.Row, err error) {
	if err := f.failure(ctx); err != nil {
		return nil, err
	}
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	for _, row := range f.db.rows {
		if row.Kind == kind && !row.Due.IsZero() && !row.Due.After(now) {
			due = append(due, row)
		}
	}
	slices.SortFunc(due, func(a, b detect.Row) int {
		if c := a.Due.Compare(b.Due); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return due[:min(len(due), limit)], nil
}

func (f *fakeLedger) Own(ctx context.Context, kind detect.RowKind, after string, limit int) (own []detect.Row, err error) {
	if err := f.failure(ctx); err != nil {
		return nil, err
	}
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	own, err = fakeView{f.db}.Scan(kind, "", len(f.db.rows))
	own = slices.DeleteFunc(own, func(r detect.Row) bool { return r.ID <= after })
	return own[:min(len(own), limit)], err
}

type fakeView struct{ db *rows }

func (v fakeView) Get(k detect.Key) (detect.Row, bool, error) {
	row, ok := v.db.rows[k]
	return row, ok, nil
}

func (v fakeView) Scan(kind detect.RowKind, prefix string, limit int) (found []detect.Row, err error) {
	for k, row := range v.db.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return found[:min(len(found), limit)], nil
}

// fakeUpstream answers look-ups: with the manifest of a reference, or with an error.
type fakeUpstream struct {
	noAPI bool // it lacks ChartMuseum's API
	mu    sync.Mutex
	down  error
	found map[string]detect.Found // repository@reference; tenant/name/version
	asked int
	// the error of a look-up, if it fails; it may take time
	fails func(ctx context.Context, key string) error
}

var errDown = errors.New("connection refused")

func (u *fakeUpstream) stands(key string, f detect.Found) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.found == nil {
		u.found = map[string]detect.Found{}
	}
	u.found[key] = f
}

func (u *fakeUpstream) setDown(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down = err
}

func (u *fakeUpstream) say(ctx context.Context, key string) (detect.Found, error) {
	u.mu.Lock()
	fails := u.fails
	u.mu.Unlock()
	if fails != nil {
		if err := fails(ctx, key); err != nil {
			return detect.Found{}, err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	if u.down != nil {
		return detect.Found{}, u.down
	}
	if f, ok := u.found[key]; ok {
		return f, ctx.Err()
	}
	return detect.Found{Absent: true}, ctx.Err()
}

func (u *fakeUpstream) Manifest(ctx context.Context, _, _, repository, reference string) (detect.Found, error) {
	return u.say(ctx, repository+"@"+reference)
}

func (u *fakeUpstream) Read(ctx context.Context, _, _, repository, digest string) (detect.Found, error) {
	f, err := u.say(ctx, repository+"@"+digest)
	if err == nil && f.Manifest == nil {
		err = errors.New("not found")
	}
	return f, err
}

// ChartIndex lists the charts of a tenant.
func (u *fakeUpstream) ChartIndex(ctx context.Context, _, tenant string) (io.ReadCloser, error) {
	if _, err := u.say(ctx, ""); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	index := "entries:\n"
	for at, f := range u.found {
		chart, version := path.Split(at)
		in, name := path.Split(strings.TrimSuffix(chart, "/"))
		if strings.TrimSuffix(in, "/") == tenant && name != "" && !f.Absent {
			index += fmt.Sprintf("  %s:\n  - {name: ignored}\n  - name: %s\n    version: %q\n    digest: %s\n    urls: [x]\n", name, name, version, f.Digest)
		}
	}
	return io.NopCloser(strings.NewReader(index)), nil
}

func (u *fakeUpstream) Chart(ctx context.Context, _, tenant, name, version string) (detect.Found, error) {
	if u.noAPI {
		return detect.Found{}, errors.New("404 page not found")
	}
	return u.say(ctx, tenant+"/"+name+"/"+version)
}
