package quota

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// ledger has rows and events in memory.
type ledger struct {
	t      *testing.T
	quotas *Quotas
	rows   map[detect.Key]detect.Row
	told   []detect.Event
	wrote  int // rows of the last commit
}

func newLedger(t *testing.T, rule Rule) *ledger {
	return &ledger{t: t, rows: map[detect.Key]detect.Row{}, quotas: New(func(project string) Rule {
		if strings.HasPrefix(project, "team") {
			return rule
		}
		return Rule{}
	})}
}

// Get implements detect.View.
func (l *ledger) Get(k detect.Key) (detect.Row, bool, error) {
	row, ok := l.rows[k]
	return row, ok, nil
}

// Scan implements detect.View.
func (l *ledger) Scan(kind detect.RowKind, prefix string, limit int) (found []detect.Row, err error) {
	for k, row := range l.rows {
		if k.Kind == kind && strings.HasPrefix(k.ID, prefix) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))], nil
}

func (l *ledger) commit(c detect.Changes) {
	l.t.Helper()
	more, err := l.quotas.Derive(&c, l)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, row := range more.Put {
		l.rows[row.Key] = row
	}
	for _, k := range more.Delete {
		delete(l.rows, k)
	}
	l.told = append(l.told, more.Events...)
	l.wrote = len(more.Put) + len(more.Delete)
}

// says returns the events since its last call.
func (l *ledger) says() string {
	var all []string
	for _, e := range l.told {
		q := e.Quota
		all = append(all, fmt.Sprintf("%s %s:%s level %d used %d added %d of %d", e.Type, e.Repository, strings.Join(e.Tags, ","), q.Level, q.Used, q.Added, q.Limit))
	}
	l.told = nil
	return strings.Join(all, "; ")
}

func (l *ledger) used(project string) int64 {
	l.t.Helper()
	all, err := Usages(l, 100)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, u := range all {
		if u.Project == project {
			return u.Used
		}
	}
	return -1
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// image returns a manifest of 10 bytes with blobs of the given sizes.
func image(repository, digest string, sizes ...int64) detect.ManifestChange {
	m := detect.ManifestChange{Upstream: "up", Repository: repository, Digest: digest, At: now, Read: true, Own: 10}
	for _, s := range sizes {
		m.Blobs, m.Sizes = append(m.Blobs, fmt.Sprintf("blob-%d", s)), append(m.Sizes, s)
	}
	return m
}

func push(m detect.ManifestChange, tag string) detect.Changes {
	return detect.Changes{Manifests: []detect.ManifestChange{m}, Events: []detect.Event{
		{ID: tag, Type: detect.PushArtifact, At: now, Upstream: "up", Repository: m.Repository, Digest: m.Digest, Tags: []string{tag}}}}
}

func remove(m detect.ManifestChange) detect.Changes {
	m.Gone, m.Shown = true, false
	return detect.Changes{Manifests: []detect.ManifestChange{m}, Events: []detect.Event{
		{ID: "x", Type: detect.DeleteArtifact, At: now, Upstream: "up", Repository: m.Repository, Digest: m.Digest}}}
}

func TestUsageCountsEachDigestOnce(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1 << 40})
	a := image("team/a", "one", 100, 200, 200)
	l.commit(push(a, "v1"))
	wants := func(what string, want int64) {
		t.Helper()
		if got := l.used("team"); got != want {
			t.Errorf("%s: %d used, want %d", what, got, want)
		}
	}
	wants("an image", 310)
	l.commit(push(a, "v2"))
	wants("a second tag", 310)
	if l.wrote != 0 {
		t.Errorf("a second tag wrote %d rows", l.wrote)
	}
	l.commit(push(image("team/b", "one", 100, 200, 200), "v1"))
	wants("the same image in another repository", 310)
	l.commit(push(image("team/b", "two", 100, 400), "v1"))
	wants("another one with a blob in common", 720)
	l.commit(push(image("other/b", "three", 100), "v1"))
	if got := l.used("other"); got != -1 {
		t.Errorf("a project without a quota uses %d", got)
	}
	l.commit(remove(image("team/b", "one")))
	wants("deleted from one of two repositories", 720)
	l.commit(remove(a))
	wants("deleted from both", 510)
	l.commit(remove(a))
	wants("deleted again", 510)
	l.commit(remove(image("team/b", "two")))
	wants("nothing is left", 0)
	for k := range l.rows {
		if k.Kind != rowGone && k.Kind != rowProject {
			t.Errorf("row %q is left", k)
		}
	}
}

func TestReadThatEndsAfterADelete(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1000})
	a := image("team/a", "one", 100)
	l.commit(push(a, "v1"))
	gone := a
	gone.At = now.Add(time.Second)
	l.commit(remove(gone))
	late := a
	late.Shown = true
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{late}})
	if got := l.used("team"); got != 0 {
		t.Errorf("a read from before the delete counts: %d", got)
	}
	late.At = now.Add(time.Minute)
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{late}})
	if got := l.used("team"); got != 110 {
		t.Errorf("a read from after the delete: %d used, want 110", got)
	}
}

func TestUnreadManifestsMakeUsageInexact(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1000})
	inexact := func(what string, used, want int64) {
		t.Helper()
		all, err := Usages(l, 10)
		if err != nil || len(all) != 1 || all[0].Inexact != want || all[0].Used != used {
			t.Errorf("%s: %+v, %v; want %d used, %d inexact", what, all, err, used, want)
		}
	}
	head := detect.ManifestChange{Upstream: "up", Repository: "team/a", Digest: "one", At: now, Shown: true}
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{head}})
	inexact("known by its digest", 0, 1)
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{image("team/a", "one", 100)}})
	inexact("read", 110, 0)
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{head}})
	inexact("seen again", 110, 0)
	many := image("team/a", "two", 300)
	many.More = true
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{many}})
	inexact("more layers than are read", 420, 1)
	old := image("team/a", "three", 500)
	old.Sizes = nil
	l.commit(detect.Changes{Manifests: []detect.ManifestChange{old}})
	inexact("a row without sizes", 430, 2)
	l.commit(remove(many))
	l.commit(remove(old))
	inexact("deleted", 110, 0)
}

func TestOneEventForEachCrossingOfALevel(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1000, WarnAt: []float64{90, 80}})
	steps := []struct {
		what string
		do   detect.Changes
		want string
	}{
		{"below", push(image("team/a", "a", 690), "v1"), ""},
		{"reaches one", push(image("team/a", "b", 90), "v2"), "QUOTA_WARNING team/a:v2 level 80 used 800 added 0 of 1000"},
		{"stays", push(image("team/a", "c", 1), "v3"), ""},
		{"falls a little", remove(image("team/a", "c")), ""},
		{"rises again", push(image("team/a", "d", 20), "v4"), ""},
		{"falls far", remove(image("team/a", "a")), ""},
		{"crosses all", push(image("team/b", "e", 990), "v5"), "QUOTA_WARNING team/b:v5 level 80 used 1130 added 0 of 1000; " +
			"QUOTA_WARNING team/b:v5 level 90 used 1130 added 0 of 1000; QUOTA_EXCEED team/b:v5 level 0 used 130 added 1000 of 1000"},
		{"is above", push(image("team/b", "f", 5), "v6"), ""},
		{"falls, and is above still", remove(image("team/a", "d")), ""},
		{"is above again", push(image("team/b", "g", 100), "v7"), ""},
		{"falls below all", remove(image("team/b", "e")), ""},
		{"a child without an event", detect.Changes{Manifests: []detect.ManifestChange{image("team/b", "h", 2000)}}, ""},
		{"its index", push(image("team/b", "i"), "v8"), "QUOTA_WARNING team/b:v8 level 80 used 2245 added 0 of 1000; " +
			"QUOTA_WARNING team/b:v8 level 90 used 2245 added 0 of 1000; QUOTA_EXCEED team/b:v8 level 0 used 225 added 2020 of 1000"},
	}
	for _, s := range steps {
		l.commit(s.do)
		if got := l.says(); got != s.want {
			t.Errorf("%s (usage %d): got %q, want %q", s.what, l.used("team"), got, s.want)
		}
	}
}

func TestPushWritesABoundedNumberOfRows(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1 << 50})
	var sizes []int64
	for i := range int64(2000) {
		sizes = append(sizes, i+1)
	}
	l.commit(push(image("team/a", "a", sizes...), "v1"))
	if l.wrote != 2000+3 {
		t.Errorf("a push wrote %d rows", l.wrote)
	}
	if got, want := l.used("team"), int64(2000*2001/2+10); got != want {
		t.Errorf("%d used, want %d", got, want)
	}
}

func TestScope(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1})
	if a, b := l.quotas.Scope("up/team/a"), l.quotas.Scope("up/team/b/c"); a == "" || a != b {
		t.Errorf("%q and %q", a, b)
	}
	if got := l.quotas.Scope("up/other/a"); got != "" {
		t.Errorf("a project without a quota has the scope %q", got)
	}
}

func TestCounted(t *testing.T) {
	l := newLedger(t, Rule{Limit: 1 << 50})
	want := map[string]bool{}
	for i := range 3 * page {
		digest := fmt.Sprintf("sha256:%064x", i*7919)
		want[digest] = true
		l.commit(detect.Changes{Manifests: []detect.ManifestChange{image("team/a", digest), image("team/a/b", "sha256:other")}})
	}
	err := Counted(l, "up", "team/a", func(digests []string) error {
		for _, d := range digests {
			if !want[d] {
				t.Fatalf("%s: twice, or another repository's", d)
			}
			delete(want, d)
		}
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%d are missing: %v", len(want), err)
	}
}
