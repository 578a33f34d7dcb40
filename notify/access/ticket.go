package access

import (
	"sync"
	"time"
)

const (
	ticketFor   = time.Minute
	mostTickets = 64
)

// tickets holds the unused tickets of `bellbuoy console`. Each is valid for one login on this
// replica.
type tickets struct {
	mu   sync.Mutex
	ends map[string]time.Time // by the hash of the ticket
}

// make returns a new ticket. If there are too many, it removes the oldest.
func (t *tickets) make(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	oldest := ""
	for id, end := range t.ends {
		if !now.Before(end) {
			delete(t.ends, id)
		} else if oldest == "" || end.Before(t.ends[oldest]) {
			oldest = id
		}
	}
	if len(t.ends) >= mostTickets {
		delete(t.ends, oldest)
	}
	if t.ends == nil {
		t.ends = map[string]time.Time{}
	}
	key := newSecret()
	t.ends[key.id()] = now.Add(ticketFor)
	return key.String()
}

// use reports whether a ticket is valid, and removes it.
func (t *tickets) use(ticket string, now time.Time) bool {
	key, ok := parseSecret(ticket)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	end, ok := t.ends[key.id()]
	delete(t.ends, key.id())
	return ok && now.Before(end)
}

// Ticket returns a ticket for one LogInOnce within a minute.
func (d *Door) Ticket() string { return d.tickets.make(time.Now()) }
