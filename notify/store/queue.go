package store

import "slices"

// class is how soon a request is served.
type class uint8

const (
	ordinary class = iota // updates
	urgent                // updates that go ahead of all others
	lanes                 // outcomes and what else lanes write down: many, and nobody waits for them but their lane
	chores                // want a transaction each; one goes between two others
	classes
)

// queue is what waits for the writer. A transaction takes in what is urgent, then ordinary updates and lanes' outcomes, of each as
// much as it has room for; so none of them keeps another from being served.
type queue struct {
	in      [classes]chan *request
	waiting [classes][]*request // the writer's
}

func newQueue() (q queue) {
	for c := range q.in {
		q.in[c] = make(chan *request, 4*groupRequests)
	}
	return q
}

func (q *queue) add(r *request) { q.waiting[r.class] = append(q.waiting[r.class], r) }

// gather takes over what callers have handed in, and tells whether anything waits.
func (q *queue) gather() bool {
	some := false
	for c := range q.in {
		for more := true; more && len(q.waiting[c]) < groupRequests; {
			select {
			case r := <-q.in[c]:
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
	for c := range q.in {
		if len(q.in[c])+len(q.waiting[c]) > 0 {
			return false
		}
	}
	return true
}

// head is what the next transaction may take in, in order.
func (q *queue) head() []*request {
	head := slices.Concat(q.waiting[urgent], q.waiting[ordinary])
	head = head[:min(len(head), groupRequests)]
	return append(head, q.waiting[lanes]...)
}

// chore is the one that is next, if any.
func (q *queue) chore() []*request {
	c := q.waiting[chores]
	return c[:min(len(c), 1)]
}

func (q *queue) forgetTaken() {
	for c := range q.waiting {
		q.waiting[c] = slices.DeleteFunc(q.waiting[c], func(r *request) bool { return r.taken })
	}
}
