package engine

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// moving is a database of two deliveries of one repository. The older waits for its retry and
// becomes due between any two statements.
type moving struct {
	Database
	due bool
}

func (m *moving) Now(*[]any, time.Time) string { return "0" }

func (m *moving) Query(_ context.Context, sql string, _ []any, each func(Scanner) error) error {
	older, fresh := row{1, 7, 0}, strings.Contains(sql, "state = 0 ORDER")
	if m.due {
		older[2] = 1
	}
	show := fresh == m.due
	m.due = true
	if show {
		if err := each(older); err != nil {
			return err
		}
	}
	if fresh {
		return each(row{2, 7, 1})
	}
	return nil
}

// row is an id, the hash of a key, and whether the delivery is due.
type row [3]int64

func (r row) Scan(dest ...any) error {
	for i, d := range dest {
		*d.(*int64) = r[i]
	}
	return nil
}

// TestOrderWhileDeliveriesBecomeDue: with `order: repository` a newer delivery does not overtake an
// older one that becomes due while the lane looks.
func TestOrderWhileDeliveriesBecomeDue(t *testing.T) {
	q := store.DueQuery{Webhook: "w", Order: store.ByRepository, Limit: 10}
	m := &moving{}
	if ids, _, err := dueIDs(t.Context(), m, q); err != nil || slices.Contains(ids, 2) {
		t.Errorf("while the older becomes due: %v, %v", ids, err)
	}
	if ids, _, err := dueIDs(t.Context(), m, q); err != nil || !slices.Equal(ids, []int64{1}) {
		t.Errorf("afterwards: %v, %v", ids, err)
	}
}
