package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Errors of Start.
var (
	ErrNoScanner    = errors.New("no scanner is configured for this repository")
	ErrNoUpstream   = errors.New("there is no such registry")
	ErrAbsent       = errors.New("the registry has no such artifact")
	ErrNotScannable = errors.New("only images and indexes of images can be scanned")
)

// Started is a scan that somebody asked for.
type Started struct {
	Upstream, Repository, Digest string

	Runs map[string]string // by scanner; an event's Scan.Run
}

// Start makes a job for each scanner that matches a repository, for a tag or digest of it. If there
// is a job for that digest already, it returns that one.
func (r *Runner) Start(ctx context.Context, upstream, repository, reference string) (*Started, error) {
	config := r.config.Load()
	up, ok := config.Upstreams[upstream]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoUpstream, upstream)
	}
	scanners := slices.DeleteFunc(slices.Clone(config.Scanners), func(s Scanner) bool { return !s.Matches(repository) })
	if len(scanners) == 0 {
		return nil, ErrNoScanner
	}
	found, err := r.read(ctx, upstream, repository, reference)
	switch {
	case err != nil:
		return nil, err
	case found.Absent || found.Digest == "":
		return nil, ErrAbsent
	}
	artifact := artifactOf(found)
	if !scannable(artifact) {
		return nil, fmt.Errorf("%w, and this is %s", ErrNotScannable, artifact.Kind)
	}
	template := &jobRow{
		Upstream: upstream, Repository: repository, External: up.External, Digest: found.Digest, Artifact: artifact, Own: int64(len(found.Manifest)),
	}
	if config.Visibility != nil {
		template.Visibility = config.Visibility(repository)
	}
	started := &Started{Upstream: upstream, Repository: repository, Digest: found.Digest}
	started.Runs, err = r.addAll(ctx, scanners, template, reference)
	return started, err
}

func (r *Runner) addAll(ctx context.Context, scanners []Scanner, template *jobRow, reference string) (map[string]string, error) {
	var jobs []*jobRow
	for i := range scanners {
		j := template.afresh(time.Now())
		j.Scanner = scanners[i].Name
		if reference != template.Digest {
			j.Tags = []string{reference}
		}
		jobs = append(jobs, j)
	}
	runs := make([]string, len(jobs))
	err := r.o.Ledger.Commit(ctx, template.scope(), func(v detect.View) (c detect.Changes, err error) {
		for i, j := range jobs {
			rows, run, err := add(v, j)
			if err != nil {
				return c, err
			}
			c.Put, runs[i] = append(c.Put, rows...), run
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	byScanner := map[string]string{}
	for i, j := range jobs {
		byScanner[j.Scanner] = runs[i]
	}
	return byScanner, nil
}

// Job is a scan that has not ended.
type Job struct {
	Scanner    string    `json:"scanner"`
	Upstream   string    `json:"upstream"`
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"`
	Platform   string    `json:"platform,omitempty"`
	State      JobState  `json:"state"`
	Why        string    `json:"why,omitempty"` // it waits
	Since      time.Time `json:"since"`

	Run string `json:"-"`
}

// Jobs returns the scans that have not ended, at most limit of each scanner. If repository is not
// "", it returns those of that repository.
func (r *Runner) Jobs(ctx context.Context, upstream, repository string, limit int) (jobs []Job, err error) {
	prefix := ""
	if repository != "" {
		prefix = id(upstream, repository, "")
	}
	config := r.config.Load()
	err = r.o.Ledger.View(ctx, func(v detect.View) error {
		for i := range config.Scanners {
			rows, err := v.Scan(detect.RowKind(kindJob+config.Scanners[i].Name), prefix, limit)
			if err != nil {
				return err
			}
			for _, row := range rows {
				if j, ok := decode[jobRow](row); ok {
					jobs = append(jobs, j.shown())
				}
			}
		}
		return nil
	})
	return jobs, err
}

func (j *jobRow) shown() Job {
	out := Job{
		Scanner: j.Scanner, Upstream: j.Upstream, Repository: j.Repository, Digest: j.Digest,
		State: Waiting, Why: j.Trouble, Since: j.Created, Run: j.Run,
	}
	if j.Artifact != nil && len(j.Artifact.Platforms) == 1 {
		out.Platform = j.Artifact.Platforms[0]
	}
	switch {
	case j.Trouble != "" && j.Holder == "":
		out.State = Down
	case len(j.Scans) > 0:
		out.State = Scanning
	}
	return out
}
