package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Rows of webhooks that were made by console or API.
const (
	kindWebhook     = "notify.webhook"         // ID: the number; value: a Stored
	kindWebhookName = "notify.webhook.name"    // ID: project/name; value: the number
	kindCounter     = "notify.webhook.counter" // one row each: the last number given, and the number of changes
	scopeWebhooks   = "notify.webhooks"        // locked by every change
)

var (
	lastNumber = store.Key{Kind: kindCounter, ID: "number"}
	changes    = store.Key{Kind: kindCounter, ID: "changes"}
)

// Errors of a change.
var (
	ErrNameTaken = errors.New("the project has a webhook of that name")
	ErrTooMany   = errors.New("there are too many webhooks")
)

// MostWebhooks bounds the webhooks of the store.
const MostWebhooks = 10_000

// Stored is a webhook that was made by console or API.
type Stored struct {
	Number int64 `json:"number"` // never assigned again
	// Key identifies the webhook in deliveries: project/name#number, with the name that it had
	// when it was made.
	Key     string `json:"key"`
	Project string `json:"project"`
	Name    string `json:"name"` // unique in its project
	Maker   string `json:"maker"`
	// Limited: a limited account made or edited the webhook, and the limits of such accounts
	// apply to it.
	Limited    bool            `json:"limited"`
	Definition json.RawMessage `json:"definition"`       // the keys of an entry of webhooks
	Policy     json.RawMessage `json:"policy,omitempty"` // as it was sent to Harbor's API, for the API's answers
	Version    int64           `json:"version"`          // counts changes
	Made       time.Time       `json:"made"`
	Changed    time.Time       `json:"changed"`
}

// Webhooks manages the webhooks of the store. Every change is one transaction. Other replicas
// notice it because Changes returns another number.
type Webhooks struct{ rows Rows }

// NewWebhooks returns the webhooks of a store.
func NewWebhooks(rows Rows) *Webhooks { return &Webhooks{rows} }

// All returns the webhooks ordered by number, and the number of changes so far.
func (w *Webhooks) All(ctx context.Context) (all []Stored, changed int64, err error) {
	err = w.rows.View(ctx, func(r store.Reader) error {
		all = nil
		// The count is read first: a change between the two reads then counts as a new one.
		if changed, err = countOf(r, changes); err != nil {
			return err
		}
		rows, err := r.Scan(kindWebhook, "", MostWebhooks)
		for _, row := range rows {
			s, err := readStored(row)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reading webhooks: %w", err)
	}
	return all, changed, nil
}

// Get returns the webhook with a number, or ErrNoWebhook.
func (w *Webhooks) Get(ctx context.Context, number int64) (s Stored, err error) {
	err = w.rows.View(ctx, func(r store.Reader) error { s, err = getStored(r, number); return err })
	return s, err
}

// Changes returns the number of changes so far, by any replica.
func (w *Webhooks) Changes(ctx context.Context) (n int64, err error) {
	err = w.rows.View(ctx, func(r store.Reader) error { n, err = countOf(r, changes); return err })
	return n, err
}

// Make stores a webhook and gives it number, key and version.
func (w *Webhooks) Make(ctx context.Context, made Stored) (Stored, error) {
	var out Stored
	err := w.change(ctx, func(tx store.Tx) error {
		s := made
		name := nameKey(s.Project, s.Name)
		if _, taken, err := tx.Get(name); err != nil || taken {
			return errors.Join(err, ifTrue(taken, ErrNameTaken))
		}
		names, err := tx.Scan(kindWebhookName, "", MostWebhooks)
		if err != nil || len(names) >= MostWebhooks {
			return errors.Join(err, ifTrue(err == nil, ErrTooMany))
		}
		if s.Number, err = nextNumber(tx); err != nil {
			return err
		}
		s.Key = fmt.Sprintf("%s/%s#%d", s.Project, s.Name, s.Number)
		s.Version, s.Made, s.Changed = 1, time.Now().UTC(), time.Now().UTC()
		tx.Put(countRow(lastNumber, s.Number), store.Row{Key: name, Value: []byte(strconv.FormatInt(s.Number, 10))},
			store.Row{Key: numberedKey(s.Number), Value: []byte(numberedWebhook(s.Key))})
		out = s
		return putStored(tx, s)
	})
	if err != nil {
		return Stored{}, err // the transaction may still be running
	}
	return out, nil
}

// Change applies change to the webhook with a number. Number, key, project, maker and time stay.
func (w *Webhooks) Change(ctx context.Context, number int64, change func(*Stored) error) (Stored, error) {
	var out Stored
	err := w.change(ctx, func(tx store.Tx) error {
		old, err := getStored(tx, number)
		if err != nil {
			return err
		}
		s := old
		if err := change(&s); err != nil {
			return err
		}
		s.Number, s.Key, s.Project, s.Maker, s.Made = old.Number, old.Key, old.Project, old.Maker, old.Made
		s.Version, s.Changed = old.Version+1, time.Now().UTC()
		if s.Name != old.Name {
			name := nameKey(s.Project, s.Name)
			if _, taken, err := tx.Get(name); err != nil || taken {
				return errors.Join(err, ifTrue(taken, ErrNameTaken))
			}
			tx.Delete(nameKey(old.Project, old.Name))
			tx.Put(store.Row{Key: name, Value: []byte(strconv.FormatInt(number, 10))})
		}
		out = s
		return putStored(tx, s)
	})
	if err != nil {
		return Stored{}, err // the transaction may still be running
	}
	return out, nil
}

// Remove deletes the webhook with a number if check returns no error. Its pending deliveries become
// dead letters. Its number is never assigned again.
func (w *Webhooks) Remove(ctx context.Context, number int64, check func(Stored) error) error {
	return w.change(ctx, func(tx store.Tx) error {
		s, err := getStored(tx, number)
		if err != nil {
			return err
		}
		if err := check(s); err != nil {
			return err
		}
		tx.Delete(storedKey(number), nameKey(s.Project, s.Name), store.Key{Kind: kindSwitch, ID: s.Key})
		return nil
	})
}

// gone reports whether key belongs to a deleted webhook.
func (w *Webhooks) gone(ctx context.Context, key string) (gone bool, err error) {
	if w == nil {
		return false, nil
	}
	number, ok := numberOf(key)
	if !ok {
		return false, nil
	}
	err = w.rows.View(ctx, func(r store.Reader) error {
		named, given, err := r.Get(numberedKey(number))
		if err != nil {
			return err
		}
		_, there, err := r.Get(storedKey(number))
		gone = given && string(named.Value) == numberedWebhook(key) && !there
		return err
	})
	return gone, err
}

// change runs fn in a transaction that excludes other changes, on all replicas, and counts it.
func (w *Webhooks) change(ctx context.Context, fn func(store.Tx) error) error {
	err := w.rows.Update(ctx, []string{scopeWebhooks}, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		n, err := countOf(tx, changes)
		tx.Put(countRow(changes, n+1))
		return err
	})
	if err != nil {
		return fmt.Errorf("changing webhooks: %w", err)
	}
	return nil
}

// nextNumber returns the first free number after the last assigned one.
func nextNumber(tx store.Tx) (int64, error) {
	n, err := countOf(tx, lastNumber)
	for taken := true; taken && err == nil; {
		n++
		_, taken, err = tx.Get(numberedKey(n))
	}
	return n, err
}

func countOf(r store.Reader, k store.Key) (int64, error) {
	row, ok, err := r.Get(k)
	if err != nil || !ok {
		return 0, err
	}
	return strconv.ParseInt(string(row.Value), 10, 64)
}

func countRow(k store.Key, n int64) store.Row {
	return store.Row{Key: k, Value: strconv.AppendInt(nil, n, 10)}
}

func storedKey(number int64) store.Key {
	return store.Key{Kind: kindWebhook, ID: fmt.Sprintf("%019d", number)}
}

func nameKey(project, name string) store.Key {
	return store.Key{Kind: kindWebhookName, ID: project + "/" + name}
}

func getStored(r store.Reader, number int64) (Stored, error) {
	row, ok, err := r.Get(storedKey(number))
	if err != nil {
		return Stored{}, err
	}
	if !ok {
		return Stored{}, fmt.Errorf("%d: %w", number, ErrNoWebhook)
	}
	return readStored(row)
}

func readStored(row store.Row) (s Stored, err error) {
	if err := json.Unmarshal(row.Value, &s); err != nil {
		return s, fmt.Errorf("decoding webhook %s: %w", row.ID, err)
	}
	return s, nil
}

func putStored(tx store.Tx, s Stored) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tx.Put(store.Row{Key: storedKey(s.Number), Value: value})
	return nil
}

func ifTrue(is bool, err error) error {
	if is {
		return err
	}
	return nil
}
