// Package faults shows that no event is lost or sent twice when something fails: bellbuoy, its
// upstream, its database or its disk fails at the worst moment, or a server hangs, refuses or sends
// wrong data.
//
// Each known failure has a test of its own: bellbuoy killed at each point of a write
// (kill_test.go), each unknown outcome alone (outcomes_test.go), upstreams that are slow, dying,
// wrong or down (upstreams_test.go), a failing store (failures_test.go), bad receivers beside good
// ones (receivers_test.go, crowd_test.go), and secrets that must stay secret (leak_test.go).
//
// TestChaos and TestChaosReplicas cause failures at random while clients push and delete. The
// upstream (gateway) decides what was done: each try of a client has an id of its own
// (X-Request-Id), the upstream records the ids of the requests that it has executed, and each event
// names the id of the request that caused it.
//
//	worker ──► bellbuoy (killed) ──► gateway (faults, commits) ──► registry, ChartMuseum
//	               │
//	               ▼
//	             hooks (fail in every way)        check: deeds × commits × arrivals
//
// BELLBUOY_CHAOS is the duration of the failures: about a minute unless it is set, 20 minutes in
// make chaos.
package faults
