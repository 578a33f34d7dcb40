package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	kindSession = "access.session" // ID: the hash of a secret; value: a session; Due: its end

	idleFor      = 12 * time.Hour
	sessionFor   = 7 * 24 * time.Hour
	touchEvery   = 5 * time.Minute // how often the time of a session's last request is stored
	readPatience = 2 * time.Second // a read of the store that takes longer has failed
	secretSize   = 32              // bytes
	mostSessions = 10_000
	mostOfUser   = 50   // sessions of one user; beyond it, the one that would end first is removed
	mostEnded    = 1000 // ended sessions that one login removes
)

// Trim bounds the sessions in the store. The longest idle are removed first.
var Trim = store.Trim{Kind: kindSession, Max: mostSessions}

// SessionRows is the part of the store that sessions use; see notify.Rows for its methods.
type SessionRows interface {
	Update(ctx context.Context, scopes []string, fn func(store.Tx) error) error
	View(ctx context.Context, fn func(store.Reader) error) error
	Due(ctx context.Context, kind string, now time.Time, limit int) ([]store.Row, error)
}

// secret is the value of a session's cookie.
type secret [secretSize]byte

func newSecret() (s secret) {
	_, _ = rand.Read(s[:]) // never fails
	return s
}

// parseSecret parses the output of String.
func parseSecret(text string) (s secret, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(secretSize) {
		return s, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(s[:], []byte(text))
	return s, err == nil && n == secretSize
}

// String returns the secret in the form for a cookie or a URL.
func (s secret) String() string { return base64.RawURLEncoding.EncodeToString(s[:]) }

// id returns the ID of the session in the store.
func (s secret) id() string {
	sum := sha256.Sum256(s[:])
	return hex.EncodeToString(sum[:])
}

// formToken returns the token that proves that a form was shown in the session.
func (s secret) formToken() string {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte("form"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// session is the stored form of a login session.
type session struct {
	User  string    `json:"user"`  // "": a session of `bellbuoy console`
	Print string    `json:"print"` // hash of the user's entry at the login
	Host  string    `json:"host"`  // name of this server at the login; the session counts at no other
	Made  time.Time `json:"made"`
	Used  time.Time `json:"used"` // time of its last request, up to touchEvery earlier
}

func (s session) end() time.Time {
	end := s.Made.Add(sessionFor)
	if idle := s.Used.Add(idleFor); idle.Before(end) {
		return idle
	}
	return end
}

func (s session) row(id string) (store.Row, error) {
	value, err := json.Marshal(s)
	return store.Row{Key: sessionKey(id), Value: value, Due: s.end(), Seen: s.Used}, err
}

func sessionKey(id string) store.Key { return store.Key{Kind: kindSession, ID: id} }

// sessionStore reads and writes sessions in the store. While the store cannot be read, the sessions
// that this process has read before remain valid.
type sessionStore struct {
	rows SessionRows
	seen *lru.Cache[string, session] // by ID
}

func newSessions(rows SessionRows) *sessionStore {
	seen, _ := lru.New[string, session](mostSessions) // fails only for sizes below one
	return &sessionStore{rows, seen}
}

// begin stores a new session, and removes those that have ended. Beyond mostOfUser it removes those
// of the same user that would end first, so that nobody's logins end the sessions of others.
func (s *sessionStore) begin(ctx context.Context, one session) (secret, error) {
	key := newSecret()
	row, err := one.row(key.id())
	if err != nil {
		return key, err
	}
	all, err := s.rows.Due(ctx, kindSession, one.Made.Add(sessionFor), mostSessions)
	if err != nil {
		return key, err
	}
	ended := superfluous(all, one)
	err = s.rows.Update(ctx, nil, func(tx store.Tx) error {
		tx.Delete(ended...)
		tx.Put(row)
		return nil
	})
	if err == nil {
		s.seen.Add(key.id(), one)
	}
	return key, err
}

// superfluous returns the sessions to remove for a new one. all are in the order of their ends.
func superfluous(all []store.Row, made session) (keys []store.Key) {
	var ofUser []store.Key
	for _, row := range all {
		var one session
		switch {
		case !row.Due.After(made.Made) || json.Unmarshal(row.Value, &one) != nil:
			if len(keys) < mostEnded {
				keys = append(keys, row.Key)
			}
		case one.User == made.User:
			ofUser = append(ofUser, row.Key)
		}
	}
	return append(keys, ofUser[:max(0, len(ofUser)-mostOfUser+1)]...)
}

// find returns the session with an ID, unless it has ended.
func (s *sessionStore) find(ctx context.Context, id string, now time.Time) (one session, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	var row store.Row
	err := s.rows.View(ctx, func(r store.Reader) (err error) {
		row, ok, err = r.Get(sessionKey(id))
		return err
	})
	switch {
	case err != nil:
		one, ok = s.seen.Get(id)
	case !ok || json.Unmarshal(row.Value, &one) != nil:
		s.seen.Remove(id)
		return session{}, false
	default:
		s.seen.Add(id, one)
	}
	return one, ok && now.Before(one.end())
}

// touch stores the time of a session's last request, if that is due and the session was not ended
// meanwhile.
func (s *sessionStore) touch(ctx context.Context, id string, one session, now time.Time) error {
	if now.Sub(one.Used) < touchEvery {
		return nil
	}
	one.Used = now
	row, err := one.row(id)
	if err != nil {
		return err
	}
	s.seen.Add(id, one)
	return s.rows.Update(ctx, scopeOf(id), func(tx store.Tx) error {
		_, there, err := tx.Get(row.Key)
		if there {
			tx.Put(row)
		}
		return err
	})
}

// end removes a session.
func (s *sessionStore) end(ctx context.Context, id string) error {
	s.seen.Remove(id)
	return s.rows.Update(ctx, scopeOf(id), func(tx store.Tx) error {
		tx.Delete(sessionKey(id))
		return nil
	})
}

// scopeOf returns the scope of changes of a session, so that they exclude each other.
func scopeOf(id string) []string { return []string{kindSession + "/" + id} }

var errNoStore = errors.New("the session could not be stored; try again, or use HTTP Basic")
