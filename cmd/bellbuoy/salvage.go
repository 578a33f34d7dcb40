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
	c := &cobra.Command{Use: "salvage", Short: "Repair a damaged SQLite database", Args: cobra.NoArgs,
		Long: "Check the SQLite database of a stopped bellbuoy. If it is damaged, copy the rows that can be read into a new\n" +
			"one, and keep the damaged one beside it.",
		Example: "  bellbuoy salvage --data-dir /var/lib/bellbuoy",
		RunE:    func(c *cobra.Command, _ []string) error { return runSalvage(c.Context(), a) }}
	c.Flags().StringVar(&a.dataDir, "data-dir", "", "`DIRECTORY` of bellbuoy's data; by default data_dir of the configuration")
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
