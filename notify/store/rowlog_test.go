package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fillLog writes rows of another kind, so many that the next commit folds the log.
func (w *world) fillLog(t *testing.T) {
	t.Helper()
	w.update(t, func(tx Tx) {
		for i := range foldRows {
			tx.Put(Row{Key: Key{"filler", fmt.Sprint(i)}})
		}
	})
}

// TestRowsAreTheSameEverywhere: what is read is what was committed last, wherever the log stands: by views, by transactions, as due rows and after a restart.
func TestRowsAreTheSameEverywhere(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		is, due, random := map[string]string{}, map[string]time.Time{}, rand.New(rand.NewPCG(3, 4))
		now := time.Now().UTC().Truncate(time.Second)
		change := func(tx Tx) {
			for range 30 {
				id := fmt.Sprintf("%c/%d", 'a'+random.IntN(3), random.IntN(40))
				delete(due, id)
				if random.IntN(3) == 0 {
					delete(is, id)
					tx.Delete(Key{"k", id})
					continue
				}
				row := Row{Key: Key{"k", id}, Value: []byte(fmt.Sprint(random.Int()))}
				if at := random.IntN(5); at > 0 {
					row.Due = now.Add(time.Duration(at-3) * time.Hour)
					due[id] = row.Due
				}
				is[id] = string(row.Value)
				tx.Put(row)
			}
		}
		for step := range 25 {
			w.update(t, change)
			switch {
			case step%10 == 9:
				w = w.reopen(t)
			case step%5 == 4:
				w.fillLog(t)
			}
			if err := w.View(ctx, func(r Reader) error { sees(t, step, r, is); return nil }); err != nil {
				t.Fatal(err)
			}
			w.update(t, func(tx Tx) { sees(t, step, tx, is) })
			dueRows(t, w, now, due)
			if rows, err := w.Own(ctx, "k", "", 0); err != nil || len(rows) != len(is) {
				t.Fatalf("step %d: %d rows are its own (%v), want %d", step, len(rows), err, len(is))
			} else if middle := rows[len(rows)/2].ID; len(rows) > 1 {
				behind, err := w.Own(ctx, "k", middle, 0)
				if err != nil || len(behind) != len(rows)-len(rows)/2-1 || len(behind) > 0 && behind[0].ID <= middle {
					t.Fatalf("step %d: %d rows behind the middle of %d (%v)", step, len(behind), len(rows), err)
				}
			}
		}
	})
}

// dueRows compares the rows that are due with those that should be.
func dueRows(t *testing.T, w *world, now time.Time, due map[string]time.Time) {
	t.Helper()
	rows, err := w.Due(ctx, "k", now, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, at := range due {
		if !at.After(now) {
			want++
		}
	}
	for _, r := range rows {
		if !due[r.ID].Equal(r.Due) || r.Due.After(now) {
			t.Fatalf("%s is due at %s, want %s", r.ID, r.Due, due[r.ID])
		}
	}
	inOrder := slices.IsSortedFunc(rows, func(a, b Row) int { return a.Due.Compare(b.Due) })
	if len(rows) != want || !inOrder {
		t.Fatalf("%d rows are due, want %d; in order: %t", len(rows), want, inOrder)
	}
	if few, err := w.Due(ctx, "k", now, 2); err != nil || len(few) != min(2, want) {
		t.Fatalf("%d rows (%v)", len(few), err)
	}
}

// TestAScanIsOneMoment: two rows that are always written together are always seen so, while the log is folded under those who look.
func TestAScanIsOneMoment(t *testing.T) {
	w := sqliteWorld(t, t.TempDir())
	stop, looking := make(chan struct{}), sync.WaitGroup{}
	for range readers {
		looking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var pair []Row
				err := w.View(ctx, func(r Reader) (err error) {
					pair, err = r.Scan("pair", "", 0)
					return err
				})
				if err != nil || len(pair) == 1 || len(pair) == 2 && string(pair[0].Value) != string(pair[1].Value) {
					t.Errorf("%q (%v)", pair, err)
					return
				}
			}
		})
	}
	for i := range 40 { // ten folds
		w.update(t, func(tx Tx) {
			value := []byte(fmt.Sprint(i))
			for n := range foldRows / 4 {
				tx.Put(Row{Key: Key{"filler", fmt.Sprint(n)}, Value: value})
			}
			if i%3 > 0 { // else one of them is in the table only, before long
				tx.Put(Row{Key: Key{"pair", "a"}, Value: value}, Row{Key: Key{"pair", "b"}, Value: value})
			}
		})
	}
	close(stop)
	looking.Wait()
}

func TestTheLogIsFolded(t *testing.T) {
	w := sqliteWorld(t, t.TempDir())
	lines := func() int64 { return w.count(t, "row_log") }
	w.fillLog(t)
	if table, n := w.count(t, "state_rows"), lines(); table != 0 || n != 1 {
		t.Fatalf("%d rows and %d lines after one commit", table, n)
	}
	w.update(t, func(tx Tx) { tx.Delete(Key{"filler", "0"}) })
	if table, n := w.count(t, "state_rows"), lines(); table != foldRows || n != 1 {
		t.Errorf("%d rows and %d lines after the log was long", table, n)
	}
	w.update(t, func(tx Tx) { tx.Put(Row{Key: Key{"k", "large"}, Value: make([]byte, foldBytes)}) })
	w.update(t, func(tx Tx) { tx.Delete(Key{"filler", "1"}) })
	if table, n := w.count(t, "state_rows"), lines(); table != foldRows || n != 1 {
		t.Errorf("%d rows and %d lines after the log was heavy", table, n)
	}
	w.core.updates.engine.idle() // nobody writes
	if table, n := w.count(t, "state_rows"), lines(); table != foldRows-1 || n != 0 {
		t.Errorf("%d rows and %d lines after a rest", table, n)
	}
}

func TestLayersAreFew(t *testing.T) {
	l := newRowLog()
	for i := range foldRows {
		l.add(map[Key]*Row{{"k", fmt.Sprint(i)}: nil})
	}
	depth := 0
	for y := l.layers().top; y != nil; y = y.below {
		depth++
	}
	if all := l.layers().of("k", ""); len(all) != foldRows || depth > 12 {
		t.Errorf("%d rows in %d layers", len(all), depth)
	}
}

func TestADamagedLineIsLeftOut(t *testing.T) {
	w := sqliteWorld(t, t.TempDir())
	for i := range 3 {
		w.update(t, func(tx Tx) { tx.Put(Row{Key: Key{"k", fmt.Sprint(i)}}) })
	}
	w.core.alone(ctx, func(s session, _ *group) error {
		_, err := s.exec(ctx, "UPDATE row_log SET crc = crc + 1 WHERE n = 2")
		return err
	})
	w = w.reopen(t)
	if rows, err := w.Own(ctx, "k", "", 0); err != nil || len(rows) != 2 || rows[0].ID != "0" || rows[1].ID != "2" {
		t.Errorf("%v (%v)", rows, err)
	}
	if warned := strings.Join(w.Warnings(), "\n"); !strings.Contains(warned, "damaged") {
		t.Errorf("warned of %q", warned)
	}
}

// TestAFileOfTheFirstSchema: what an older bellbuoy wrote is all there.
func TestAFileOfTheFirstSchema(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, databaseFile)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := openConn(dsn(path, writerPragmas))
	if err != nil {
		t.Fatal(err)
	}
	script, err := migration("sqlite", 1)
	if err != nil {
		t.Fatal(err)
	}
	script += `CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (1);
		INSERT INTO state_rows VALUES ('k', x'6f6c64', x'31', 0, 0, 'local');
		INSERT INTO events VALUES (1, 'e', 'PUSH', 1, 'up', 'repo', 0, 1, x'', 0);
		INSERT INTO deliveries VALUES (1, 1, 'hook', 1, '', '', 0, 0, 3, 1, 1, 0, 'refused', 400, 1, 0), (2, 1, 'hook', 1, '', '', 0, 0, 2, 1, 1, 0, '', 200, 1, 0);
		INSERT INTO depths VALUES ('hook', 0, 1, 0);`
	if err := c.script(script); err != nil {
		t.Fatal(err)
	}
	c.close()
	w := sqliteWorld(t, dir)
	if got := w.value(t, Key{"k", "old"}); got != "1" {
		t.Errorf("the row is %s", got)
	}
	for _, state := range []State{Dead, Delivered} {
		found, err := w.Deliveries(ctx, DeliveryQuery{Webhook: "hook", States: []State{state}})
		if err != nil || len(found) != 1 {
			t.Errorf("%v: %v (%v)", state, found, err)
		}
	}
	if found, err := w.Deliveries(ctx, DeliveryQuery{States: []State{Dead, Delivered}}); err != nil || len(found) != 2 {
		t.Errorf("%v (%v)", found, err)
	}
}

func FuzzRowLine(f *testing.F) {
	f.Add(encodeRows(map[Key]*Row{{"k", "gone"}: nil, {"k", "there"}: {Value: []byte("v"), Due: time.Unix(1, 0), Seen: time.Unix(2, 0)}}))
	f.Add([]byte{1, 'k', 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, line []byte) {
		rows, err := decodeRows(line, checksum(line))
		if err != nil {
			return
		}
		again := encodeRows(rows)
		if back, err := decodeRows(again, checksum(again)); err != nil || !reflect.DeepEqual(back, rows) {
			t.Errorf("%v became %v (%v)", rows, back, err)
		}
	})
}
