// Package events runs real clients against real registries and ChartMuseums through the real
// bellbuoy. It checks that each operation causes its webhook, and no other.
//
// Each client has one script: its commands, and after each of them the events that bellbuoy must
// send. The scripts run at once, each in repositories of its own, at every registry and login that
// they fit (stage_test.go). Those of images_test.go and museum_test.go compare every field of an
// event and every byte of Harbor's body, the others tag, digest and operator. A program that this
// machine cannot start is skipped, with the reason; the recorded traffic of test/replay covers it.
package events
