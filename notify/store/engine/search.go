package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// A search tests a bounded number of rows for one page, so that a filter that matches little costs
// no more than one that matches all. Where an index says that few rows can match, those alone are
// tested; otherwise the rows are walked from the newest on.

const (
	narrowMost = 4000 // candidates of an index; with more of them the rows are walked
	// clock differences and delays between an event and its row, before times and numbers are
	// taken to disagree
	eventDelay = time.Hour
)

// SearchDeliveries returns a page of the deliveries that q selects, newest first.
func (c *Core) SearchDeliveries(ctx context.Context, q store.DeliverySearch) (store.FoundDeliveries, error) {
	q.Limit, q.Most = OrDefault(q.Limit, 100), OrDefault(q.Most, store.SearchMost)
	page, err := searchDeliveries(ctx, c.DB, q)
	return page, Naming("searching deliveries", err)
}

func searchDeliveries(ctx context.Context, e Database, q store.DeliverySearch) (page store.FoundDeliveries, err error) {
	if q.Webhooks != nil && len(q.Webhooks) == 0 {
		return page, nil
	}
	ids, few, err := candidates(ctx, e, &q)
	if err != nil {
		return page, err
	}
	if few {
		return searchAmong(ctx, e, q, ids)
	}
	return walkDeliveries(ctx, e, q)
}

// searchAmong tests the deliveries with these ids.
func searchAmong(ctx context.Context, e Database, q store.DeliverySearch, ids []int64) (page store.FoundDeliveries, err error) {
	slices.SortFunc(ids, func(a, b int64) int { return int(b - a) })
	if q.BeforeID > 0 {
		ids = ids[sortedBefore(ids, q.BeforeID):]
	}
	for some := range slices.Chunk(ids, Chunk) {
		w := searchConditions(q)
		w.conditions = append(w.conditions, e.Among("d.id", some, &w.args))
		found, err := foundDeliveries(ctx, e, w, q.Limit+1-len(page.Deliveries))
		if err != nil {
			return page, err
		}
		if page.Deliveries = append(page.Deliveries, found...); len(page.Deliveries) > q.Limit {
			break
		}
	}
	cutDeliveries(&page, q.Limit)
	return page, nil
}

// cutDeliveries takes off what is more than a page, and says where the next one begins.
func cutDeliveries(page *store.FoundDeliveries, limit int) {
	if len(page.Deliveries) <= limit {
		return
	}
	page.Deliveries = page.Deliveries[:limit]
	page.Next = page.Deliveries[limit-1].ID
}

// candidates returns the ids of all deliveries that q can select, if an index shows that they are
// few.
func candidates(ctx context.Context, e Database, q *store.DeliverySearch) (ids []int64, few bool, err error) {
	switch {
	case len(q.IDs) > 0:
		return slices.Compact(slices.Sorted(slices.Values(q.IDs))), true, nil
	case q.EventID != "":
		ids, err = column(ctx, e, "SELECT d.id FROM events e JOIN deliveries d ON d.event_seq = e.seq WHERE e.id = $1", q.EventID)
		return ids, true, err
	}
	if ids, few, err = candidatesOfLanes(ctx, e, q); few || err != nil {
		return ids, few, err
	}
	if len(q.Repositories) == 0 {
		return nil, false, nil
	}
	var w where
	w.oneOf("e.repository", q.Repositories)
	ids, err = column(ctx, e, fmt.Sprintf("SELECT d.id FROM events e CROSS JOIN deliveries d%s AND d.event_seq = e.seq LIMIT %d", w.String(), narrowMost+1), w.args...)
	return ids, err == nil && len(ids) <= narrowMost, err
}

// candidatesOfLanes finds what is pending, dead or parked. The counts say whether that is little.
func candidatesOfLanes(ctx context.Context, e Database, q *store.DeliverySearch) (ids []int64, few bool, err error) {
	if len(q.States) == 0 || slices.Contains(q.States, store.Delivered) {
		return nil, false, nil
	}
	counted, err := depthCounts(ctx, e)
	if err != nil {
		return nil, false, err
	}
	total := int64(0)
	var webhooks []string
	for _, d := range counted {
		if q.Webhooks != nil && !slices.Contains(q.Webhooks, d.Webhook) {
			continue
		}
		if n := countOf(d, q.States); n > 0 {
			webhooks = append(webhooks, d.Webhook)
			total += n
		}
	}
	if total == 0 || total > narrowMost {
		return nil, total == 0, nil
	}
	var w where
	w.oneOf("webhook", webhooks)
	ids, err = column(ctx, e, "SELECT id FROM deliveries"+w.String()+" AND state <> 2 AND state IN ("+numbers(innerStates(q.States))+")", w.args...)
	return ids, true, err
}

func countOf(d store.Depth, states []store.State) (n int64) {
	for _, s := range states {
		switch s {
		case store.Pending:
			n += d.Pending
		case store.Dead:
			n += d.Dead
		case store.Parked:
			n += d.Parked
		}
	}
	return n
}

func numbers(all []int64) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(all)), ", "), "[]")
}

// depthCounts returns how much waits in each lane, without the oldest.
func depthCounts(ctx context.Context, q Querier) (all []store.Depth, err error) {
	sql := "SELECT webhook, CAST(sum(pending) AS BIGINT), CAST(sum(dead) AS BIGINT), CAST(sum(parked) AS BIGINT) FROM depths GROUP BY webhook"
	err = q.Query(ctx, sql, nil, func(s Scanner) error {
		var d store.Depth
		if err := s.Scan(&d.Webhook, &d.Pending, &d.Dead, &d.Parked); err != nil {
			return err
		}
		all = append(all, d)
		return nil
	})
	return all, err
}

// column reads a column of numbers.
func column(ctx context.Context, q Querier, sql string, args ...any) (all []int64, err error) {
	err = q.Query(ctx, sql, args, func(s Scanner) error {
		var n int64
		defer func() { all = append(all, n) }()
		return s.Scan(&n)
	})
	return all, err
}

// walkDeliveries tests at most q.Most deliveries, from the newest on.
func walkDeliveries(ctx context.Context, e Database, q store.DeliverySearch) (page store.FoundDeliveries, err error) {
	before := int64(math.MaxInt64)
	if q.BeforeID > 0 {
		before = q.BeforeID
	}
	if !q.Until.IsZero() {
		end, err := firstSince(ctx, e, q.Until.Add(clockSkew))
		if err != nil {
			return page, err
		}
		before = min(before, end)
	}
	floor, at, err := floorOf(ctx, e, "SELECT id, created_at FROM deliveries WHERE id < $1 ORDER BY id DESC", before, q.Most)
	if err != nil {
		return page, err
	}
	if !q.Since.IsZero() {
		first, err := firstSince(ctx, e, q.Since.Add(-clockSkew))
		if err != nil {
			return page, err
		}
		if first >= floor {
			floor, at = first, time.Time{}
		}
	}
	w := searchConditions(q)
	w.add("d.id >= ? AND d.id < ?", floor, before)
	if page.Deliveries, err = foundDeliveries(ctx, e, w, q.Limit+1); err != nil {
		return page, err
	}
	cutDeliveries(&page, q.Limit)
	if page.Next == 0 && !at.IsZero() {
		page.Next, page.LookedTo = floor, at
	}
	return page, nil
}

// floorOf returns the number and time of the last row that a page may test, if there are more
// behind it; otherwise zero.
func floorOf(ctx context.Context, q Querier, sql string, before int64, most int) (floor int64, at time.Time, err error) {
	var number, micros int64
	rows := 0
	err = q.Query(ctx, sql+" LIMIT 2 OFFSET CAST($2 AS BIGINT)", []any{before, int64(most - 1)}, func(s Scanner) error {
		if rows++; rows == 2 {
			floor, at = number, FromMicros(max(micros, 1)) // not zero, which is "none"
			return nil
		}
		return s.Scan(&number, &micros)
	})
	return floor, at, err
}

func searchConditions(q store.DeliverySearch) *where {
	w := new(where)
	w.oneOf("d.webhook", q.Webhooks)
	if len(q.States) > 0 {
		w.conditions = append(w.conditions, "d.state IN ("+numbers(innerStates(q.States))+")")
	}
	if !q.Since.IsZero() {
		w.add("d.created_at >= ?", Micros(q.Since))
	}
	if !q.Until.IsZero() {
		w.add("d.created_at < ?", Micros(q.Until))
	}
	w.aboutEvents("e.", q.Types, q.Repositories, q.Projects)
	return w
}

// aboutEvents adds conditions on events. The functions around the columns keep planners from the
// index of repositories, which would read all of a project.
func (w *where) aboutEvents(table string, types, repositories, projects []string) {
	w.oneOf("coalesce("+table+"type, '')", types)
	w.oneOf("coalesce("+table+"repository, '')", repositories)
	if len(projects) == 0 {
		return
	}
	column := "coalesce(" + table + "repository, '')"
	parts := []string{column + " NOT LIKE '%/%'"} // library, or the project is in the event alone
	for _, p := range projects {
		w.args = append(w.args, p+"/", p+"0") // 0 follows /
		parts = append(parts, fmt.Sprintf("(%s >= $%d AND %s < $%d)", column, len(w.args)-1, column, len(w.args)))
	}
	w.conditions = append(w.conditions, "("+strings.Join(parts, " OR ")+")")
}

func foundDeliveries(ctx context.Context, e Database, w *where, limit int) (found []store.Delivery, err error) {
	sql := fmt.Sprintf("SELECT %s FROM deliveries d CROSS JOIN events e%s AND e.seq = d.event_seq ORDER BY d.id DESC LIMIT %d", deliveryColumns, w.String(), limit)
	err = e.Query(ctx, sql, w.args, func(s Scanner) error {
		d, err := scanDelivery(s)
		found = append(found, d)
		return err
	})
	return found, err
}

// sortedBefore returns the index of the first id below a bound, in ids that fall.
func sortedBefore(ids []int64, bound int64) int {
	i, _ := slices.BinarySearchFunc(ids, bound, func(id, bound int64) int {
		if id >= bound {
			return -1
		}
		return 1
	})
	return i
}

// SearchEvents returns a page of the events that q selects, newest first.
func (c *Core) SearchEvents(ctx context.Context, q store.EventSearch) (store.FoundEvents, error) {
	q.Limit, q.Most = OrDefault(q.Limit, 100), OrDefault(q.Most, store.SearchMost)
	upTo, err := c.DB.CommittedUpTo(ctx)
	if err != nil {
		return store.FoundEvents{}, Naming("searching events", err)
	}
	if q.Before == 0 || q.Before > upTo+1 {
		q.Before = upTo + 1
	}
	page, err := searchEvents(ctx, c.DB, q)
	return page, Naming("searching events", err)
}

// searchEvents tests at most q.Most events of their own rows, and at most as many in packs.
func searchEvents(ctx context.Context, e Database, q store.EventSearch) (page store.FoundEvents, err error) {
	first := int64(0)
	if !q.Since.IsZero() {
		if first, err = eventsSince(ctx, e, q.Since.Add(-eventDelay)); err != nil {
			return page, err
		}
	}
	if !q.Until.IsZero() {
		end, err := eventsUntil(ctx, e, q.Until.Add(eventDelay))
		if err != nil {
			return page, err
		}
		q.Before = min(q.Before, end)
	}
	floor, at, err := floorOf(ctx, e, "SELECT seq, at FROM events WHERE seq < $1 ORDER BY seq DESC", q.Before, q.Most)
	if err != nil {
		return page, err
	}
	packs, packsAt, err := floorOf(ctx, e, "SELECT first, at_min FROM packs WHERE last < $1 ORDER BY last DESC", q.Before, max(q.Most/packEvents, 1))
	if err != nil {
		return page, err
	}
	if packs > floor {
		floor, at = packs, packsAt
	}
	if first >= floor {
		floor, at = first, time.Time{}
	}
	page.Events, err = events(ctx, e, q.Before-1, store.EventQuery{Types: q.Types, Upstream: q.Upstream, Repositories: q.Repositories, Projects: q.Projects,
		Since: q.Since, Until: q.Until, After: floor - 1, Before: q.Before, Limit: q.Limit + 1})
	if err != nil {
		return page, err
	}
	switch {
	case len(page.Events) > q.Limit:
		page.Events = page.Events[:q.Limit]
		page.Next = page.Events[q.Limit-1].Seq
	case !at.IsZero():
		page.Next, page.LookedTo = floor, at
	}
	return page, nil
}

// eventsSince returns a Seq below which no event happened at t or later, and eventsUntil one from
// which on none happened before t. Events are in the order of their commits, which may be later
// than they happened: the caller allows for the usual delay, and a sample of several events for the
// few that were found much later.
func eventsSince(ctx context.Context, q Querier, t time.Time) (int64, error) {
	return halveEvents(ctx, q, func(_, latest int64) bool { return latest >= Micros(t) })
}

func eventsUntil(ctx context.Context, q Querier, t time.Time) (int64, error) {
	return halveEvents(ctx, q, func(earliest, _ int64) bool { return earliest >= Micros(t) })
}

// halveEvents returns the lowest Seq whose sample is right, as all later ones are.
func halveEvents(ctx context.Context, q Querier, right func(earliest, latest int64) bool) (int64, error) {
	var low, high int64
	err := q.Query(ctx, "SELECT coalesce((SELECT min(seq) FROM events), 0), coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT min(first) FROM packs), 0), coalesce((SELECT max(last) FROM packs), 0)", nil,
		func(s Scanner) error {
			var first, last int64
			err := s.Scan(&low, &high, &first, &last)
			if low == 0 || first > 0 && first < low {
				low = first
			}
			high = max(high, last) + 1
			return err
		})
	for err == nil && low < high {
		mid := low + (high-low)/2
		var earliest, latest int64
		if earliest, latest, err = sampleEvents(ctx, q, mid); right(earliest, latest) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low, err
}

// sampleEvents returns the times between which some events from seq on happened.
func sampleEvents(ctx context.Context, q Querier, seq int64) (earliest, latest int64, err error) {
	earliest = math.MaxInt64
	widen := func(s Scanner) error {
		var from, to int64
		if err := s.Scan(&from, &to); err != nil {
			return err
		}
		earliest, latest = min(earliest, from), max(latest, to)
		return nil
	}
	if err := q.Query(ctx, "SELECT at, at FROM events WHERE seq >= $1 ORDER BY seq LIMIT 32", []any{seq}, widen); err != nil {
		return 0, 0, err
	}
	err = q.Query(ctx, "SELECT at_min, at_max FROM packs WHERE last >= $1 ORDER BY last LIMIT 1", []any{seq}, widen)
	return earliest, latest, err
}
