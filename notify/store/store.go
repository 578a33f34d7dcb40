// Package store is the contract of the outbox: the events, the deliveries that they cause and the
// rows of state that must survive, and the one transaction in which they change together. It knows
// bytes and ids, not their meaning.
//
// Two packages keep this contract: store/sqlite (one process for each file) and store/postgres (any
// number of replicas). What they share is in store/engine. The tests of this package are the
// conformance suite; they run on both.
//
// Everything that writes goes through one writer goroutine, which makes one transaction of the
// callers that wait (group commit): Update returns when the transaction that holds its changes is
// durable. On PostgreSQL, outcomes and chores have a writer each of their own, so that lanes do not
// wait for pushes.
//
// Followers of the event log read Events after the last Seq that they saw. On SQLite, numbers are
// committed in order. On PostgreSQL, transactions of several replicas are not: Events holds back
// what is above the lowest number that a running transaction may still commit, so that a follower
// misses nothing.
//
// The states of a delivery:
//
//	            ┌──────────── Redeliver ───────────┐
//	            ▼                                  │
//	Append → pending ── Finish(delivered) → delivered
//	          │ ▲  └─── Finish(dead) ─────→ dead ──┘
//	          │ └─ Finish(retry at) ┘        ▲
//	          └ Park → parked ── expiry ─────┘        parked → Unpark → pending
//
// Bury makes dead letters of pending and parked ones.
package store

import (
	"errors"
	"time"
)

// ReasonCorrupt is the reason of a dead letter whose stored bytes do not match their checksum.
const ReasonCorrupt = "corrupt"

// ReasonExpired is the reason of a dead letter that was parked for too long.
const ReasonExpired = "expired"

// ReasonDeleted is the reason of a dead letter whose webhook was deleted.
const ReasonDeleted = "deleted"

// The errors of a store.
var (
	// ErrLocked means that another process has the SQLite file open.
	ErrLocked = errors.New("another bellbuoy uses this data directory")
	// ErrFenced means that another replica holds the lane now, and nothing was written.
	ErrFenced = errors.New("the lane belongs to another replica")
	// ErrClosed means that the store is closed.
	ErrClosed = errors.New("the store is closed")
	// ErrUnknown means that the caller gave up or the connection broke during the commit. It
	// may have happened.
	ErrUnknown = errors.New("the commit's outcome is unknown")
	// ErrBusy means that the time of the caller was over while others were served. The store
	// works. The error also wraps what ended the wait.
	ErrBusy = errors.New("the store is busy with others")
	// ErrInvalid means that the data cannot be stored: a key or a value is too long, or the
	// database refuses it. The store works, and the changes of other callers are not affected.
	// The same data will fail again.
	ErrInvalid = errors.New("the data cannot be stored")
	// ErrNotFound means that there is no such event or delivery.
	ErrNotFound = errors.New("not found")
)

// The bounds of the store. Longer data fails with ErrInvalid. An index of PostgreSQL holds at most
// 2,704 bytes.
const (
	MaxKey   = 2048    // bytes of a Key, and of each of an event's and a delivery's names
	MaxValue = 8 << 20 // bytes of a Row's Value, of an Event's Data and of a Payload
)

// Key names a row of state; IDs of one kind sort bytewise.
type Key struct{ Kind, ID string }

// Row is a piece of state.
type Row struct {
	Key
	Value []byte
	Due   time.Time // when Due returns it; zero: never
	Seen  time.Time // last use, for Trim; zero: Trim leaves it alone
	Owner string    // replica that put it; kept by the store
}

// Event is something that happened. Data is opaque; the other fields are for searches.
type Event struct {
	Seq        int64 // the store's order, given by Append
	ID         string
	Type       string
	At         time.Time
	Upstream   string
	Repository string
	Data       []byte
	Transient  bool // a pull: kept for retention.pulls once nothing of it is pending
	Corrupt    bool // given by the store: Data does not match its checksum and is nil
}

// State is the state of a delivery.
type State uint8

// The states of a delivery.
const (
	Pending   State = iota
	Delivered       // answered 2xx
	Dead            // given up; kept for redelivery
	Parked          // its webhook is gone from the configuration, or disabled
)

// Delivery is one POST to one webhook.
type Delivery struct {
	ID        int64
	EventSeq  int64
	EventID   string
	Webhook   string
	Number    int    // of the tag among the event's tags; the POST's id is the event's id and this number
	TagKey    string // what `order: tag` keeps in order, and what `overtaken` compares; may be ""
	RepoKey   string // what `order: repository` keeps in order
	State     State
	Attempts  int
	CreatedAt time.Time
	// PendingSince is from when its age counts: CreatedAt, or when Redeliver or Unpark made it
	// pending again.
	PendingSince time.Time
	NextAt       time.Time // not before
	Reason       string    // of the last failure, from a bounded set
	Status       int       // of the last answer
	FinishedAt   time.Time
	// Payload is as rendered for the first attempt; nil until then. Deliveries fills it in only
	// when asked by IDs.
	Payload *Payload
	// Event is what is to be rendered, given by DueDeliveries where there is no Payload yet.
	Event *Event
}

// Payload is the bytes of a POST, kept so that every attempt sends the same ones. The store guards
// them with a checksum.
type Payload struct {
	ContentType string
	Header      map[string]string
	Body        []byte
}

// Attempt is one try to deliver, for the log.
type Attempt struct {
	DeliveryID int64
	At         time.Time
	Status     int
	Latency    time.Duration
	Reason     string
	Error      string
	Response   []byte // first 4 KiB
	Replica    string
}

// Outcome is what became of a delivery by an attempt. Epoch fences it: it must be that of the
// lane's lease.
type Outcome struct {
	DeliveryID int64
	Webhook    string
	Epoch      int64
	State      State     // Pending: to be retried at NextAt
	NextAt     time.Time // for Pending
	Attempt    *Attempt  // nil: no POST was made (expired, superseded, cannot be rendered)
	Payload    *Payload  // stored when it is not nil
	Reason     string
	Status     int
	Burnt      bool // counts as an attempt of the schedule
}

// Reader reads rows as of one moment.
type Reader interface {
	Get(Key) (Row, bool, error)
	// Scan returns rows of a kind whose ID starts with prefix, in order of ID, at most limit
	// (0: 1,000).
	Scan(kind, prefix string, limit int) ([]Row, error)
}

// Tx is one caller's part of the writer's transaction. Reads see what earlier callers of the same
// transaction wrote, not what this one wrote: its writes are held back until fn has returned nil,
// then applied in order.
type Tx interface {
	Reader
	Put(...Row)
	Delete(...Key)
	// Append adds an event and its deliveries; the store fills in EventSeq, EventID, ID and
	// CreatedAt. An event whose ID is stored already is skipped with its deliveries, so that an
	// Update may be repeated. Of transient events without deliveries, which cost a tenth of
	// others, only the ids that this process has appended lately are known.
	Append(Event, ...Delivery)
}

// Terms are what an update is owed.
type Terms struct {
	Scopes []string // see Update
	// Ahead puts it before those that wait already. It should be small.
	Ahead bool
	// Patience is how long the caller waits while nothing at all is committed: it measures the
	// disk, not how many others wait. 0: until ctx ends.
	Patience time.Duration
}

// Wake says that a webhook has new deliveries; Webhook "" says that any may have.
type Wake struct {
	Webhook string
	// New is what it got since its last wake, oldest first, as DueDeliveries would return it.
	// nil: DueDeliveries knows.
	New []Delivery
}

// Lane is the deliveries of one webhook, owned by one replica at a time.
type Lane struct {
	Webhook    string
	Epoch      int64  // of this replica's lease; grows with each change of owner
	State      []byte // the dispatcher's own (circuit, disabled by 410): opaque, written by SetLane
	LeaseUntil time.Time
}

// DueQuery asks for the deliveries that a lane may send now.
type DueQuery struct {
	Webhook string
	Order   Order
	Busy    map[string]bool // TagKeys or RepoKeys, by the order, that have a POST in flight
	Except  map[int64]bool  // deliveries in flight
	Now     time.Time       // SQLite; PostgreSQL uses its own clock
	Limit   int
}

// Order is which deliveries of a lane wait for each other.
type Order uint8

// The orders.
const (
	// ByTag: of the due ones of a tag only the oldest. One that waits for its retry holds up
	// nothing.
	ByTag Order = iota
	// ByRepository: the oldest pending one of a repository holds up all behind it, also while
	// it waits for its retry.
	ByRepository
	Unordered
)

// EventQuery selects events; zero fields select all. Results are ordered by Seq, newest first
// unless Ascending.
type EventQuery struct {
	ID         string
	Types      []string
	Upstream   string
	Repository string
	Seqs       []int64 // those of one of these numbers that have or had deliveries
	// Repositories and Projects are as in EventSearch.
	Repositories, Projects []string
	After                  int64 // Seq >
	Before                 int64 // Seq <; 0: none
	Since                  time.Time
	Until                  time.Time
	Ascending              bool
	Limit                  int // 0: 100
}

// Planned is what webhooks are owed of an event that was recorded before: Event is as Events
// returned it, of the deliveries Webhook, Number, TagKey and RepoKey count.
type Planned struct {
	Event      Event
	Deliveries []Delivery
}

// DeliveryQuery selects deliveries, newest first.
type DeliveryQuery struct {
	IDs      []int64
	EventID  string
	Webhook  string
	States   []State
	Since    time.Time // CreatedAt
	Until    time.Time
	BeforeID int64
	Limit    int // 0: 100
}

// Depth is how much waits in one lane.
type Depth struct {
	Webhook string
	Pending int64
	Dead    int64
	Parked  int64
	Oldest  time.Time // CreatedAt of the oldest pending one; zero: none
}

// Retention is how long what is done is kept; zero: for ever. Pending deliveries and their events
// are never purged. An event goes with its last delivery. Parked deliveries become dead letters
// (ReasonExpired) after Dead, and go after another Dead.
type Retention struct {
	Delivered, Pulls, Dead, Attempts, Unmatched time.Duration
	// MaxSize is in bytes; past it the oldest delivered ones and pulls go first. PostgreSQL's
	// size is an estimate.
	MaxSize int64
}

// Trim bounds a kind of rows that have a Seen: at most Max, the least recently seen go first.
type Trim struct {
	Kind string
	Max  int64
}
