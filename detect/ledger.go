package detect

import (
	"context"
	"errors"
	"time"
)

// ErrStore is wrapped by the errors of a Ledger if the store failed or took too long. Errors of the
// caller's function do not wrap it.
var ErrStore = errors.New("the store failed")

// RowKind is the kind of a row of the ledger. The ledger knows keys and bytes; the tracker knows
// what they mean.
type RowKind string

// Key names a row. The IDs of one kind are ordered, and scanned by prefix.
type Key struct {
	Kind RowKind
	ID   string
}

// Row is a piece of state that survives a crash.
type Row struct {
	Key
	Value []byte
	Due   time.Time // when Ledger.Due returns it; zero: never
	// last use; the ledger may drop the least recently seen rows of some kinds
	Seen time.Time
}

// View reads rows. In Commit it shows the rows of one moment, without what the Changes of the same
// call put. Outside of Commit, each call shows the rows of its own moment.
type View interface {
	Get(Key) (Row, bool, error)
	Scan(kind RowKind, prefix string, limit int) ([]Row, error)
}

// Changes are what one commit makes durable, all or nothing, together with the deliveries that its
// events cause.
type Changes struct {
	Events []Event
	Put    []Row
	Delete []Key

	// Manifests are the manifests that these changes concern. Quotas follow from them. Only the
	// tracker can read the same from Put and Delete, and the ledger keeps nothing else of it.
	Manifests []ManifestChange
}

// ManifestChange says that a manifest is in a repository, new or not, or that it is gone.
type ManifestChange struct {
	Upstream, Repository, Digest string

	At    time.Time // when it was so
	Gone  bool
	Shown bool  // a read or bellbuoy index has shown it; a delete after At counts more
	Read  bool  // its bytes were read; else the following is not known
	Own   int64 // bytes of the manifest itself; 0: not known
	// Blobs are the digests of its layers and of its config, Sizes their bytes as the manifest
	// says. A digest may be "", and one may be there twice. Rows of older versions have no
	// Sizes.
	Blobs []string
	Sizes []int64
	More  bool // it lists more layers than these
}

// Ledger keeps what must survive a crash. The outbox implements it.
type Ledger interface {
	// Commit runs decide in a transaction and returns when its changes are durable. The
	// transaction excludes every other Commit of the same scope (a repository of an upstream),
	// also in other replicas. decide may run more than once and must depend on nothing but its
	// View. If the store fails or takes longer than store.timeout, Commit returns an error that
	// wraps ErrStore.
	Commit(ctx context.Context, scope string, decide func(View) (Changes, error)) error

	// CommitLater does the same, and waits no longer than store.timeout. If the store fails,
	// decide is kept in bounded memory and tried until it succeeds, which is counted and raises
	// an alarm; the error then wraps ErrStore. fallback means that a durable intent stands
	// behind it: nothing is lost if memory is full.
	CommitLater(ctx context.Context, scope string, fallback bool, decide func(View) (Changes, error)) error

	// Record stores events that no request waits for (pulls). It never blocks. It counts what
	// it must drop.
	Record(events ...Event)

	// View reads outside any transaction.
	View(ctx context.Context, read func(View) error) error

	// Due returns rows of a kind whose Due has passed, oldest first.
	Due(ctx context.Context, kind RowKind, now time.Time, limit int) ([]Row, error)

	// Own returns the rows of a kind (intents) that this replica put, and those of replicas
	// whose lease has ended, which it takes over. They are ordered by ID and begin behind
	// after, so that they can be paged through.
	Own(ctx context.Context, kind RowKind, after string, limit int) ([]Row, error)
}
