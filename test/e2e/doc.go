// Package e2e shows bellbuoy at work between real clients and real registries: each operation yields its webhooks and no other, also when a
// process is killed at the worst moment, a party lies or hangs, or the configuration changes underneath.
//
// A test sets a stage (stage_test.go): a registry or a ChartMuseum, bellbuoy as a process in front of it, and a receiver. It then plays a client
// and says which events have to come of it. Every webhook is compared in two formats: byte for byte in Harbor's, and field by field in
// bellbuoy's own, which tells everything. Each operation has a repository of its own, so that a stray webhook is traced to its cause, and a
// stage's last act is to wait for strays.
//
// A hinge (hinge_test.go) is a proxy between bellbuoy and the registry that holds, cuts or falsifies what passes; it stands for everything that
// can happen there.
package e2e
