package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

// Salvaged is what Salvage did.
type Salvaged struct {
	Aside string   // where the damaged file is now; "": the file is sound, and was not changed
	Rows  int      // rows that were copied from it
	Lost  []string // tables of which some rows could not be read, and why
}

// Salvage checks the file in dir, which no bellbuoy may use meanwhile. If it is damaged, Salvage
// copies what can be read into a new file, renames the damaged one, and puts the new one in its
// place. It can be killed at any moment and run again: the new file gets its name when it is
// complete. Nothing is ever deleted.
func Salvage(ctx context.Context, dir string) (Salvaged, error) {
	r, err := salvageIn(ctx, dir)
	if err != nil {
		return r, fmt.Errorf("salvaging %s: %w", filepath.Join(dir, databaseFile), err)
	}
	return r, nil
}

func salvageIn(ctx context.Context, dir string) (r Salvaged, err error) {
	path := filepath.Join(dir, databaseFile)
	if !salvageBegun(path) {
		if _, err := os.Stat(path); err != nil {
			return r, err
		}
	}
	lock, err := lockDir(ctx, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if salvageBegun(path) {
		if err := finishSalvage(path); err != nil {
			return r, err
		}
	}
	if err := checkWhole(ctx, path); err == nil || !isCorrupt(err) {
		return r, err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + newFile + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return r, err
		}
	}
	if r.Rows, r.Lost, err = rescue(ctx, path); err != nil {
		return r, err
	}
	r.Aside, err = putAside(path)
	return r, err
}

// checkWhole reads all of the file, indexes included, however long that takes.
func checkWhole(ctx context.Context, path string) error {
	c, err := openConn(dsn(path, writerPragmas))
	if err != nil {
		return err
	}
	return errors.Join(c.check(ctx, "PRAGMA integrity_check(1)"), c.Close())
}

// salvageBegun reports whether a salvage put the damaged file aside and was stopped before the new
// one got its name.
func salvageBegun(path string) bool {
	_, err := os.Stat(path)
	_, newErr := os.Stat(path + newFile)
	return errors.Is(err, os.ErrNotExist) && newErr == nil
}

// newFile is the name of the file into which rows are salvaged.
const newFile = ".new"

// rescue makes the new file, and copies the rows that can be read into it.
func rescue(ctx context.Context, path string) (saved int, lost []string, err error) {
	f, err := os.OpenFile(path+newFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, nil, err
	}
	f.Close()
	to, err := openConn(dsn(path+newFile, writerPragmas))
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := migrate(to); err != nil {
		return 0, nil, err
	}
	saved, lost = copyFrom(path, to)
	return saved, lost, to.Query(ctx, "PRAGMA wal_checkpoint(TRUNCATE)", nil, func(engine.Scanner) error { return nil })
}

// putAside renames the file and its WAL, and puts the new file in its place.
func putAside(path string) (string, error) {
	aside := path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000")
	if err := os.Rename(path+"-wal", aside+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Rename(path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	os.Remove(path + "-shm") // made anew
	return aside, finishSalvage(path)
}

// finishSalvage gives a complete new file its name.
func finishSalvage(path string) error {
	if err := os.Rename(path+newFile, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// salvaged are the tables to be copied, with their columns and their integer key, by which reading
// can go on after damage. "" means that a table has none.
var salvaged = []struct{ table, key, columns string }{
	{"counters", "", "name, value"},
	{"lanes", "", "webhook, owner, epoch, lease_until, state"},
	{"state_rows", "", "kind, id, value, due, seen, owner"},
	{"events", "seq", "seq, id, type, at, upstream, repository, transient, matched, data, crc"},
	{"deliveries", "id", "id, event_seq, webhook, number, tag_key, repo_key, tag_hash, repo_hash, state, attempts, created_at, next_at, reason, status, finished_at, transient"},
	{"payloads", "delivery", "delivery, data, crc"},
	{"packs", "first", "first, last, at_min, at_max, made, data, crc"},
	{"attempts", "", "delivery, at, n, status, latency, reason, error, response, replica"},
}

// copyFrom copies the rows that can be read. Rows with damaged content are recognized later, by
// their checksums.
func copyFrom(path string, to *conn) (saved int, lost []string) {
	from, err := openConn(dsn(path, []string{"cell_size_check(1)"}) + "&mode=ro")
	if err != nil {
		return 0, []string{fmt.Sprintf("all tables (%v)", err)}
	}
	defer from.Close()
	for _, t := range salvaged {
		s := &salvage{from: from, to: to, table: t.table, key: t.key, columns: t.columns}
		s.run()
		saved += s.saved
		if s.err != nil {
			lost = append(lost, fmt.Sprintf("%s (%v)", t.table, s.err))
		}
	}
	if err := mend(to); err != nil {
		lost = append(lost, err.Error())
	}
	return saved, lost
}

// salvage copies one table.
type salvage struct {
	from, to            *conn
	table, key, columns string
	saved               int
	err                 error // the first damage met
}

// run reads forwards until damage, and then backwards from the end. If there is an integer key, it
// also searches for sound rows in between.
func (s *salvage) run() {
	if s.key == "" {
		s.copy("", nil)
		if s.err != nil {
			s.copy(" ORDER BY "+strings.Join(strings.Split(s.columns, ", ")[:2], " DESC, ")+" DESC", nil)
		}
		return
	}
	last, broke := s.copy(fmt.Sprintf(" WHERE %s > $1 ORDER BY %s", s.key, s.key), []any{int64(math.MinInt64)})
	if !broke {
		return
	}
	first, broke := s.copy(fmt.Sprintf(" WHERE %s > $1 ORDER BY %s DESC", s.key, s.key), []any{last})
	for step := int64(1); broke && last+step < first; step *= 2 {
		var to int64
		if to, broke = s.copy(fmt.Sprintf(" WHERE %s > $1 AND %s < $2 ORDER BY %s", s.key, s.key, s.key), []any{last + step, first}); to > last+step {
			last, step = to, 1
		}
	}
}

// copy copies rows until the end or until damage, a thousand in a transaction. It returns the key
// of the last row.
func (s *salvage) copy(rest string, args []any) (last int64, broke bool) {
	if len(args) > 0 {
		last = args[0].(int64)
	}
	width := strings.Count(s.columns, ",") + 1
	places := make([]string, width)
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	insert := fmt.Sprintf("INSERT OR IGNORE INTO %s (%s) VALUES (%s)", s.table, s.columns, strings.Join(places, ", "))
	if _, err := s.to.Exec("BEGIN IMMEDIATE"); err != nil {
		s.note(err)
		return last, false
	}
	err := s.from.Query(context.Background(), "SELECT "+s.columns+" FROM "+s.table+rest, args, func(r engine.Scanner) error {
		row := r.(liteRow)
		values := make([]any, width)
		for i, v := range row {
			values[i] = v
		}
		n, err := s.to.Exec(insert, values...)
		if err != nil {
			return nil // the row does not fit the schema
		}
		s.saved += int(n)
		if key, ok := row[0].(int64); ok {
			last = key
		}
		return nil
	})
	if _, err := s.to.Exec("COMMIT"); err != nil {
		s.note(err)
	}
	s.note(err)
	return last, err != nil
}

func (s *salvage) note(err error) {
	if s.err == nil {
		s.err = err
	}
}

// mend makes the tables consistent: it removes deliveries without an event, which cannot be sent,
// and computes counts and sequences from the rows.
func mend(c *conn) error {
	if _, err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, sql := range []string{
		"DELETE FROM deliveries WHERE event_seq NOT IN (SELECT seq FROM events)",
		"DELETE FROM payloads WHERE delivery NOT IN (SELECT id FROM deliveries)",
		"DELETE FROM attempts WHERE delivery NOT IN (SELECT id FROM deliveries)",
		"UPDATE events SET matched = 0 WHERE seq NOT IN (SELECT event_seq FROM deliveries)",
		"INSERT INTO depths (webhook, pending, dead, parked) SELECT webhook, sum(state < 2), sum(state = 3), sum(state = 4) FROM deliveries GROUP BY webhook",
		// Numbers that were lost with their rows are left out.
		fmt.Sprintf("INSERT INTO counters (name, value) SELECT 'event_seq', %d + max((SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(last), 0) FROM packs)) WHERE true ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)", salvageGap),
		fmt.Sprintf("INSERT INTO counters (name, value) SELECT 'delivery_id', %d + (SELECT coalesce(max(id), 0) FROM deliveries) WHERE true ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)", salvageGap),
	} {
		if _, err := c.Exec(sql); err != nil {
			_, _ = c.Exec("ROLLBACK")
			return err
		}
	}
	_, err := c.Exec("COMMIT")
	return err
}

// salvageGap is added to the sequences, so that no new number is one that a receiver may have seen
// of a lost row.
const salvageGap = 100_000
