package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// The deliveries that a lane may send are found without reading a large backlog: the oldest
// dueWindow deliveries are read. If these belong to too few keys (one tag was pushed a million
// times), a skip scan of the index of keys finds further keys, with one step for each.
const (
	DueWindow = 2000
	dueBytes  = 16 << 20 // bytes of payloads in one answer
)

// Internal states; see the migrations.
const (
	Fresh int64 = iota
	Waiting
	Delivered
	Dead
	Parked
)

func outward(state int64) store.State {
	switch state {
	case Delivered:
		return store.Delivered
	case Dead:
		return store.Dead
	case Parked:
		return store.Parked
	}
	return store.Pending
}

func inward(s store.State) []int64 {
	switch s {
	case store.Delivered:
		return []int64{Delivered}
	case store.Dead:
		return []int64{Dead}
	case store.Parked:
		return []int64{Parked}
	}
	return []int64{Fresh, Waiting}
}

// picker gathers the ids of the deliveries that a lane may send.
type picker struct {
	ctx    context.Context
	e      Database
	query  store.DueQuery
	column string            // tag_hash or repo_hash
	index  string            // the index of that column
	busy   map[int64]bool    // hashes of the busy keys
	heads  map[int64]keyHead // by the key's hash; of those in flight too
	free   []int64           // due deliveries without a key
	cut    bool              // a window was full: there may be more deliveries
}

// keyHead is the oldest delivery of a key that was seen.
type keyHead struct {
	id  int64
	due bool
}

// dueIDs returns the ids of the deliveries that q selects, in order, and whether there may be more.
func dueIDs(ctx context.Context, e Database, q store.DueQuery) (ids []int64, cut bool, err error) {
	p := &picker{ctx: ctx, e: e, query: q, column: "tag_hash", index: "deliveries_tag", busy: make(map[int64]bool), heads: make(map[int64]keyHead)}
	if q.Order == store.ByRepository {
		p.column, p.index = "repo_hash", "deliveries_repo"
	}
	for key, is := range q.Busy {
		if is && key != "" {
			p.busy[KeyHash(key)] = true
		}
	}
	for _, window := range []int{4*q.Limit + len(q.Except), DueWindow + len(q.Except)} {
		if ids, err = p.look(window); err != nil || len(ids) >= q.Limit || !p.cut {
			return ids, p.cut, err
		}
	}
	if q.Order != store.Unordered {
		ids, err = p.skip(ids)
	}
	return ids, true, err
}

// look picks from the first deliveries of the lane.
func (p *picker) look(window int) ([]int64, error) {
	p.cut, p.free = false, nil
	clear(p.heads)
	waiting := "state = 1 AND next_at <= %s ORDER BY next_at"
	if p.query.Order == store.ByRepository {
		waiting = "state = 1 ORDER BY id" // a head holds up the others also while it is not due
	}
	// Each window is read at another moment. MakeDue may make a waiting delivery fresh in
	// between. Waiting ones are read first, so that such a delivery is seen twice and not
	// missed.
	if err := p.window(window, waiting); err != nil {
		return nil, err
	}
	if err := p.window(window, "state = 0 ORDER BY id"); err != nil {
		return nil, err
	}
	return p.choose()
}

func (p *picker) window(limit int, condition string) error {
	args := []any{p.query.Webhook, limit}
	now := p.e.Now(&args, p.query.Now)
	if strings.Contains(condition, "%s") {
		condition = fmt.Sprintf(condition, now)
	}
	n := 0
	sql := "SELECT id, " + p.column + ", CASE WHEN state = 0 OR next_at <= " + now + " THEN 1 ELSE 0 END FROM deliveries WHERE webhook = $1 AND state <> 2 AND " + condition + " LIMIT CAST($2 AS BIGINT)"
	err := p.e.Query(p.ctx, sql, args, func(s Scanner) error {
		var id, hash, due int64
		if err := s.Scan(&id, &hash, &due); err != nil {
			return err
		}
		n++
		p.see(id, hash, due != 0)
		return nil
	})
	p.cut = p.cut || n >= limit
	return err
}

func (p *picker) see(id, hash int64, due bool) {
	if hash == 0 || p.query.Order == store.Unordered {
		if due && !p.query.Except[id] {
			p.free = append(p.free, id)
		}
		return
	}
	if head, ok := p.heads[hash]; !ok || id < head.id {
		p.heads[hash] = keyHead{id, due}
	}
}

// choose returns the oldest of the heads and of the free ones. If a window was full, the oldest
// delivery of a key in it need not be the head of the key, and the head is looked up.
func (p *picker) choose() ([]int64, error) {
	ids := slices.Clone(p.free)
	keys := make(map[int64]int64, len(p.heads))
	for hash, head := range p.heads {
		if !p.busy[hash] && (head.due || p.cut) {
			keys[head.id] = hash
			ids = append(ids, head.id)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var chosen []int64
	for _, id := range ids {
		if len(chosen) >= p.query.Limit {
			break
		}
		if hash := keys[id]; hash != 0 && p.cut {
			head, err := p.head(hash)
			if err != nil {
				return nil, err
			}
			id = head
		}
		if id != 0 && !p.query.Except[id] {
			chosen = append(chosen, id)
		}
	}
	slices.Sort(chosen)
	return chosen, nil
}

// head returns the delivery of a key that may be sent now, or 0: with order by tag the oldest that
// is due, by repository the oldest if it is due.
func (p *picker) head(hash int64) (id int64, err error) {
	args := []any{p.query.Webhook, hash}
	due := "(state = 0 OR next_at <= " + p.e.Now(&args, p.query.Now) + ")"
	sql := "SELECT id, 1 FROM deliveries" + p.e.Using(p.index) + " WHERE webhook = $1 AND tag_hash = $2 AND state < 2 AND " + due + " ORDER BY id LIMIT 1"
	if p.query.Order == store.ByRepository {
		sql = "SELECT id, CASE WHEN " + due + " THEN 1 ELSE 0 END FROM deliveries" + p.e.Using(p.index) + " WHERE webhook = $1 AND repo_hash = $2 AND state < 2 ORDER BY id LIMIT 1"
	}
	err = p.e.Query(p.ctx, sql, args, func(s Scanner) error {
		var is int64
		if err := s.Scan(&id, &is); err != nil {
			return err
		}
		id *= is
		return nil
	})
	return id, err
}

// skip is the skip scan: it adds deliveries of keys that are not in the windows.
func (p *picker) skip(ids []int64) ([]int64, error) {
	var hashes []int64
	next := "(SELECT " + p.column + " FROM deliveries" + p.e.Using(p.index) + " WHERE webhook = $1 AND state < 2 AND " + p.column + " > %s ORDER BY " + p.column + " LIMIT 1)"
	sql := "WITH RECURSIVE keys(hash, n) AS (SELECT " + fmt.Sprintf(next, "$2") + ", 1 UNION ALL SELECT " + fmt.Sprintf(next, "keys.hash") + ", n + 1 FROM keys WHERE n < $3 AND hash IS NOT NULL) " +
		"SELECT hash FROM keys WHERE hash IS NOT NULL AND hash <> 0"
	err := p.e.Query(p.ctx, sql, []any{p.query.Webhook, int64(-1 << 63), DueWindow}, func(s Scanner) error {
		var hash int64
		defer func() { hashes = append(hashes, hash) }()
		return s.Scan(&hash)
	})
	if err != nil {
		return nil, err
	}
	if ids, err = p.unkeyed(ids); err != nil {
		return nil, err
	}
	for found := 0; len(hashes) > 0 && found < p.query.Limit; hashes = hashes[1:] {
		hash := hashes[0]
		if _, seen := p.heads[hash]; seen || p.busy[hash] {
			continue
		}
		id, err := p.head(hash)
		if err != nil {
			return nil, err
		}
		if id != 0 && !p.query.Except[id] {
			ids = append(ids, id)
			found++
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), p.query.Limit)], nil
}

// unkeyed adds due deliveries that have no key.
func (p *picker) unkeyed(ids []int64) ([]int64, error) {
	args := []any{p.query.Webhook, p.query.Limit + len(p.query.Except)}
	sql := "SELECT id FROM deliveries" + p.e.Using(p.index) + " WHERE webhook = $1 AND " + p.column + " = 0 AND state < 2 AND (state = 0 OR next_at <= " + p.e.Now(&args, p.query.Now) + ") ORDER BY id LIMIT CAST($2 AS BIGINT)"
	err := p.e.Query(p.ctx, sql, args, func(s Scanner) error {
		var id int64
		if err := s.Scan(&id); err != nil {
			return err
		}
		if len(ids) < p.query.Limit && !p.query.Except[id] && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// nextDue returns when the first waiting delivery of the lane becomes due, by the clock of this
// machine.
func nextDue(ctx context.Context, e Database, q store.DueQuery) (at time.Time, err error) {
	args := []any{q.Webhook}
	now := e.Now(&args, q.Now)
	err = e.Query(ctx, "SELECT next_at - "+now+" FROM deliveries WHERE webhook = $1 AND state = 1 AND next_at > "+now+" ORDER BY next_at LIMIT 1", args, func(s Scanner) error {
		var us int64
		if err := s.Scan(&us); err != nil {
			return err
		}
		at = q.Now.Add(time.Duration(us) * time.Microsecond)
		return nil
	})
	return at, err
}
