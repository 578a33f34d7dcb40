package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// writeUntilKilled is what the process does that TestKillLosesNothing kills: eight producers, each acknowledgement a line.
func writeUntilKilled() {
	var s Store
	var err error
	name, where, _ := strings.Cut(os.Getenv("STORE_TEST_WRITER"), "|")
	if strings.HasPrefix(where, "postgres:") {
		s, err = OpenPostgres(ctx, PostgresOptions{URL: where, Replica: "killed"})
	} else {
		s, err = OpenSQLite(ctx, SQLiteOptions{Dir: where})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	acks := make(chan string)
	for p := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s-%d-%d", name, p, i)
				err := s.Update(ctx, []string{fmt.Sprint(p)}, func(tx Tx) error {
					tx.Append(Event{ID: id, Type: "PUSH", At: time.Now(), Data: []byte(id)}, Delivery{Webhook: "hook"})
					tx.Append(Event{ID: "pull-" + id, Type: "PULL", At: time.Now(), Transient: true})
					tx.Put(Row{Key: Key{"last", fmt.Sprint(p)}, Value: []byte(id)})
					return nil
				})
				if err != nil {
					acks <- "error: " + err.Error()
					return
				}
				acks <- id
			}
		}()
	}
	for id := range acks {
		os.Stdout.WriteString(id + "\n")
	}
}

func TestKillLosesNothing(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		killed(t, dir, func() *world { return sqliteWorld(t, dir) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := database(t)
		killed(t, url, func() *world { return postgresWorld(t, url, "after") })
	})
}

func killed(t *testing.T, where string, open func() *world) {
	acked := map[string]bool{}
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("STORE_TEST_WRITER=%d|%s", round, where))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error") {
				t.Error(lines.Text())
			}
			acked[lines.Text()] = true
			if n == 100+round*37 {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
	}
	w := open()
	have := map[string]bool{}
	for after := int64(0); ; {
		evs, err := w.Events(ctx, EventQuery{After: after, Ascending: true, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if len(evs) == 0 {
			break
		}
		for _, e := range evs {
			if e.Corrupt || have[e.ID] {
				t.Errorf("%+v", e)
			}
			have[e.ID] = true
		}
		after = evs[len(evs)-1].Seq
	}
	for id := range acked {
		if !have[id] || !have["pull-"+id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	if d := w.depth(t, "hook"); d.Pending != int64(len(have)/2) || len(acked) < 400 {
		t.Errorf("%d pending of %d events, %d acknowledged", d.Pending, len(have)/2, len(acked))
	}
	if w.isFile && len(w.Warnings()) > 0 {
		t.Error(w.Warnings())
	}
}
