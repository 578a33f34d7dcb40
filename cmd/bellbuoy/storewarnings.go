package main

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// logStoreWarnings logs the store's warnings before it returns, and new ones until ctx ends.
func logStoreWarnings(ctx context.Context, log *zap.Logger, warnings func() []string) {
	logged := 0
	logNew := func() {
		for _, text := range warnings()[logged:] {
			log.Warn("store", zap.String("warning", text))
			logged++
		}
	}
	logNew()
	go func() {
		ticker := time.NewTicker(5 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				logNew()
			case <-ctx.Done():
				return
			}
		}
	}()
}
