// Package detect works out what registry and chart traffic means, and nothing else.
//
// The path of the data:
//
//	Classify      one request line becomes a Request (pure)
//	Operation     the Request with its client, answer and bodies, filled in by the proxy as the transfer goes on
//	Tracker       what the operations of one client in one repository add up to: Events
//	Ledger        where the Tracker keeps what must survive a crash; cmd wires the outbox to it
//
// Writes go through Tracker.Intend (before the last byte goes upstream) and Tracker.Settle (before the client gets its
// answer); reads are observed by Tracker.Start, Tracker.Answered and Tracker.End, which never block and never fail.
// What waits for a later request is durable when it is a push (a row of the Ledger) and bounded memory when it is a pull.
//
// detect imports nothing of ours, opens no connection and writes no log.
package detect
