// Package dataplane tests the data plane of bellbuoy as a process: what its sockets do with what
// clients, load balancers, operators and attackers send there. Events are the subject of
// test/events.
//
//	wire_test.go         requests that could be read in two ways, byte for byte, at the real
//	                     registry
//	frames_test.go       the same frame by frame over HTTP/2
//	floods_test.go       what one HTTP/2 connection can do to all others
//	strangers_test.go    what anybody can send costs neither memory nor disk
//	tls_test.go          TLS at bellbuoy, in front of it and nowhere; certificates that change
//	conformance_test.go  the OCI conformance program: the same through bellbuoy as without it
//	front_test.go        real load balancers in front: forwarding headers, PROXY protocol
//	limits_test.go       clients and upstreams that are slow, silent or gone; nothing of them
//	                     is left
//	answers_test.go      answers of all kinds, early ones too
//	operate_test.go      logs, metrics, request ids, profiles
//	restart_test.go      stops, restarts and rolling updates under load
//
// stage_test.go and process_test.go set up what they share. A tap (tap_test.go) stands between
// bellbuoy and the registry and keeps every byte that bellbuoy sends there.
package dataplane
