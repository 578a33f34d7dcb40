package manage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// A cursor is where a page ended, bound to the query and the account that it is of. It is opaque to
// callers. It holds no secret and gives no access: the scope is part of each query.

const cursorSum = 8 // bytes of the sum in a cursor

// cursorOf returns the cursor of a position; "" for position 0, which is the end.
func cursorOf(position int64, query any) string {
	if position == 0 {
		return ""
	}
	sum := sumOf(position, query)
	return base64.RawURLEncoding.EncodeToString(binary.AppendVarint(sum[:cursorSum:cursorSum], position))
}

// positionOf returns the position of a cursor; 0 for "".
func positionOf(cursor string, query any) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil && len(raw) > cursorSum {
		position, n := binary.Varint(raw[cursorSum:])
		sum := sumOf(position, query)
		if n == len(raw)-cursorSum && position > 0 && bytes.Equal(raw[:cursorSum], sum[:cursorSum]) {
			return position, nil
		}
	}
	return 0, problem("cursor", "it is not a cursor of this query")
}

func sumOf(position int64, query any) [sha256.Size]byte {
	text, err := json.Marshal(query)
	if err != nil {
		panic(fmt.Sprintf("a query that JSON cannot express: %v", err)) // queries are plain structs
	}
	return sha256.Sum256(fmt.Appendf(nil, "%d %s", position, text))
}
