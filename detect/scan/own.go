package scan

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const (
	ownMargin = 2 * time.Second  // around a scan, for clocks and requests under way
	ownFor    = 10 * time.Minute // after a scan: a pull may be decided long after it was made
	maxOwn    = 4096
)

// ownScans are the scans, of this replica and of others, going on or ended recently, whose scanners
// pull without a login.
type ownScans struct {
	mu    sync.Mutex
	scans map[ownKey]*ownScan
}

type ownKey struct{ upstream, repository, digest string }

type ownScan struct {
	from, to time.Time // by this replica's clock; to zero: it goes on
	here     bool      // it goes on in this replica
}

// begin remembers a scan before it is submitted.
func (o *ownScans) begin(j *jobRow, operator string) ownKey {
	k := ownKey{j.Upstream, j.Repository, j.Digest}
	if operator != "" {
		return k // its pulls are known by that
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purge()
	if s := o.goesOn(k); s != nil {
		s.here = true
	}
	return k
}

// purge forgets what ended long ago.
func (o *ownScans) purge() {
	for k, s := range o.scans {
		if !s.to.IsZero() && time.Since(s.to) > ownFor {
			delete(o.scans, k)
		}
	}
}

// goesOn notes that a scan goes on; nil: there is no room.
func (o *ownScans) goesOn(k ownKey) *ownScan {
	if o.scans == nil {
		o.scans = map[ownKey]*ownScan{}
	}
	s := o.scans[k]
	if s == nil && len(o.scans) < maxOwn {
		s = &ownScan{from: time.Now()}
		o.scans[k] = s
	}
	if s != nil {
		s.to = time.Time{}
	}
	return s
}

// learn replaces what is known of the scans of all replicas.
func (o *ownScans) learn(shown map[ownKey]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.purge()
	for k := range shown {
		o.goesOn(k)
	}
	for k, s := range o.scans {
		if !shown[k] && !s.here && s.to.IsZero() {
			s.to = time.Now()
		}
	}
}

// end remembers when a scan was over.
func (o *ownScans) end(k ownKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.scans[k]; s != nil {
		s.to, s.here = time.Now(), false
	}
}

func (o *ownScans) over(j *jobRow) { o.end(ownKey{j.Upstream, j.Repository, j.Digest}) }

func (o *ownScans) has(e *detect.Event) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.scans[ownKey{e.Upstream, e.Repository, e.Digest}]
	return s != nil && e.At.After(s.from.Add(-ownMargin)) && (s.to.IsZero() || e.At.Before(s.to.Add(ownMargin)))
}

// learnOwn reads the scans of other replicas whose scanners pull without a login, so that no pull
// needs the store.
func (r *Runner) learnOwn(ctx context.Context, config *Config) {
	if r.o.Alone {
		return
	}
	shown := map[ownKey]bool{}
	for i := range config.Scanners {
		s := &config.Scanners[i]
		if s.Operator != "" {
			continue
		}
		err := r.o.Ledger.View(ctx, func(v detect.View) error {
			rows, err := v.Scan(detect.RowKind(kindOwn+s.Name), "", maxOwn)
			for _, row := range rows {
				if parts := strings.Split(row.ID, separator); len(parts) == 3 {
					shown[ownKey{parts[0], parts[1], parts[2]}] = true
				}
			}
			return err
		})
		if err != nil {
			return // what is known stays
		}
	}
	r.own.learn(shown)
}

// Owns reports whether a pull was made by a scanner, and so is no event. The pull is by the
// operator that the registry credentials of a scanner name or, if a scanner has none, without a
// login and by the digest of a scan that was going on at that time.
func (r *Runner) Owns(e *detect.Event) bool {
	if e.Type != detect.PullArtifact {
		return false
	}
	if e.Client.Operator == "" {
		return e.Client.Claimed == "" && len(e.Tags) == 0 && r.own.has(e)
	}
	config := r.config.Load()
	for i := range config.Scanners {
		if config.Scanners[i].Operator == e.Client.Operator {
			return true
		}
	}
	return false
}

// Ledger returns a ledger that does not record the pulls of scanners. Everything else goes to l.
func (r *Runner) Ledger(l detect.Ledger) detect.Ledger { return withoutOwn{l, r} }

type withoutOwn struct {
	detect.Ledger
	runner *Runner
}

func (l withoutOwn) Record(events ...detect.Event) {
	for i := range events {
		if l.runner.Owns(&events[i]) {
			l.others(events)
			return
		}
	}
	l.Ledger.Record(events...)
}

func (l withoutOwn) others(events []detect.Event) {
	for i := range events {
		if !l.runner.Owns(&events[i]) {
			l.Ledger.Record(events[i])
		}
	}
}
