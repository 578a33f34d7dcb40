package faults

import (
	"slices"
	"testing"
	"time"
)

// truth records what the upstreams did, by deed.
type truth struct {
	times     map[string]int  // deed → how often the upstream did it
	uncertain map[string]bool // deeds of which a try may have been done: the server was killed during it
}

func truthOf(gateways ...*gateway) truth {
	all := truth{times: map[string]int{}, uncertain: map[string]bool{}}
	for _, g := range gateways {
		counts, uncertain := g.done()
		for request, n := range counts {
			all.times[arrival{request: request}.deedOf()] += n
		}
		for request := range uncertain {
			all.uncertain[arrival{request: request}.deedOf()] = true
		}
	}
	return all
}

// check compares the events that a webhook got with what was done, and adds to the figures.
func check(t *testing.T, name string, all []*deed, arrived []arrival, done truth, sum *figures) {
	t.Helper()
	byID, told := map[string]*deed{}, map[string]int{}
	for _, d := range all {
		byID[d.id] = d
	}
	var f figures
	for _, a := range arrived {
		d := byID[a.deedOf()]
		if d == nil {
			t.Errorf("%s: an event without a deed: %+v", name, a)
			continue
		}
		if err := a.tells(d); err != nil {
			t.Errorf("%s: the event %v is of the deed %v, but %v", name, a, d, err)
		}
		if done.times[d.id] == 0 && !done.uncertain[d.id] {
			t.Errorf("%s: the upstream did not do this: %+v of %v", name, a, d)
		}
		told[d.id]++
		f.posts += a.count
		f.duplicates += a.count - 1
		if a.inferred {
			f.inferred++
		}
	}
	f.events = len(arrived)
	for _, d := range all {
		checkDeed(t, name, d, told[d.id], done, &f)
	}
	sum.posts, sum.duplicates = sum.posts+f.posts, sum.duplicates+f.duplicates
	f.posts, f.duplicates = sum.posts, sum.duplicates
	f.inOrder = sum.inOrder
	*sum = f
}

func checkDeed(t *testing.T, name string, d *deed, told int, done truth, f *figures) {
	t.Helper()
	times := done.times[d.id]
	f.deeds++
	if d.acked {
		f.acked++
	}
	if times > 0 {
		f.done++
		f.repeated += max(told-1, 0)
	}
	if times > 0 && !d.acked {
		f.unknown++
	}
	switch {
	case d.acked && times == 0:
		t.Errorf("the upstream did not do a deed that was acknowledged: %v", d)
	case told > max(times, 1) && !done.uncertain[d.id]:
		t.Errorf("%s: got %d events of a deed that was done %d times: %v", name, told, times, d)
	case told > 0 || times == 0:
	case !d.acked && d.written:
		f.exempt++
	default:
		t.Errorf("%s: no event of %v, done %d times", name, d, times)
	}
}

// checkRecorded checks the order of events: if a client got the answer to one deed before it began
// the next one at the same place, the first is recorded first. sequence has the position of each
// event in bellbuoy's order, by its id. A deed that was acknowledged while the store failed (around
// outages) is recorded when the store works again; with several replicas that may be after the next
// one.
func checkRecorded(t *testing.T, all []*deed, arrived []arrival, sequence map[string]int64, outages []time.Time) (pairs int) {
	t.Helper()
	first := map[string]int64{}
	for _, a := range arrived {
		seq, ok := sequence[a.id]
		if !ok {
			t.Errorf("an event that bellbuoy does not list: %+v", a)
		}
		if !a.inferred {
			first[a.deedOf()] = seq
		}
	}
	latest := map[string]*deed{}
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b *deed) int { return a.began.Compare(b.began) })
	for _, d := range sorted {
		seq, ok := first[d.id]
		if !ok || !d.acked || d.tries > 1 {
			continue
		}
		if before := latest[d.place()]; before != nil && before.ended.Before(d.began) && !near(before.ended, outages) {
			pairs++
			if first[before.id] > seq {
				t.Errorf("recorded out of order: %v is event %d, %v is event %d", before, first[before.id], d, seq)
			}
		}
		latest[d.place()] = d
	}
	return pairs
}

// checkOrder checks that the events of a key arrive in the order in which they were recorded.
func checkOrder(t *testing.T, name string, all []*deed, arrived []arrival, sequence map[string]int64, key func(*deed) string) (pairs int) {
	t.Helper()
	byID, latest := map[string]*deed{}, map[string]arrival{}
	for _, d := range all {
		byID[d.id] = d
	}
	for _, a := range arrived {
		d := byID[a.deedOf()]
		if d == nil || d.do == remove && name != "strict" {
			continue // it has no tag
		}
		if before, ok := latest[key(d)]; ok {
			pairs++
			if sequence[before.id] > sequence[a.id] {
				t.Errorf("%s: out of order: event %d, %v, came at %s, after event %d, %v, at %s", name, sequence[a.id], d, a.at.Format(time.StampMilli),
					sequence[before.id], byID[before.deedOf()], before.at.Format(time.StampMilli))
			}
		}
		latest[key(d)] = a
	}
	return pairs
}

func near(at time.Time, outages []time.Time) bool {
	return slices.ContainsFunc(outages, func(o time.Time) bool { return at.After(o.Add(-3*time.Second)) && at.Before(o.Add(10*time.Second)) })
}
