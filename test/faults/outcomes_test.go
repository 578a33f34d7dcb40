package faults

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

// either accepts an event with and without inferred: the client's retry and bellbuoy's look-up
// race.
func either(want, got []string) []string {
	out := slices.Clone(want)
	for i, line := range out {
		if text, ok := strings.CutSuffix(line, " either"); ok {
			out[i] = text
			if i < len(got) && got[i] == text+" inferred" {
				out[i] = got[i]
			}
		}
	}
	return out
}

// A write without an answer has one event if the upstream executed it, and none otherwise.
func TestUnknownOutcomes(t *testing.T) {
	short(t)
	before := func(x *trial) *deed { // the state before, and its event
		d := x.push("v1", "old")
		x.try(d, 201)
		return d
	}
	const pushedOld = "PUSH_ARTIFACT v1 old"
	for _, c := range []struct {
		name string
		more string
		play func(*trial)
		want []string
	}{
		{"push: reset after the commit", "", func(x *trial) {
			x.up.next(lost)
			x.try(x.push("v1", "new"), 502)
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: reset before it", "", func(x *trial) {
			x.up.next(dropped)
			x.try(x.push("v1", "new"), 502)
		}, nil},
		{"push: reset before it, the tag has another digest", "", func(x *trial) {
			before(x)
			x.up.next(dropped)
			x.try(x.push("v1", "new"), 502)
		}, []string{pushedOld}},
		{"push: reset, the tag had the digest before", "", func(x *trial) {
			before(x)
			x.up.next(lost)
			x.try(x.push("v1", "old"), 502)
		}, []string{pushedOld}},
		{"push: 500 after the commit", "", func(x *trial) {
			x.up.next(failed)
			x.try(x.push("v1", "new"), 500)
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: 500 without it", "", func(x *trial) {
			x.up.next(refused)
			x.try(x.push("v1", "new"), 500)
		}, nil},
		{"push: done, and no answer within write_timeout", impatient, func(x *trial) {
			x.up.next(stuck)
			x.try(x.push("v1", "new"), 504)
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: not done, and no answer", impatient, func(x *trial) {
			x.up.next(deaf)
			x.try(x.push("v1", "new"), 504)
		}, nil},
		{"push: bellbuoy crashes after the commit", "", func(x *trial) {
			x.up.next(stuck)
			x.crash(x.push("v1", "new"))
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: bellbuoy crashes, and it was not done", "", func(x *trial) {
			x.up.next(deaf)
			x.crash(x.push("v1", "new"))
		}, nil},
		{"push: the upstream is down at that moment, and for long", "", func(x *trial) {
			x.up.next(stuck)
			d := x.push("v1", "new")
			d.tries++
			go x.wire.send(x.t.Context(), d, d.tries)
			x.until("the upstream has it", func() bool { return x.up.has(d.request(1)) })
			x.up.kill()
			x.until("an open intent", func() bool { v, _ := gauge(x.buoy, "bellbuoy_open_intents"); return v == 1 })
			time.Sleep(3 * time.Second)
			x.buoy.Kill9() // bellbuoy is down during the next write
			x.buoy.Start()
			x.until("it is open still", func() bool { v, _ := gauge(x.buoy, "bellbuoy_open_intents"); return v == 1 })
			x.up.Start()
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: the client retries", "", func(x *trial) {
			x.up.next(failed)
			d := x.push("v1", "new")
			x.try(d, 500)
			x.try(d, 201)
		}, []string{"PUSH_ARTIFACT v1 new either"}},
		{"push: the client retries after the look-up", "", func(x *trial) {
			x.up.next(lost)
			d := x.push("v1", "new")
			x.try(d, 502)
			x.settled()
			x.try(d, 201)
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: 500 without a commit, the client retries", "", func(x *trial) {
			x.up.next(refused)
			d := x.push("v1", "new")
			x.try(d, 500)
			x.try(d, 201)
		}, []string{"PUSH_ARTIFACT v1 new either"}},
		{"push: a crash, and the client finds the tag and stops", "", func(x *trial) {
			x.up.next(stuck)
			x.crash(x.push("v1", "new"))
			x.head("v1", 200)
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: a crash, and the client pushes again", "", func(x *trial) {
			x.up.next(stuck)
			d := x.push("v1", "new")
			x.crash(d)
			x.try(d, 201)
		}, []string{"PUSH_ARTIFACT v1 new either"}},
		{"push: an immutable tag answers the retry with 412", "", func(x *trial) {
			x.shelf.immutable = true
			x.up.next(stuck)
			d := x.push("v1", "new")
			x.crash(d)
			x.try(d, 412)
		}, []string{"PUSH_ARTIFACT v1 new inferred"}},
		{"push: an immutable tag, and another's push", "", func(x *trial) {
			before(x)
			x.shelf.immutable = true
			x.up.next(dropped)
			d := x.push("v1", "new")
			x.try(d, 502)
			x.try(d, 412)
		}, []string{pushedOld}},
		{"push: written again before the look-up", "", func(x *trial) {
			x.up.next(lost)
			x.try(x.push("v1", "new"), 502)
			x.try(x.push("v1", "newer"), 201)
		}, []string{"PUSH_ARTIFACT v1 new inferred", "PUSH_ARTIFACT v1 newer"}},
		{"push: another digest and back again is no retry", "", func(x *trial) {
			x.up.next(lost)
			x.try(x.push("v1", "new"), 502)
			x.settled()
			x.try(x.push("v1", "newer"), 201)
			x.try(x.push("v1", "new"), 201)
		}, []string{"PUSH_ARTIFACT v1 new inferred", "PUSH_ARTIFACT v1 newer", "PUSH_ARTIFACT v1 new"}},

		{"untag: reset after the commit", "", func(x *trial) {
			before(x)
			x.up.next(lost)
			x.try(x.untag("v1"), 502)
		}, []string{pushedOld, "DELETE_TAG v1 inferred"}},
		{"untag: not done", "", func(x *trial) {
			before(x)
			x.up.next(dropped)
			x.try(x.untag("v1"), 502)
		}, []string{pushedOld}},
		{"untag: a tag that did not exist", "", func(x *trial) {
			x.up.next(lost)
			x.try(x.untag("v1"), 502)
		}, nil},
		{"untag: a crash, and the second DELETE is answered 404", "", func(x *trial) {
			before(x)
			x.up.next(stuck)
			d := x.untag("v1")
			x.crash(d)
			x.try(d, 404)
		}, []string{pushedOld, "DELETE_TAG v1 inferred"}},
		{"untag: put anew and deleted again", "", func(x *trial) {
			before(x)
			x.up.next(lost)
			x.try(x.untag("v1"), 502)
			x.settled()
			x.try(x.push("v1", "new"), 201)
			x.try(x.untag("v1"), 202)
		}, []string{pushedOld, "DELETE_TAG v1 inferred", "PUSH_ARTIFACT v1 new", "DELETE_TAG v1"}},
		{"delete: 500 after the commit", "", func(x *trial) {
			d := before(x)
			x.up.next(failed)
			x.try(x.remove(d), 500)
		}, []string{pushedOld, "DELETE_ARTIFACT v1 inferred"}},
		{"delete: 500 without it", "", func(x *trial) {
			d := before(x)
			x.up.next(refused)
			x.try(x.remove(d), 500)
		}, []string{pushedOld}},
		{"delete: a crash after the commit", "", func(x *trial) {
			d := before(x)
			x.up.next(stuck)
			x.crash(x.remove(d))
		}, []string{pushedOld, "DELETE_ARTIFACT v1 inferred"}},
		{"delete: a crash, and the second DELETE is answered 404", "", func(x *trial) {
			d := before(x)
			x.up.next(stuck)
			again := x.remove(d)
			x.crash(again)
			x.try(again, 404)
		}, []string{pushedOld, "DELETE_ARTIFACT v1 inferred"}},
		{"delete: no answer", impatient, func(x *trial) {
			d := before(x)
			x.up.next(stuck)
			x.try(x.remove(d), 504)
		}, []string{pushedOld, "DELETE_ARTIFACT v1 inferred"}},
		{"delete: refused by the registry", "", func(x *trial) {
			x.try(x.remove(&deed{digest: digest.FromString("nothing").String()}), 404)
		}, nil},

		{"upload: reset after the commit", "", func(x *trial) {
			x.up.next(lost)
			x.try(x.upload("1.0.0"), 502)
		}, []string{"UPLOAD_CHART 1.0.0 inferred"}},
		{"upload: not done", "", func(x *trial) {
			x.up.next(dropped)
			x.try(x.upload("1.0.0"), 502)
		}, nil},
		{"upload: a crash, and the retry is answered 409", "", func(x *trial) {
			x.up.next(stuck)
			d := x.upload("1.0.0")
			x.crash(d)
			x.try(d, 409)
		}, []string{"UPLOAD_CHART 1.0.0 inferred"}},
		{"upload: 500 without a commit, and the retry works", "", func(x *trial) {
			x.up.next(refused)
			d := x.upload("1.0.0")
			x.try(d, 500)
			x.try(d, 201)
		}, []string{"UPLOAD_CHART 1.0.0 either"}},
		{"upload: there already, 409", "", func(x *trial) {
			x.try(x.upload("1.0.0"), 201)
			x.try(x.upload("1.0.0"), 409)
		}, []string{"UPLOAD_CHART 1.0.0"}},
		{"upload: there already, and the refusal is lost", "", func(x *trial) {
			x.try(x.upload("1.0.0"), 201)
			x.up.next(lost)
			x.try(x.upload("1.0.0"), 502)
		}, []string{"UPLOAD_CHART 1.0.0"}},
		{"unload: a crash after the commit", "", func(x *trial) {
			x.try(x.upload("1.0.0"), 201)
			x.up.next(stuck)
			x.crash(x.unload("1.0.0"))
		}, []string{"UPLOAD_CHART 1.0.0", "DELETE_CHART 1.0.0 inferred"}},
		{"unload: 500 after the commit, and the second DELETE is answered 404", "", func(x *trial) {
			x.try(x.upload("1.0.0"), 201)
			x.up.next(failed)
			d := x.unload("1.0.0")
			x.try(d, 500)
			x.try(d, 404)
		}, []string{"UPLOAD_CHART 1.0.0", "DELETE_CHART 1.0.0 inferred"}},
		{"unload: not done", "", func(x *trial) {
			x.try(x.upload("1.0.0"), 201)
			x.up.next(dropped)
			x.try(x.unload("1.0.0"), 502)
		}, []string{"UPLOAD_CHART 1.0.0"}},
		{"upload: was there before bellbuoy, and the refusal is lost", "", func(x *trial) {
			d := x.upload("1.0.0")
			x.shelf.charts["web/1.0.0"] = d.body
			x.up.next(lost)
			x.try(d, 502)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := newTrial(t, c.more)
			c.play(x)
			got := x.events(len(c.want))
			if diff := cmp.Diff(either(c.want, got), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
