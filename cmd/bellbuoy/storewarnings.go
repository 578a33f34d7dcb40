package main

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// tellWarnings logs what a store has to say to the operator, and what it adds while ctx lasts: a file can be found damaged while it is in use.
// The first ones are logged before it returns.
func tellWarnings(ctx context.Context, log *zap.Logger, warnings func() []string) {
	told := 0
	tell := func() {
		for _, text := range warnings()[told:] {
			log.Warn("store", zap.String("warning", text))
			told++
		}
	}
	tell()
	go func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell()
			case <-ctx.Done():
				return
			}
		}
	}()
}
