// Package events runs real clients against real registries and ChartMuseums through the real
// bellbuoy, and checks that each thing they do is one webhook, and nothing else.
//
// Each client brings a script of what it does, and says with every step what bellbuoy must tell of
// it: tag, digest and operator (stage_test.go); the scripts run at once, each in repositories of
// its own, at every registry and login that they fit. What every field of an event and every byte
// of Harbor's body must be is shown by the clients of images_test.go and museum_test.go, on a
// harness.Stage. What no machine can start is skipped, with the reason: the recorded traffic of
// test/replay covers it.
package events
