package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const module = "github.com/bellbuoy/bellbuoy/"

func TestTally(t *testing.T) {
	for _, tc := range []struct {
		name    string
		events  []string
		summary string
		prints  []string // in this order
		hides   []string
	}{
		{
			name: "passes are one line",
			events: []string{
				`{"Action":"run","Package":"` + module + `detect","Test":"TestA"}`,
				`{"Action":"output","Package":"` + module + `detect","Test":"TestA","Output":"chatter\n"}`,
				`{"Action":"pass","Package":"` + module + `detect","Test":"TestA"}`,
				`{"Action":"pass","Package":"` + module + `detect","Test":"TestB"}`,
				`{"Action":"output","Package":"` + module + `detect","Output":"PASS\n"}`,
				`{"Action":"pass","Package":"` + module + `detect","Elapsed":1.25}`,
			},
			summary: "2 passed, 0 failed, 0 skipped",
			prints:  []string{"ok    detect 1.2s (2 passed)\n"},
			hides:   []string{"chatter", "PASS"},
		},
		{
			name: "failures in full",
			events: []string{
				`{"Action":"output","Package":"` + module + `detect","Test":"TestA/x","Output":"    a_test.go:3: want 1\n"}`,
				`{"Action":"fail","Package":"` + module + `detect","Test":"TestA/x"}`,
				`{"Action":"output","Package":"` + module + `detect","Test":"TestA","Output":"--- FAIL: TestA\n"}`,
				`{"Action":"fail","Package":"` + module + `detect","Test":"TestA"}`,
				`{"Action":"pass","Package":"` + module + `detect","Test":"TestB"}`,
				`{"Action":"fail","Package":"` + module + `detect","Elapsed":2}`,
			},
			summary: "1 passed, 2 failed, 0 skipped",
			prints:  []string{"want 1", "--- FAIL: TestA", "FAIL  detect 2.0s (1 passed, 2 failed)\n"},
		},
		{
			name: "skips say why",
			events: []string{
				`{"Action":"output","Package":"` + module + `test/events","Test":"TestD","Output":"=== RUN   TestD\n"}`,
				`{"Action":"output","Package":"` + module + `test/events","Test":"TestD","Output":"    d_test.go:9: no dockerd here\n"}`,
				`{"Action":"skip","Package":"` + module + `test/events","Test":"TestD"}`,
				`{"Action":"output","Package":"` + module + `test/events","Test":"TestE","Output":"    e_test.go:3: no dockerd here\n"}`,
				`{"Action":"skip","Package":"` + module + `test/events","Test":"TestE"}`,
				`{"Action":"skip","Package":"` + module + `test/events"}`,
			},
			summary: "0 passed, 0 failed, 2 skipped",
			prints:  []string{"skip  test/events TestD, TestE: no dockerd here\n", "ok    test/events 0.0s (0 passed, 2 skipped)\n"},
		},
		{
			name: "a package that does not build is a failure",
			events: []string{
				`{"ImportPath":"` + module + `proxy","Action":"build-output","Output":"x.go:1: undefined: y\n"}`,
				`{"ImportPath":"` + module + `proxy","Action":"build-fail"}`,
				`{"Action":"output","Package":"` + module + `proxy","Output":"FAIL\tproxy [build failed]\n"}`,
				`{"Action":"fail","Package":"` + module + `proxy","FailedBuild":"proxy"}`,
			},
			summary: "0 passed, 1 failed, 0 skipped",
			prints:  []string{"undefined: y", "[build failed]", "FAIL  proxy"},
		},
		{
			name: "a crash shows what the unfinished test said",
			events: []string{
				`{"Action":"run","Package":"` + module + `proxy","Test":"TestC"}`,
				`{"Action":"output","Package":"` + module + `proxy","Test":"TestC","Output":"last words\n"}`,
				`{"Action":"output","Package":"` + module + `proxy","Output":"signal: killed\n"}`,
				`{"Action":"fail","Package":"` + module + `proxy"}`,
			},
			summary: "0 passed, 1 failed, 0 skipped",
			prints:  []string{"signal: killed", "last words"},
		},
		{
			name:    "a package without tests is silent",
			events:  []string{`{"Action":"skip","Package":"` + module + `cmd/x"}`},
			summary: "0 passed, 0 failed, 0 skipped",
			hides:   []string{"cmd/x"},
		},
		{
			name:    "what is no JSON is shown",
			events:  []string{"go: no such tool"},
			summary: "0 passed, 0 failed, 0 skipped",
			prints:  []string{"go: no such tool"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tl := newTally(&out)
			if err := readLines(strings.NewReader(strings.Join(tc.events, "\n")), tl.line); err != nil {
				t.Fatal(err)
			}
			if got := tl.summary(); got != tc.summary {
				t.Errorf("summary %q, want %q", got, tc.summary)
			}
			rest := out.String()
			for _, want := range tc.prints {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Errorf("%q is missing, or out of order, in:\n%s", want, out.String())
				}
				rest = after
			}
			for _, hidden := range tc.hides {
				if strings.Contains(out.String(), hidden) {
					t.Errorf("%q should not be printed:\n%s", hidden, out.String())
				}
			}
		})
	}
}

func TestGroups(t *testing.T) {
	got := groups([]string{"-race", "./a", "--", "./b", "./c"})
	want := [][]string{{"-race", "./a"}, {"./b", "./c"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeartbeatNamesTheTestThatRunsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		tl := newTally(&out)
		stop := tl.heartbeat()
		tl.line([]byte(`{"Action":"run","Package":"` + module + `test/events","Test":"TestSlow"}`))
		time.Sleep(35 * time.Second) // virtual
		stop()
		synctest.Wait()
		if want := "…     test/events TestSlow (30 s)\n"; !strings.HasPrefix(out.String(), want) {
			t.Errorf("printed %q, want %q", out.String(), want)
		}
	})
}
