// Package deploy holds the tests of what is in deploy/ and of the image: that Prometheus, Compose,
// buildah and goreleaser take it, and that it fits the bellbuoy of this tree. The chart's tests are
// in test/helm, because Helm is a module of its own.
package deploy
