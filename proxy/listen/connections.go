package listen

import (
	"context"
	"sync"
)

// connections counts the open connections, and makes those beyond the limit wait.
type connections struct {
	mu      sync.Mutex
	changed *sync.Cond // count, limit or over
	count   int
	limit   int // 0: none
	over    bool
	ctx     context.Context
	cancel  context.CancelFunc
}

// acquire waits until there may be one more. It reports false if close was called before.
func (c *connections) acquire() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.limit > 0 && c.count >= c.limit {
		if c.over {
			return false
		}
		c.changed.Wait()
	}
	c.count++
	return true
}

func (c *connections) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count--
	c.changed.Signal()
}

func (c *connections) allow(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
	c.changed.Broadcast()
}

// done returns a context that ends with close.
func (c *connections) done() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if c.over {
			c.cancel()
		}
	}
	return c.ctx
}

func (c *connections) close() {
	ctx := c.done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.changed.Broadcast()
	if ctx.Err() == nil {
		c.cancel()
	}
}
