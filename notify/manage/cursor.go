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

// A cursor is where a page ended, or where a stream of events goes on. It is bound to the query and
// the scope that it is of, and gives no access: the scope is part of each query. It is encrypted,
// because positions are numbers that count the events of all projects: an account limited to some
// must not see from them how much happens in the others.
//
// A cursor is one block of AES: the position, a sum of what it is bound to, and a salt. Without the
// key it shows only whether two cursors are equal. The salt is random where the position may be of
// another project's event; otherwise it is 0, so that a page that did not change is the same text.

const (
	kindCursor = "manage.cursor" // ID: cursorKey; value: the key, which all replicas use
	cursorKey  = "key"

	cursorSum  = 4 // bytes of the sum
	cursorSize = aes.BlockSize
)

// streamCursor is what the cursors of streams are bound to.
const streamCursor = "stream"

// Cursors encrypt positions, with a key in the store. NewCursors makes one.
type Cursors struct {
	rows notify.Rows

	mu    sync.Mutex
	block cipher.Block // nil: the key was not read yet
}

// NewCursors returns Cursors whose key is in rows, or made there when it is first needed.
func NewCursors(rows notify.Rows) *Cursors { return &Cursors{rows: rows} }

// sealer returns what makes and reads cursors.
func (c *Cursors) sealer(ctx context.Context) (sealer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.block != nil {
		return sealer{c.block}, nil
	}
	var key []byte
	at := store.Key{Kind: kindCursor, ID: cursorKey}
	err := c.rows.Update(ctx, []string{kindCursor}, func(tx store.Tx) error {
		row, there, err := tx.Get(at)
		if err != nil || there {
			key = bytes.Clone(row.Value)
			return err
		}
		key = make([]byte, 16)
		_, _ = rand.Read(key) // never fails
		tx.Put(store.Row{Key: at, Value: key})
		return nil
	})
	if err != nil {
		return sealer{}, fmt.Errorf("reading the key of cursors: %w", err)
	}
	if c.block, err = aes.NewCipher(key); err != nil {
		return sealer{}, fmt.Errorf("the key of cursors: %w", err)
	}
	return sealer{c.block}, nil
}

type sealer struct{ cipher.Block }

// cursor returns the cursor of a position. If secret is set, two cursors of a position differ.
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

// position returns the position of a cursor that is bound to about.
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
		panic(fmt.Sprintf("a query that JSON cannot express: %v", err)) // queries are plain structs
	}
	sum := sha256.Sum256(text)
	return sum[:cursorSum]
}

// cursorOf returns the cursor of the next page, which begins at a position; "" for position 0:
// there is none. searched: the page ended because enough was tested, and so at any project's event.
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
