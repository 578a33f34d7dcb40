package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/postgres"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// writeUntilKilled is what the process does that TestKillLosesNothing kills: eight producers, each
// acknowledgement a line.
func writeUntilKilled() {
	var s interface {
		Update(context.Context, []string, func(store.Tx) error) error
	}
	var err error
	name, where, _ := strings.Cut(os.Getenv("STORE_TEST_WRITER"), "|")
	if strings.HasPrefix(where, "postgres:") {
		s, err = postgres.Open(ctx, postgres.Options{URL: where, Replica: "killed"})
	} else {
		s, err = sqlite.Open(ctx, sqlite.Options{Dir: where})
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
				err := s.Update(ctx, []string{fmt.Sprint(p)}, func(tx store.Tx) error {
					tx.Append(store.Event{ID: id, Type: "PUSH", At: time.Now(), Data: []byte(id)}, store.Delivery{Webhook: "hook"})
					tx.Append(store.Event{ID: "pull-" + id, Type: "PULL", At: time.Now(), Transient: true})
					tx.Put(store.Row{Key: store.Key{Kind: "last", ID: fmt.Sprint(p)}, Value: []byte(id)})
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
		killed(t, dir, func() *storetest.World { return sqliteWorld(t, dir) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := storetest.Database(t)
		killed(t, url, func() *storetest.World { return postgresWorld(t, url, "after") })
	})
}

func killed(t *testing.T, where string, open func() *storetest.World) {
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
		evs, err := w.Events(ctx, store.EventQuery{After: after, Ascending: true, Limit: 1000})
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
	if d := w.Depth(t, "hook"); d.Pending != int64(len(have)/2) || len(acked) < 400 {
		t.Errorf("%d pending of %d events, %d acknowledged", d.Pending, len(have)/2, len(acked))
	}
	if w.IsFile && len(w.Warnings()) > 0 {
		t.Error(w.Warnings())
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("STORE_TEST_WRITER") != "" {
		writeUntilKilled()
	}
	code := m.Run()
	storetest.StopPostgres()
	os.Exit(code)
}
