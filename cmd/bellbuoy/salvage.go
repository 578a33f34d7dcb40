package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
)

func newSalvageCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "salvage", Short: "Check the SQLite file of a stopped bellbuoy, and recover the readable rows of a damaged one", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runSalvage(c.Context(), a) }}
	c.Flags().StringVar(&a.dataDir, "data-dir", "", "`directory` of bellbuoy's data; default: data_dir of the configuration")
	_ = c.MarkFlagDirname("data-dir") // fails only without the flag
	return c
}

func runSalvage(ctx context.Context, a *app) error {
	dir, _, err := a.findDataDir()
	if err != nil {
		return err
	}
	done, err := sqlite.Salvage(ctx, dir)
	switch {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("%w: stop it first", err)
	case err != nil:
		return err
	case done.Aside == "":
		fmt.Fprintln(a.Stdout, "The database file is intact.")
		return nil
	}
	fmt.Fprintf(a.Stdout, "The database file was damaged. %d rows were recovered into a new one; the damaged one is kept as\n%s\n", done.Rows, done.Aside)
	for _, table := range done.Lost {
		fmt.Fprintf(a.Stdout, "Some rows are lost: %s\n", table)
	}
	return nil
}
