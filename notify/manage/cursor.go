package manage

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// A cursor is the position where a page ended, or where a stream of events continues. It is valid
// only for its query and scope, and gives no access: the scope is checked for each query. It is
// encrypted, because positions count the events of all projects: a limited account must not learn
// from them how much happens in other projects.
//
// A cursor is one block of AES: the position, a checksum of its query and scope, and a salt.
// Without the key it shows only whether two cursors are equal. The salt is random if the position
// may belong to another project's event. Otherwise it is 0, so that an unchanged page has an
// unchanged cursor.

const (
	kindCursor = "manage.cursor" // ID: cursorKey; value: the key, which all replicas use
	cursorKey  = "key"

	cursorSum  = 4 // bytes of the checksum
	cursorSize = aes.BlockSize
)

// streamCursor takes the place of the query in the cursors of streams.
const streamCursor = "stream"

// Cursors encrypt positions, with a key in the store. NewCursors makes one.
type Cursors struct {
	rows notify.Rows

	mu        sync.Mutex
	block     cipher.Block // nil: the key was not read yet
	temporary cipher.Block // of this process alone, while the store can keep no key
}

// NewCursors returns Cursors with a key in rows. The key is made when it is first needed.
func NewCursors(rows notify.Rows) *Cursors { return &Cursors{rows: rows} }

// sealer returns a sealer with the key of the store. While the store can keep no key, such as on a
// full disk, it returns one with a temporary key, so that lists can still be read.
func (c *Cursors) sealer(ctx context.Context) (sealer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.block != nil {
		return sealer{c.block}, nil
	}
	key, err := c.key(ctx)
	if err != nil {
		if c.temporary == nil {
			if c.temporary, err = aes.NewCipher(newCursorKey()); err != nil {
				return sealer{}, err
			}
		}
		return sealer{c.temporary}, nil
	}
	if c.block, err = aes.NewCipher(key); err != nil {
		return sealer{}, fmt.Errorf("the key of cursors: %w", err)
	}
	return sealer{c.block}, nil
}

// key returns the key in the store, where it puts one if there is none.
func (c *Cursors) key(ctx context.Context) ([]byte, error) {
	var key []byte
	at := store.Key{Kind: kindCursor, ID: cursorKey}
	err := c.rows.Update(ctx, []string{kindCursor}, func(tx store.Tx) error {
		row, there, err := tx.Get(at)
		if err != nil || there {
			key = bytes.Clone(row.Value)
			return err
		}
		key = newCursorKey()
		tx.Put(store.Row{Key: at, Value: key})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

func newCursorKey() []byte {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	return key
}

type sealer struct{ cipher.Block }

// cursor returns the cursor of a position. If secret is set, it has a random salt.
func (s sealer) cursor(position int64, about any, secret bool) string {
	var raw [cursorSize]byte
	binary.BigEndian.PutUint64(raw[:], uint64(position))
	copy(raw[8:], sumOf(about))
	if secret {
		_, _ = rand.Read(raw[8+cursorSum:]) // never fails
	}
	s.Encrypt(raw[:], raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// position returns the position of a cursor, or an error if the cursor is not for about.
func (s sealer) position(field, cursor string, about any) (int64, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err == nil && len(raw) == cursorSize {
		s.Decrypt(raw, raw)
		position := int64(binary.BigEndian.Uint64(raw))
		if position >= 0 && bytes.Equal(raw[8:8+cursorSum], sumOf(about)) {
			return position, nil
		}
	}
	return 0, problem(field, "it is not a cursor of this query")
}

func sumOf(about any) []byte {
	text, err := json.Marshal(about)
	if err != nil {
		panic(fmt.Sprintf("encoding a query: %v", err)) // queries are plain structs
	}
	sum := sha256.Sum256(text)
	return sum[:cursorSum]
}

// cursorOf returns the cursor of the next page, which begins at a position; "" if the position is
// 0, because there is no next page. searched means that the page ended because enough events were
// tested; its last event may then belong to any project.
func (s sealer) cursorOf(position int64, about any, searched bool) string {
	if position == 0 {
		return ""
	}
	return s.cursor(position, about, searched)
}

// positionOf returns the position of a page's cursor; 0 for "".
func (s sealer) positionOf(cursor string, about any) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	return s.position("cursor", cursor, about)
}
