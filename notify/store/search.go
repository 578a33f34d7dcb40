package store

import "time"

// DeliverySearch selects deliveries, newest first; zero fields select all.
//
// The store does not know what an event means: Repositories and Projects select every event that
// may be of one of them, and the caller tests the events themselves.
type DeliverySearch struct {
	IDs          []int64
	EventID      string
	Webhooks     []string // nil: all; otherwise those of one of these
	States       []State
	Types        []string // of the event
	Repositories []string // of the event, as stored
	Projects     []string // of the event: the first segment of its repository, or unknown
	Since        time.Time
	Until        time.Time
	BeforeID     int64
	Limit        int // 0: 100
	Most         int // rows to test; 0: SearchMost
}

// FoundDeliveries is a page of what a DeliverySearch selects.
type FoundDeliveries struct {
	Deliveries []Delivery
	// Next is the BeforeID of the next page; 0: this is the last.
	Next int64
	// LookedTo is when the last tested row was created, if the page ended because the search
	// had tested as many rows as it may.
	LookedTo time.Time
}

// EventSearch selects events, newest first; zero fields select all. Projects and Repositories are
// as in DeliverySearch.
type EventSearch struct {
	Types        []string
	Upstream     string
	Repositories []string
	Projects     []string
	Since        time.Time
	Until        time.Time
	Before       int64 // Seq <; 0: none
	Limit        int   // 0: 100
	Most         int   // rows to test; 0: SearchMost
}

// FoundEvents is a page of what an EventSearch selects.
type FoundEvents struct {
	Events []Event
	// Next is the Before of the next page; 0: this is the last.
	Next int64
	// LookedTo is the time of the last tested event, if the page ended because the search had
	// tested as many rows as it may.
	LookedTo time.Time
}

// SearchMost is the usual bound of the rows that a search tests for one page.
const SearchMost = 4000
