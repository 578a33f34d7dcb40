package track

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect/track/pulls"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// Config is how a Tracker behaves. A zero duration or bound stands for the default, which
// withDefaults sets.
type Config struct {
	Accessories bool // events of signatures, attestations, SBOMs and referrers
	// how long a manifest put by digest waits for its index or tag, from its client's last
	// request on
	UntaggedPush    time.Duration
	UntaggedPushMax time.Duration // the longest time that it waits in all
	// how long a HEAD's tag waits for its GET, and a manifest read for its first blob
	Pull time.Duration
	// within this time, the same reference read again is the same pull
	Repeat time.Duration

	// Visibility returns whether a repository is "public" or "private". It must be pure. Nil
	// leaves the visibility out of events.
	Visibility func(repository string) string

	// GivenUp is called for each write that is given up: for 7 days no upstream has shown
	// whether it was done. reference is a tag, a digest or a chart's name/version. It may be
	// nil.
	GivenUp func(upstream, repository, reference string)

	Bounds Bounds
}

// Bounds limit memory. Beyond a bound, events become plainer or fewer (pulls), never wrong.
type Bounds struct {
	Sessions     int // sessions: one for each client and repository
	SessionBytes int // … and their bytes in all
	Session      int // pulls, resolved tags and other items remembered for each session
	Index        int // entries of the tag index in memory
	IndexBytes   int // … and their bytes
	ContentBytes int // manifests that bellbuoy has read
	Learned      int // observations that wait to be stored
	LearnedBytes int // … and their bytes
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	orInt := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	orDuration(&c.UntaggedPush, 30*time.Second)
	orDuration(&c.UntaggedPushMax, 24*time.Hour)
	orDuration(&c.Pull, 30*time.Second)
	orDuration(&c.Repeat, 5*time.Second)
	orInt(&c.Bounds.Sessions, 1<<16)
	orInt(&c.Bounds.SessionBytes, 64<<20)
	orInt(&c.Bounds.Session, 64)
	orInt(&c.Bounds.Index, 1<<16)
	orInt(&c.Bounds.IndexBytes, 32<<20)
	orInt(&c.Bounds.ContentBytes, 16<<20)
	orInt(&c.Bounds.Learned, 4096)
	orInt(&c.Bounds.LearnedBytes, 16<<20)
	return c
}

func (b Bounds) index() tagindex.Bounds {
	return tagindex.Bounds{Rows: b.Index, RowBytes: b.IndexBytes, ContentBytes: b.ContentBytes, Observed: b.Learned, ObservedBytes: b.LearnedBytes}
}

func (c *Config) pulls() pulls.Config {
	return pulls.Config{
		Accessories: c.Accessories, Pull: c.Pull, Repeat: c.Repeat, Visibility: c.Visibility,
		Bounds: pulls.Bounds{Sessions: c.Bounds.Sessions, SessionBytes: c.Bounds.SessionBytes, Session: c.Bounds.Session},
	}
}
