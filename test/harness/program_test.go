package harness

import (
	"errors"
	"io"
	"slices"
	"testing"
)

func TestProgramCleansUpAndReports(t *testing.T) {
	var order []int
	run := func(fail bool) error {
		return Within(t.Context(), io.Discard, func(p *Program) {
			p.Cleanup(func() { order = append(order, 1) })
			p.Cleanup(func() { order = append(order, 2) })
			if fail {
				p.Fatalf("sunk: %w", io.ErrUnexpectedEOF)
			}
		})
	}
	if err := run(true); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got the error %v", err)
	}
	if err := run(false); err != nil {
		t.Errorf("got the error %v", err)
	}
	if !slices.Equal(order, []int{2, 1, 2, 1}) {
		t.Errorf("cleaned up in the order %v", order)
	}
}
