package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// session is one transaction. Its writes are gathered in a batch that goes out together with the
// COMMIT: a group costs three round trips (begin and locks; numbers and fences; writes and commit)
// and those of its callers' reads.
type session struct {
	c     *pgxpool.Conn
	e     *database
	batch *pgx.Batch
}

func (s *session) Query(ctx context.Context, sql string, args []any, each func(engine.Scanner) error) error {
	ctx, cancel := context.WithTimeout(ctx, pgAtMost)
	defer cancel()
	return pgQuery(ctx, s.c.Conn(), sql, args, each)
}

func (s *session) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, pgAtMost)
	defer cancel()
	tag, err := s.c.Exec(ctx, sql, pgArgs(args)...)
	return tag.RowsAffected(), err
}

func (s *session) NextDelivery(ctx context.Context) (id int64, err error) {
	err = s.Query(ctx, "SELECT nextval('delivery_id')", nil, func(r engine.Scanner) error { return r.Scan(&id) })
	return id, err
}

func (s *session) Rows() engine.Reader { return engine.Reader{Q: s, Ctx: context.Background()} }

func (s *session) Rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !s.c.Conn().IsClosed() {
		_, _ = s.c.Exec(ctx, "ROLLBACK")
	}
	s.c.Release()
}

// Commit sends what apply has gathered.
func (s *session) Commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), pgAtMost)
	defer cancel()
	s.batch.Queue("COMMIT")
	err := s.c.SendBatch(ctx, s.batch).Close()
	if err == nil {
		s.c.Release()
		return nil
	}
	s.Rollback()
	var pg *pgconn.PgError
	if errors.As(err, &pg) && !strings.HasPrefix(pg.Code, "57") {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

func (s *session) Apply(ctx context.Context, g *engine.Group) error {
	s.batch = new(pgx.Batch)
	seqs, ids, err := s.reserve(ctx, g)
	if err != nil {
		return err
	}
	s.putRows(g)
	s.insertEvents(g, seqs, ids)
	s.insertPacks(g, seqs[len(g.Events):])
	if err := s.finish(g); err != nil {
		return err
	}
	s.addDepths(g)
	return nil
}

// reserve gets numbers for the events and deliveries of the group. Before that it takes the lock
// that shows these numbers to CommittedUpTo. It drops the outcomes of lanes that another replica
// holds now.
func (s *session) reserve(ctx context.Context, g *engine.Group) (seqs, ids []int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pgAtMost)
	defer cancel()
	deliveries := 0
	for i := range g.Events {
		deliveries += len(g.Events[i].Deliveries)
	}
	b := new(pgx.Batch)
	if n := len(g.Events) + len(g.Packed); n > 0 {
		b.Queue("SELECT pg_advisory_xact_lock_shared(-1 - last_value) FROM event_seq")
		queueNumbers(b, "event_seq", n, &seqs)
	}
	if deliveries > 0 {
		queueNumbers(b, "delivery_id", deliveries, &ids)
	}
	epochs := make(map[string]int64)
	if len(g.Finishes) > 0 {
		s.queueFences(b, g, epochs)
	}
	if b.Len() == 0 {
		return nil, nil, nil
	}
	if err := s.c.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, err
	}
	g.Fence(epochs)
	return seqs, ids, nil
}

func queueNumbers(b *pgx.Batch, sequence string, n int, numbers *[]int64) {
	b.Queue("SELECT nextval('"+sequence+"') FROM generate_series(1, $1::bigint)", int64(n)).Query(func(rows pgx.Rows) (err error) {
		*numbers, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
}

// queueFences locks the rows of the lanes, so that no other replica can lease them before the end
// of the transaction.
func (s *session) queueFences(b *pgx.Batch, g *engine.Group, epochs map[string]int64) {
	var webhooks []string
	seen := make(map[string]bool)
	for _, f := range g.Finishes {
		if !seen[f.Webhook] {
			seen[f.Webhook] = true
			webhooks = append(webhooks, f.Webhook)
		}
	}
	b.Queue("SELECT webhook, epoch FROM lanes WHERE webhook = ANY($1::text[]) AND owner = $2 ORDER BY webhook FOR SHARE", webhooks, s.e.replica).Query(func(rows pgx.Rows) error {
		var webhook string
		var epoch int64
		_, err := pgx.ForEachRow(rows, []any{&webhook, &epoch}, func() error { epochs[webhook] = epoch; return nil })
		return err
	})
}

func (s *session) putRows(g *engine.Group) {
	var put, gone struct {
		kinds       []string
		ids, values [][]byte
		dues, seens []int64
	}
	for k, r := range g.Rows {
		to := &gone
		if r != nil {
			to = &put
			to.values = append(to.values, append([]byte{}, r.Value...))
			to.dues, to.seens = append(to.dues, engine.Micros(r.Due)), append(to.seens, engine.Micros(r.Seen))
		}
		to.kinds, to.ids = append(to.kinds, k.Kind), append(to.ids, []byte(k.ID))
	}
	if len(gone.ids) > 0 {
		s.batch.Queue("DELETE FROM state_rows r USING unnest($1::text[], $2::bytea[]) AS u(kind, id) WHERE r.kind = u.kind AND r.id = u.id", gone.kinds, gone.ids)
	}
	if len(put.ids) > 0 {
		// Sorted, so that two replicas that put the same rows do not deadlock.
		s.batch.Queue("INSERT INTO state_rows (kind, id, value, due, seen, owner) SELECT *, $6::text FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[]) AS u(kind, id, value, due, seen) ORDER BY kind, id"+
			" ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value, due = excluded.due, seen = excluded.seen, owner = excluded.owner",
			put.kinds, put.ids, put.values, put.dues, put.seens, s.e.replica)
	}
}

// eventColumns and deliveryRows are a group's events and deliveries, column by column.
type eventColumns struct {
	ids, types, upstreams, repositories []string
	ats, transients, matched, crcs      []int64
	data                                [][]byte
}

type deliveryRows struct {
	seqs, numbers, tagHashes, repoHashes, states, nexts, transients []int64
	webhooks, tags, repos                                           []string
}

func (s *session) insertEvents(g *engine.Group, seqs, ids []int64) {
	if len(g.Events) == 0 {
		return
	}
	var e eventColumns
	var d deliveryRows
	now := time.Now()
	for i := range g.Events {
		a := &g.Events[i]
		e.add(a)
		for j := range a.Deliveries {
			d.add(&a.Deliveries[j], seqs[i], a.Transient, now)
		}
	}
	seqs = seqs[:len(g.Events)]
	g.AnyNew = true
	const events = "WITH new AS (INSERT INTO events (seq, id, type, at, upstream, repository, transient, matched, data, crc)" +
		" SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::smallint[], $8::smallint[], $9::bytea[], $10::bigint[]) ON CONFLICT (id) DO NOTHING RETURNING seq)"
	args := []any{seqs, e.ids, e.types, e.ats, e.upstreams, e.repositories, e.transients, e.matched, e.data, e.crcs}
	if len(ids) == 0 {
		s.batch.Queue(events+" SELECT count(*) FROM new", args...)
		return
	}
	// NextAt is by the clock of this machine, so only its distance from now is sent.
	s.batch.Queue(events+", owed AS (INSERT INTO deliveries (id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient)"+
		" SELECT u.id, u.seq, u.webhook, u.number, u.tag, u.repo, u.tag_hash, u.repo_hash, u.state, 0, $11::bigint, CASE WHEN u.state = 1 THEN "+pgNow+" + u.next ELSE 0 END, '', 0, 0, u.transient"+
		" FROM unnest($12::bigint[], $13::bigint[], $14::text[], $15::integer[], $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::smallint[], $21::bigint[], $22::smallint[])"+
		" AS u(id, seq, webhook, number, tag, repo, tag_hash, repo_hash, state, next, transient) WHERE u.seq IN (SELECT seq FROM new) ORDER BY u.id RETURNING webhook),"+
		" counted AS (SELECT webhook, count(*) AS n FROM owed GROUP BY webhook)"+
		" INSERT INTO depths (webhook, pending, dead, parked) SELECT webhook, n, 0, 0 FROM counted RETURNING webhook",
		append(args, engine.Micros(now), ids, d.seqs, d.webhooks, d.numbers, d.tags, d.repos, d.tagHashes, d.repoHashes, d.states, d.nexts, d.transients)...).
		Query(func(rows pgx.Rows) error {
			var webhook string
			_, err := pgx.ForEachRow(rows, []any{&webhook}, func() error { g.Wakes[webhook] = true; return nil })
			return err
		})
}

func (e *eventColumns) add(a *engine.Appended) {
	e.ids, e.types, e.ats = append(e.ids, a.ID), append(e.types, a.Type), append(e.ats, engine.Micros(a.At))
	e.upstreams, e.repositories = append(e.upstreams, a.Upstream), append(e.repositories, a.Repository)
	e.transients, e.matched = append(e.transients, bit(a.Transient)), append(e.matched, bit(len(a.Deliveries) > 0))
	e.data, e.crcs = append(e.data, append([]byte{}, a.Data...)), append(e.crcs, engine.Checksum(a.Data))
}

func (r *deliveryRows) add(d *store.Delivery, seq int64, transient bool, now time.Time) {
	state, next := engine.Fresh, int64(0)
	if wait := d.NextAt.Sub(now); wait > 0 {
		state, next = engine.Waiting, wait.Microseconds()
	}
	r.seqs, r.numbers, r.webhooks = append(r.seqs, seq), append(r.numbers, int64(d.Number)), append(r.webhooks, d.Webhook)
	r.tags, r.tagHashes = append(r.tags, d.TagKey), append(r.tagHashes, engine.KeyHash(d.TagKey))
	r.repos, r.repoHashes = append(r.repos, d.RepoKey), append(r.repoHashes, engine.KeyHash(d.RepoKey))
	r.states, r.nexts, r.transients = append(r.states, state), append(r.nexts, next), append(r.transients, bit(transient))
}

func (s *session) insertPacks(g *engine.Group, seqs []int64) {
	if len(g.Packed) == 0 {
		return
	}
	g.PackedSeqs, g.AnyNew = seqs, true
	for _, p := range engine.PackUp(g.Packed, seqs) {
		s.batch.Queue("INSERT INTO packs (first, last, at_min, at_max, made, data, crc) VALUES ($1, $2, $3, $4, $5, $6, $7)", p.First, p.Last, p.AtMin, p.AtMax, engine.Micros(time.Now()), p.Data, engine.Checksum(p.Data))
	}
}

// addDepths adds the changes of counts by chores. Appended and finished deliveries are counted when
// they are written.
func (s *session) addDepths(g *engine.Group) {
	s.e.busy.Store(true)
	for webhook, t := range g.Depths {
		if *t != (engine.Tally{}) {
			s.batch.Queue("INSERT INTO depths (webhook, pending, dead, parked) VALUES ($1, $2, $3, $4)", webhook, t.Pending, t.Dead, t.Parked)
		}
	}
}

// finishColumns are a group's outcomes, column by column.
type finishColumns struct {
	ids, states, burnt, nexts, statuses, finished []int64
	webhooks, reasons                             []string

	payloads struct {
		ids, crcs []int64
		data      [][]byte
	}
	tries struct {
		ids, ats, ns, statuses, latencies []int64
		reasons, errors, replicas         []string
		responses                         [][]byte
	}
}

func (s *session) finish(g *engine.Group) error {
	if len(g.Finishes) == 0 {
		return nil
	}
	var c finishColumns
	now := time.Now()
	for _, f := range g.Finishes {
		if err := c.add(f.Outcome, now, s.e.nextTry.Add(1)); err != nil {
			return err
		}
	}
	s.batch.Queue("WITH u AS (SELECT * FROM unnest($1::bigint[], $2::text[], $3::smallint[], $4::integer[], $5::bigint[], $6::text[], $7::integer[], $8::bigint[]) AS u(id, webhook, state, burnt, next, reason, status, finished)),"+
		" old AS (SELECT d.id, d.state AS was FROM deliveries d JOIN u ON u.id = d.id AND u.webhook = d.webhook WHERE d.state IN (0, 1, 4) ORDER BY d.id FOR UPDATE OF d),"+
		" done AS (UPDATE deliveries d SET state = CASE WHEN old.was = 4 AND u.state = 1 THEN 4 ELSE u.state END, attempts = d.attempts + u.burnt, next_at = CASE WHEN u.state = 1 THEN "+pgNow+" + u.next ELSE 0 END,"+
		" reason = u.reason, status = u.status, finished_at = CASE WHEN u.finished > 0 THEN u.finished ELSE d.finished_at END"+
		" FROM u JOIN old ON old.id = u.id WHERE d.id = u.id RETURNING d.webhook, old.was, d.state AS now),"+
		" sums AS (SELECT webhook, sum((now < 2)::int - (was < 2)::int) AS pending, sum((now = 3)::int) AS dead, sum((now = 4)::int - (was = 4)::int) AS parked FROM done GROUP BY webhook)"+
		" INSERT INTO depths (webhook, pending, dead, parked) SELECT * FROM sums WHERE pending <> 0 OR dead <> 0 OR parked <> 0",
		c.ids, c.webhooks, c.states, c.burnt, c.nexts, c.reasons, c.statuses, c.finished)
	if p := &c.payloads; len(p.ids) > 0 {
		s.batch.Queue("INSERT INTO payloads (delivery, data, crc) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[]) AS u(delivery, data, crc) WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.id = u.delivery) ON CONFLICT (delivery) DO NOTHING", p.ids, p.data, p.crcs)
	}
	if t := &c.tries; len(t.ids) > 0 {
		s.batch.Queue("INSERT INTO attempts (delivery, at, n, status, latency, reason, error, response, replica) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::text[], $7::text[], $8::bytea[], $9::text[])"+
			" AS u(delivery, at, n, status, latency, reason, error, response, replica) WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.id = u.delivery)",
			t.ids, t.ats, t.ns, t.statuses, t.latencies, t.reasons, t.errors, t.responses, t.replicas)
	}
	return nil
}

func (c *finishColumns) add(o *store.Outcome, now time.Time, n int64) error {
	to := engine.NewEnding(o, now)
	next := int64(0)
	if to.State == engine.Waiting {
		next = max(o.NextAt.Sub(now).Microseconds(), 0)
	}
	c.ids, c.webhooks, c.states, c.burnt = append(c.ids, o.DeliveryID), append(c.webhooks, o.Webhook), append(c.states, to.State), append(c.burnt, bit(o.Burnt))
	c.nexts, c.reasons, c.statuses, c.finished = append(c.nexts, next), append(c.reasons, to.Reason), append(c.statuses, int64(o.Status)), append(c.finished, to.Finished)
	if o.Payload != nil {
		data, err := engine.EncodePayload(o.Payload)
		if err != nil {
			return err
		}
		p := &c.payloads
		p.ids, p.data, p.crcs = append(p.ids, o.DeliveryID), append(p.data, data), append(p.crcs, engine.Checksum(data))
	}
	if a := o.Attempt; a != nil {
		t := &c.tries
		t.ids, t.ats, t.ns = append(t.ids, o.DeliveryID), append(t.ats, engine.Micros(a.At)), append(t.ns, n)
		t.statuses, t.latencies = append(t.statuses, int64(a.Status)), append(t.latencies, a.Latency.Microseconds())
		t.reasons, t.errors, t.replicas = append(t.reasons, engine.Clean(a.Reason)), append(t.errors, engine.Clean(a.Error)), append(t.replicas, engine.Clean(a.Replica))
		t.responses = append(t.responses, append([]byte{}, a.Response...))
	}
	return nil
}
