package engine

import "slices"

// class says how soon a request is served.
type class uint8

const (
	Ordinary class = iota // updates
	Urgent                // updates that are served before all others
	lanes                 // outcomes of lanes: many, and only their lane waits for them
	Chores                // each needs a transaction of its own; one runs between two others
	classes
)

// queue has the requests that wait for the writer. A transaction takes urgent requests first, then
// ordinary updates and outcomes of lanes, of each as many as it has room for, so that no class
// blocks another.
type queue struct {
	In      [classes]chan *Request
	waiting [classes][]*Request // used by the writer alone
}

func newQueue() (q queue) {
	for c := range q.In {
		q.In[c] = make(chan *Request, 4*groupRequests)
	}
	return q
}

func (q *queue) add(r *Request) { q.waiting[r.Class] = append(q.waiting[r.Class], r) }

// gather moves the requests that callers have added to waiting, and reports whether there are any.
func (q *queue) gather() bool {
	some := false
	for c := range q.In {
		for more := true; more && len(q.waiting[c]) < groupRequests; {
			select {
			case r := <-q.In[c]:
				q.add(r)
			default:
				more = false
			}
		}
		some = some || len(q.waiting[c]) > 0
	}
	return some
}

func (q *queue) empty() bool {
	for c := range q.In {
		if len(q.In[c])+len(q.waiting[c]) > 0 {
			return false
		}
	}
	return true
}

// head returns the requests that the next transaction may take, in order.
func (q *queue) head() []*Request {
	head := slices.Concat(q.waiting[Urgent], q.waiting[Ordinary])
	head = head[:min(len(head), groupRequests)]
	return append(head, q.waiting[lanes]...)
}

// chore returns the next chore, if there is one.
func (q *queue) chore() []*Request {
	c := q.waiting[Chores]
	return c[:min(len(c), 1)]
}

func (q *queue) forgetTaken() {
	for c := range q.waiting {
		q.waiting[c] = slices.DeleteFunc(q.waiting[c], func(r *Request) bool { return r.taken })
	}
}
