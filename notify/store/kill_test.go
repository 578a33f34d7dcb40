package store

// writeUntilKilled is what a writer process of the crash test does.
func writeUntilKilled() {}
