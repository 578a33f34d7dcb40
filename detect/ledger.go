package detect

import (
	"context"
	"errors"
	"time"
)

// ErrStore is wrapped by a Ledger's errors when the store failed or took too long, as opposed to decide failing.
var ErrStore = errors.New("the store failed")

// RowKind is the kind of a row of the ledger. Its value is detect's own business; the ledger knows bytes and keys.
type RowKind string

// Key names a row. IDs of one kind sort and are scanned by prefix.
type Key struct {
	Kind RowKind
	ID   string
}

// Row is a piece of state that survives.
type Row struct {
	Key
	Value []byte
	Due   time.Time // when Ledger.Due shall return it; zero: never
	Seen  time.Time // last use; the ledger may drop the least recently seen rows of kinds that it is told to bound
}

// View reads rows. In Commit they are those of one moment, without what Changes of the same call will put; outside, each call gives those of its own.
type View interface {
	Get(Key) (Row, bool, error)
	Scan(kind RowKind, prefix string, limit int) ([]Row, error)
}

// Changes is what a decision makes true, all of it or nothing, in one transaction with the deliveries that its events cause.
type Changes struct {
	Events []Event
	Put    []Row
	Delete []Key

	// Manifests are those that these changes concern, for what follows from them (quotas). The rows of Put and Delete say
	// the same to the tracker alone; the ledger keeps nothing else of them.
	Manifests []ManifestChange
}

// ManifestChange says that a manifest is in a repository, be it new there or not, or that it is gone.
type ManifestChange struct {
	Upstream, Repository, Digest string

	At    time.Time // when it was so
	Gone  bool
	Shown bool  // by a read or bellbuoy index: what was deleted after At is gone all the same
	Read  bool  // somebody has read its bytes; without that the following is not known
	Own   int64 // bytes of the manifest itself; 0: not known
	// Blobs are the digests of its layers and of its config, Sizes their bytes as the manifest says. A digest may be "", and
	// one may be there twice. Rows of older versions have no Sizes.
	Blobs []string
	Sizes []int64
	More  bool // it lists more layers than these
}

// Ledger keeps what must survive. Its owner is the outbox; cmd wires them.
type Ledger interface {
	// Commit runs decide in a transaction that excludes every other Commit of the same scope (an upstream's repository),
	// also in other replicas, and returns when its changes are durable. decide may run more than once and must depend on nothing but its View.
	// Where the store fails or takes longer than store.timeout, Commit returns an error that wraps ErrStore.
	Commit(ctx context.Context, scope string, decide func(View) (Changes, error)) error

	// CommitLater does the same without anybody waiting for it for longer than store.timeout: where the store fails, decide is kept
	// in memory (bounded), tried until it succeeds, counted and alarmed; the error then wraps ErrStore and says so.
	// fallback tells that a durable intent stands behind it, so that nothing is lost when memory is full.
	CommitLater(ctx context.Context, scope string, fallback bool, decide func(View) (Changes, error)) error

	// Record stores events that nobody waits for (pulls). It never blocks; what it must drop it counts.
	Record(events ...Event)

	// View reads outside any transaction.
	View(ctx context.Context, read func(View) error) error

	// Due returns rows of a kind whose Due has passed, oldest first.
	Due(ctx context.Context, kind RowKind, now time.Time, limit int) ([]Row, error)

	// Own returns rows of a kind (intents) that this replica put, or whose replica's lease has ended; it takes over the latter.
	// They come in order of ID, from the first behind after, so that any number can be paged through.
	Own(ctx context.Context, kind RowKind, after string, limit int) ([]Row, error)
}
