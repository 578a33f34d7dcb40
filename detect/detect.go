// Package detect is the vocabulary of what registry and chart traffic means.
//
// A request line becomes a Request (Classify, a pure function of method, path and query). The proxy
// adds the client, the answer and the bodies, as far as they are kept: that is an Operation. What
// operations add up to is an Event, something that happened at an upstream. Package detect/track
// makes events out of operations.
//
// The rest of the package reads what the bodies hold and what the answers say:
//
//	ReadManifest              what an image, an artifact or an index says of itself
//	ReadChart, ReadUpload     what a chart archive, or a form with archives, holds
//	IndexedCharts             what a chart repository's index.yaml lists
//	TokenName, Evidence       which names the traffic carries, and whether the upstream checks
//	                          them
//	Ledger                    where the tracker keeps what must survive a crash
//
// All of these readers are given bytes that strangers chose: each has a bound for what it reads and
// for what it keeps (docs/inputs.md).
//
// detect imports nothing of ours, opens no connection and writes no log.
package detect
