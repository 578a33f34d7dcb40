package proxy

import (
	"net/netip"
	"strings"
	"sync"
)

// budget bounds the memory of the copies of all bodies, and of those of one client. Small bodies
// have a bound of their own, so that large ones leave room for them: nearly all manifests are
// small.
type budget struct {
	mu           sync.Mutex
	small, large pool
}

const (
	smallBody = 64 << 10 // a copy up to this length is a small one

	keptLarge       = 128 << 20 // bytes of large copies at one time
	keptLargeClient = 40 << 20  // … of one client: a chart of 20 MiB that outgrows a copy of 16 MiB
	keptSmall       = 32 << 20  // bytes of small copies at one time
	keptSmallClient = 8 << 20   // … of one client
)

// pool is one kind of memory. The budget's mutex guards it.
type pool struct {
	most, mostOfClient int64 // bytes
	used               int64
	byClient           map[string]int64 // by shareOf
}

func newBudget() *budget {
	return &budget{
		small: pool{most: keptSmall, mostOfClient: keptSmallClient, byClient: map[string]int64{}},
		large: pool{most: keptLarge, mostOfClient: keptLargeClient, byClient: map[string]int64{}},
	}
}

// take takes size bytes for a copy of a client's body. It reports whether there were enough.
func (b *budget) take(client string, size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(size).take(client, size)
}

// give gives back what take took.
func (b *budget) give(client string, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(size).give(client, size)
}

func (b *budget) of(size int64) *pool {
	if size <= smallBody {
		return &b.small
	}
	return &b.large
}

func (p *pool) take(client string, size int64) bool {
	if p.used+size > p.most || p.byClient[client]+size > p.mostOfClient {
		return false
	}
	p.used += size
	p.byClient[client] += size
	return true
}

func (p *pool) give(client string, size int64) {
	p.used -= size
	if p.byClient[client] -= size; p.byClient[client] <= 0 {
		delete(p.byClient, client)
	}
}

// shareOf returns the name under which a client's part of the budget is counted: its address, or
// the network of an IPv6 address, because one host can use all addresses of its network.
func shareOf(address string) string {
	if !strings.Contains(address, ":") {
		return address
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	const network = 64 // bits
	p, _ := a.WithZone("").Prefix(network)
	return p.String()
}
