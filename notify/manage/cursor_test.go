package manage

import (
	"context"
	"errors"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// fullRows are rows of a store that can be read and not written.
type fullRows struct{ notify.Rows }

func (fullRows) Update(context.Context, []string, func(store.Tx) error) error {
	return errors.New("disk is full")
}

// Lists work before the store has a key, and their cursors lead to the next page.
func TestCursorsOfAFullDisk(t *testing.T) {
	c := NewCursors(fullRows{})
	first, err := c.sealer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cursor := first.cursorOf(7, "query", false)
	again, err := c.sealer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if position, err := again.positionOf(cursor, "query"); position != 7 || err != nil {
		t.Errorf("the next page begins at %d (%v), want 7", position, err)
	}
}
