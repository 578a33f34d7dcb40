package scan

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// ledger has rows in memory. It fails the test for what the real one cannot do: a function whose
// result differs when it runs again, and an event that is committed twice.
type ledger struct {
	t      *testing.T
	mu     sync.Mutex
	rows   map[detect.Key]detect.Row
	events []detect.Event
	cut    int // after so many commits, all fail: the process was killed
	done   int // commits
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, rows: map[detect.Key]detect.Row{}, cut: -1}
}

var errKilled = errors.New("killed")

func (l *ledger) Get(k detect.Key) (detect.Row, bool, error) { r, ok := l.rows[k]; return r, ok, nil }

func (l *ledger) Scan(kind detect.RowKind, prefix string, limit int) (rows []detect.Row, err error) {
	for k, r := range l.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return rows[:min(len(rows), limit)], nil
}

func (l *ledger) Commit(ctx context.Context, _ string, decide func(detect.View) (detect.Changes, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if l.cut >= 0 && l.done >= l.cut {
		return errKilled
	}
	if _, err := decide(l); err != nil {
		return err
	}
	c, err := decide(l) // may run more than once
	if err != nil {
		return err
	}
	l.done++
	for _, e := range c.Events {
		if slices.ContainsFunc(l.events, func(o detect.Event) bool { return o.ID == e.ID }) {
			l.t.Errorf("event %s comes twice", e.ID)
		}
		l.events = append(l.events, e)
	}
	for _, r := range c.Put {
		l.rows[r.Key] = r
	}
	for _, k := range c.Delete {
		delete(l.rows, k)
	}
	return nil
}

func (l *ledger) CommitLater(ctx context.Context, scope string, _ bool, decide func(detect.View) (detect.Changes, error)) error {
	return l.Commit(ctx, scope, decide)
}

func (l *ledger) Record(events ...detect.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
}

func (l *ledger) View(_ context.Context, read func(detect.View) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return read(l)
}

func (l *ledger) Due(_ context.Context, kind detect.RowKind, now time.Time, limit int) (rows []detect.Row, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, r := range l.rows {
		if k.Kind == kind && !r.Due.IsZero() && !r.Due.After(now) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b detect.Row) int { return a.Due.Compare(b.Due) })
	return rows[:min(len(rows), limit)], nil
}

func (l *ledger) Own(_ context.Context, kind detect.RowKind, after string, limit int) (rows []detect.Row, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, _ := l.Scan(kind, "", 1<<30)
	all = slices.DeleteFunc(all, func(r detect.Row) bool { return r.ID <= after })
	return all[:min(len(all), limit)], nil
}

// push commits a push as the outbox does.
func (l *ledger) push(r *Runner, e detect.Event) {
	l.t.Helper()
	err := l.Commit(context.Background(), "", func(v detect.View) (detect.Changes, error) {
		c := detect.Changes{Events: []detect.Event{e}}
		more, err := r.Derive(&c, v)
		c.Events, c.Put = nil, more.Put
		return c, err
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *ledger) told() []detect.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *ledger) jobs() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.rows {
		if strings.HasPrefix(string(k.Kind), kindJob) {
			n++
		}
	}
	return n
}

// scanner is an adapter with answers of the test. It refuses a second scan of a digest while one
// runs, unless that was lost.
type scanner struct {
	mu       sync.Mutex
	submit   func(n int, q Request) error            // nil: accepts all
	report   func(n int, id string) (*Report, error) // n counts the requests for this id
	asked    []Request
	polls    map[string]int
	at, most int
}

func (s *scanner) Submit(_ context.Context, q Request) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	if s.submit != nil {
		if err := s.submit(len(s.asked), q); err != nil {
			return "", err
		}
	}
	s.at++
	s.most = max(s.most, s.at)
	return "scan-" + q.Digest + "-" + string(rune('0'+len(s.asked)%10)), nil
}

func (s *scanner) Report(_ context.Context, id string) (*Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polls == nil {
		s.polls = map[string]int{}
	}
	s.polls[id]++
	r, err := s.report(s.polls[id], id)
	if _, pending := err.(*Pending); !pending {
		s.at--
	}
	return r, err
}

// registry has manifests by reference. As the real one, it returns their bytes only to Read.
type registry map[string]detect.Found

func (r registry) Manifest(_ context.Context, _, _, _, reference string) (detect.Found, error) {
	if f, ok := r[reference]; ok {
		f.Manifest = nil
		return f, nil
	}
	return detect.Found{Absent: true}, nil
}

func (r registry) Read(_ context.Context, _, _, _, digest string) (detect.Found, error) {
	for _, f := range r {
		if f.Digest == digest && f.Manifest != nil {
			return f, nil
		}
	}
	return detect.Found{}, errors.New("there is no such manifest")
}
