package main

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// logStoreWarnings logs the store's warnings, and new ones while ctx lasts. It logs the first ones
// before it returns.
func logStoreWarnings(ctx context.Context, log *zap.Logger, warnings func() []string) {
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
