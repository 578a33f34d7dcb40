// Package deploy tests deploy/ and the image: Prometheus, Compose, buildah and goreleaser accept
// the files, and these fit the bellbuoy of this tree. The chart's tests are in test/helm, because
// Helm needs a module of its own.
package deploy
