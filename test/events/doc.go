// Package events runs real clients against real registries and ChartMuseums through the real
// bellbuoy, and checks that each thing they do is one webhook, and nothing else.
//
// Each client has one script: what it does, and with every step what bellbuoy must tell of it. The
// scripts run at once, each in repositories of its own, at every registry and login that they fit
// (stage_test.go). Those of images_test.go and museum_test.go compare every field of an event and
// every byte of Harbor's body, the others tag, digest and operator. A program that this machine
// cannot start is skipped, with the reason; the recorded traffic of test/replay covers it.
package events
