package scan

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The kinds of row. The name of the scanner is appended to those of jobs and rescans, so that the
// jobs of one scanner never delay those of another.
const (
	kindJob   = "scan.job:"   // upstream, repository, digest: a scan that waits or goes on
	kindAgain = "scan.again:" // upstream, repository, digest: what is to be scanned again
	// upstream, repository, digest: a scan whose scanner pulls without a login, for the other
	// replicas
	kindOwn   = "scan.own:"
	kindSweep = "scan.sweep:" // of one row: how far the tag index was searched for what is to be
	// scanner, upstream, repository, tag or digest, platform: what the last scan found
	rowLast detect.RowKind = "scan.last"
)

// BoundedKinds returns the kinds of row whose least recently seen rows may be dropped. The rows of
// all other kinds end by themselves.
func BoundedKinds() []detect.RowKind { return []detect.RowKind{rowLast} }

const separator = "\x1f"

func id(parts ...string) string { return strings.Join(parts, separator) }

// jobRow is a scan of one image, or of all images of an index.
type jobRow struct {
	Scanner    string          `json:"scanner"`
	Run        string          `json:"run"`    // the same for every image of an index
	Report     string          `json:"report"` // id of this scan in events
	Upstream   string          `json:"up"`
	Repository string          `json:"repo"`
	External   detect.External `json:"ext"`
	Visibility string          `json:"vis,omitempty"`
	FirstSeen  time.Time       `json:"first,omitzero"`
	Operator   string          `json:"op,omitempty"`
	RequestID  string          `json:"req,omitempty"` // of the push; "": there was none

	Digest   string           `json:"d"`
	Tags     []string         `json:"tags,omitempty"`
	Artifact *detect.Artifact `json:"a,omitempty"`    // Kind "": not read yet
	Own      int64            `json:"own,omitempty"`  // bytes of the manifest
	Of       []string         `json:"of,omitempty"`   // tags of the index that it belongs to
	Index    string           `json:"idx,omitempty"`  // digest of that index
	Nested   int              `json:"nest,omitempty"` // how many indexes deep

	Created time.Time `json:"at"`
	Asked   time.Time `json:"asked,omitzero"` // when the scanner took it for the first time
	Sent    time.Time `json:"sent,omitzero"`  // … and for the last time
	Scans   []string  `json:"scans,omitempty"`
	Trouble string    `json:"why,omitempty"`   // why it waits
	Shown   bool      `json:"shown,omitempty"` // there is an ownKey row

	Holder string    `json:"by,omitempty"`
	Until  time.Time `json:"until,omitzero"` // end of the holder's lease
	Epoch  int64     `json:"epoch,omitempty"`
}

func (j *jobRow) key() detect.Key {
	return detect.Key{Kind: detect.RowKind(kindJob + j.Scanner), ID: id(j.Upstream, j.Repository, j.Digest)}
}

func (j *jobRow) ownKey() detect.Key {
	return detect.Key{Kind: detect.RowKind(kindOwn + j.Scanner), ID: id(j.Upstream, j.Repository, j.Digest)}
}

// scope returns the scope of the job's commits: that of pushes to its repository.
func (j *jobRow) scope() string { return j.Upstream + "/" + j.Repository }

// row returns the row of the job. It is due when the job may be taken: now, or at the end of its
// lease.
func (j *jobRow) row(due time.Time) (detect.Row, error) { return encode(j.key(), j, due) }

func encode(k detect.Key, value any, due time.Time) (detect.Row, error) {
	b, err := json.Marshal(value)
	return detect.Row{Key: k, Value: b, Due: due}, err
}

func decode[T any](row detect.Row) (*T, bool) {
	var value T
	return &value, json.Unmarshal(row.Value, &value) == nil
}

// read returns what a row holds, or nil if there is none. A row that cannot be decoded counts as
// none.
func read[T any](v detect.View, k detect.Key) (*T, error) {
	row, ok, err := v.Get(k)
	if err != nil || !ok {
		return nil, err
	}
	if value, ok := decode[T](row); ok {
		return value, nil
	}
	return nil, nil
}

// errTaken means that another replica holds the job now, or that the job has ended.
var errTaken = errors.New("the job is another's")

// free reports whether the job may be taken.
func (r *Runner) free(j *jobRow, now time.Time) bool {
	return j.Holder == "" || !now.Before(j.Until) || j.Holder == r.o.Replica || r.o.Alone
}

// add makes a job, or adds the tags to the one that there is. It returns the row to be stored, or
// none if nothing changes.
func add(v detect.View, j *jobRow) (rows []detect.Row, run string, err error) {
	was, ok, err := v.Get(j.key())
	if err != nil {
		return nil, "", err
	}
	if there, sound := decode[jobRow](was); ok && sound {
		if !there.addTags(j.Tags) {
			return nil, there.Run, nil
		}
		row, err := there.row(was.Due)
		return []detect.Row{row}, there.Run, err
	}
	row, err := j.row(j.Created)
	return []detect.Row{row}, j.Run, err
}

func (j *jobRow) addTags(tags []string) (changed bool) {
	for _, t := range tags {
		if len(j.Tags) < maxTags && !slices.Contains(j.Tags, t) {
			j.Tags, changed = append(j.Tags, t), true
		}
	}
	return changed
}

// Scope returns "": the scope of the push is enough for its jobs.
func (r *Runner) Scope(string) string { return "" }

// Derive makes the jobs of pushes that a scanner matches, in the transaction of the pushes.
func (r *Runner) Derive(pushed *detect.Changes, v detect.View) (c detect.Changes, err error) {
	config := r.config.Load()
	var jobs []*jobRow
	for i := range config.Scanners {
		for j := range pushed.Events {
			jobs = config.Scanners[i].jobs(jobs, &pushed.Events[j])
		}
	}
	for _, j := range jobs {
		rows, _, err := add(v, j)
		if err != nil {
			return detect.Changes{}, err
		}
		c.Put = append(c.Put, rows...)
	}
	return c, nil
}

// jobs adds the job of an event, or its tags to the job of the same digest.
func (s *Scanner) jobs(all []*jobRow, e *detect.Event) []*jobRow {
	if e.Type != detect.PushArtifact || e.Digest == "" || s.silent(e) != "" {
		return all
	}
	j := jobOf(s, e)
	for _, other := range all {
		if other.key() == j.key() {
			other.addTags(j.Tags)
			return all
		}
	}
	return append(all, j)
}

// PushVerdict says whether a push starts a scan.
type PushVerdict struct {
	Scanner string
	Because string // key of the scanner that prevents it, or NotScannable, Mirrored; "": it starts one
}

// Reasons of a [PushVerdict] that are no keys.
const (
	NotScannable = "kind"
	Mirrored     = "mirrored"
)

// Explain returns whether a push starts a scan by each scanner, and why not. An artifact of unknown
// kind may be an image.
func (c *Config) Explain(push *detect.Event) (all []PushVerdict) {
	for i := range c.Scanners {
		all = append(all, PushVerdict{c.Scanners[i].Name, c.Scanners[i].silent(push)})
	}
	return all
}

// silent returns why a push starts no scan, or "".
func (s *Scanner) silent(push *detect.Event) string {
	switch {
	case !s.OnPush:
		return "trigger"
	case !s.Matches(push.Repository):
		return "match.repositories"
	case push.Hint != "":
		return Mirrored
	case !scannable(push.Artifact):
		return NotScannable
	}
	return ""
}

// scannable reports whether an artifact is an image or an index, or may be one.
func scannable(a *detect.Artifact) bool {
	return a == nil || a.Kind == "" || a.Kind == detect.Image || a.Kind == detect.Index
}

func jobOf(s *Scanner, e *detect.Event) *jobRow {
	j := &jobRow{
		Scanner: s.Name, Run: e.ID, Report: uuid.NewString(), Upstream: e.Upstream, Repository: e.Repository,
		External: e.External, Visibility: e.Visibility, FirstSeen: e.FirstSeen, Operator: e.Client.Operator, RequestID: e.RequestID,
		Digest: e.Digest, Created: e.At,
	}
	j.addTags(e.Tags)
	if e.Artifact != nil {
		a := *e.Artifact
		a.Annotations = nil
		j.Artifact = &a
	}
	return j
}

// children returns the jobs of the images of an index. Attestations, and manifests that are no
// images, have none.
func (j *jobRow) children(now time.Time) []*jobRow {
	var all []*jobRow
	for i := range j.Artifact.Children {
		c := &j.Artifact.Children[i]
		kind := kindOfChild(c)
		if kind == detect.OtherKind {
			continue
		}
		a := &detect.Artifact{Kind: kind, MediaType: c.MediaType}
		if kind == detect.Index {
			a = nil // to be read
		} else if c.Platform != "" {
			a.Platforms = []string{c.Platform}
		}
		child := *j
		child.Report, child.Digest, child.Tags, child.Artifact, child.Own = uuid.NewString(), c.Digest, nil, a, c.Size
		child.Index, child.Of, child.Nested, child.Created = j.Digest, j.ofTags(), j.Nested+1, now
		child.Trouble, child.Shown, child.Holder, child.Until, child.Epoch = "", false, "", time.Time{}, 0
		all = append(all, &child)
	}
	return all
}

// ofTags returns the tags by which users find the image of the job.
func (j *jobRow) ofTags() []string {
	if len(j.Tags) > 0 {
		return j.Tags
	}
	return j.Of
}

// kindOfChild returns image, index, or other.
func kindOfChild(c *detect.Child) detect.ArtifactKind {
	switch {
	case c.ArtifactType != "" || strings.HasPrefix(c.Platform, "unknown/"):
		return detect.OtherKind
	case c.MediaType == "application/vnd.oci.image.manifest.v1+json",
		c.MediaType == "application/vnd.docker.distribution.manifest.v2+json":
		return detect.Image
	case c.MediaType == "application/vnd.oci.image.index.v1+json",
		c.MediaType == "application/vnd.docker.distribution.manifest.list.v2+json":
		return detect.Index
	}
	return detect.OtherKind
}
