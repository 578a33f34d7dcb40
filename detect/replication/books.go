package replication

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// books are the changes that one commit makes to runs. Reads include these changes.
type books struct {
	view detect.View
	detect.Changes
}

func newBooks(v detect.View) *books { return &books{view: v} }

func (b *books) get(k detect.Key, value any) (bool, error) {
	for i := range b.Put {
		if b.Put[i].Key == k {
			return true, json.Unmarshal(b.Put[i].Value, value)
		}
	}
	for _, gone := range b.Delete {
		if gone == k {
			return false, nil
		}
	}
	row, ok, err := b.view.Get(k)
	if err != nil || !ok {
		return false, err
	}
	if err := json.Unmarshal(row.Value, value); err != nil {
		return false, fmt.Errorf("reading a row of kind %s: %w", k.Kind, err)
	}
	return true, nil
}

func (b *books) put(r detect.Row) {
	for i := range b.Put {
		if b.Put[i].Key == r.Key {
			b.Put[i] = r
			return
		}
	}
	b.Put = append(b.Put, r)
}

// run returns the run of a key. If there is none, it begins one.
func (b *books) run(k runKey, rule *Rule, at time.Time) (*runRow, error) {
	r := new(runRow)
	ok, err := b.get(k.row(), r)
	if err != nil || ok {
		return r, err
	}
	numberKey := detect.Key{Kind: rowNumber, ID: k.upstream + separator + k.project}
	var number int64
	if _, err := b.get(numberKey, &number); err != nil {
		return nil, err
	}
	number++
	b.put(row(numberKey, number))
	return &runRow{Event: detect.NewID(), Number: number, Started: at, Quiet: rule.Quiet}, nil
}

// save stores a run to which something was added. It is over when its quiet time has passed.
func (b *books) save(k runKey, r *runRow) {
	saved := row(k.row(), r)
	saved.Due = time.Now().Add(r.Quiet)
	b.put(saved)
}

// moved adds the artifact of an event to the run of its rule.
func (b *books) moved(rule *Rule, direction string, e *detect.Event) error {
	k := runKey{rule.Name, e.Upstream, detect.Project(e.Repository), direction}
	r, err := b.run(k, rule, e.At)
	if err != nil {
		return err
	}
	r.Client, r.External, r.Visibility, r.Last = e.Client, e.External, e.Visibility, e.At
	references := e.Tags
	if len(references) == 0 {
		references = []string{e.Digest}
	}
	anyNew := false
	for _, reference := range references {
		added, err := b.artifact(k, r, e.Repository, reference, artifactRow{})
		if err != nil {
			return err
		}
		anyNew = anyNew || added
	}
	if anyNew && e.Artifact != nil && r.Bytes+e.Artifact.Size > r.Bytes {
		r.Bytes += e.Artifact.Size
	}
	if err := b.forgive(k, r, e.Repository); err != nil {
		return err
	}
	b.save(k, r)
	return nil
}

// failed adds a failure. One without a reference was refused before the manifest came.
func (b *books) failed(rule *Rule, direction string, f *failure) error {
	k := runKey{rule.Name, f.upstream, detect.Project(f.repository), direction}
	// a read of what is not there may only be a check: it is added to a run, and begins none
	if direction == pulls {
		if ok, err := b.get(k.row(), new(runRow)); err != nil || !ok {
			return err
		}
	}
	r, err := b.run(k, rule, f.at)
	if err != nil {
		return err
	}
	r.Client, r.External, r.Visibility, r.Last = f.client, f.external, f.visibility, f.at
	if _, err := b.artifact(k, r, f.repository, f.reference, artifactRow{Reason: f.reason}); err != nil {
		return err
	}
	b.save(k, r)
	return nil
}

// artifact adds a reference, or replaces its row. It reports whether the reference is new, or has
// failed before and is there now.
func (b *books) artifact(k runKey, r *runRow, repository, reference string, a artifactRow) (added bool, err error) {
	key := k.artifact(repository, reference)
	var known artifactRow
	ok, err := b.get(key, &known)
	switch {
	case err != nil:
		return false, err
	case !ok && r.Artifacts >= maxArtifacts:
		r.More++
		return false, nil
	case !ok:
		r.Artifacts++
	}
	b.put(row(key, a))
	return !ok || known.Reason != "" && a.Reason == "", nil
}

// forgive removes the failure of a repository without a reference, once a manifest of it is there:
// the replicator has tried again.
func (b *books) forgive(k runKey, r *runRow, repository string) error {
	key := k.artifact(repository, "")
	ok, err := b.get(key, new(artifactRow))
	if ok {
		r.Artifacts--
		b.Delete = append(b.Delete, key)
	}
	return err
}

// end adds the event of a run that is over, and deletes the rows of the run.
func (b *books) end(k runKey, now time.Time) error {
	stored, ok, err := b.view.Get(k.row())
	if err != nil || !ok || stored.Due.After(now) {
		return err // something was added meanwhile, or another replica has ended it
	}
	var r runRow
	if err := json.Unmarshal(stored.Value, &r); err != nil {
		return fmt.Errorf("reading a run: %w", err)
	}
	rows, err := b.view.Scan(rowArtifact, k.artifacts(), maxArtifacts+1)
	if err != nil {
		return err
	}
	b.Delete = append(b.Delete, k.row())
	for _, a := range rows {
		b.Delete = append(b.Delete, a.Key)
	}
	b.Events = append(b.Events, r.event(k, rows, now))
	return nil
}
