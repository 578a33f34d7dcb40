package engine

import "slices"

// class is how soon a request is served.
type class uint8

const (
	Ordinary class = iota // updates
	Urgent                // updates that go ahead of all others
	lanes                 // what lanes write: much, and only their lane waits for it
	Chores                // want a transaction each; one goes between two others
	classes
)

// queue is what waits for the writer. A transaction takes in what is urgent, then ordinary updates
// and lanes' outcomes, of each as much as it has room for; so none of them keeps another from being
// served.
type queue struct {
	In      [classes]chan *Request
	waiting [classes][]*Request // the writer's
}

func newQueue() (q queue) {
	for c := range q.In {
		q.In[c] = make(chan *Request, 4*groupRequests)
	}
	return q
}

func (q *queue) add(r *Request) { q.waiting[r.Class] = append(q.waiting[r.Class], r) }

// gather takes over what callers have handed in, and reports whether anything waits.
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

// head is what the next transaction may take in, in order.
func (q *queue) head() []*Request {
	head := slices.Concat(q.waiting[Urgent], q.waiting[Ordinary])
	head = head[:min(len(head), groupRequests)]
	return append(head, q.waiting[lanes]...)
}

// chore is the one that is next, if any.
func (q *queue) chore() []*Request {
	c := q.waiting[Chores]
	return c[:min(len(c), 1)]
}

func (q *queue) forgetTaken() {
	for c := range q.waiting {
		q.waiting[c] = slices.DeleteFunc(q.waiting[c], func(r *Request) bool { return r.taken })
	}
}
