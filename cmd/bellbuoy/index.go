package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/notify/api"
)

func newIndexCommand(a *app) *cobra.Command {
	var r api.V1Index
	c := &cobra.Command{Use: "index [UPSTREAM [REPOSITORY…]]", Short: "Read what a registry already holds",
		Long: "Read the catalog, tags and manifests of the registries, of one UPSTREAM, or of some of its repositories. Then\n" +
			"events also name the tags of a deleted artifact and the earlier digest of a moved tag for what was pushed\n" +
			"before bellbuoy was installed, and quotas count it.\n\n" +
			"It raises no events. A run that was interrupted continues where it stopped when it is started again.",
		Example: "  bellbuoy index\n  bellbuoy index registry team/app team/base",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				r.Upstream, r.Repositories = args[0], args[1:]
			}
			return runIndex(c.Context(), a, r)
		}}
	c.Flags().BoolVar(&r.Heads, "heads", false, "read only tags and digests, no manifests: a registry may count the GET of a manifest as a pull")
	return c
}

func runIndex(ctx context.Context, a *app, r api.V1Index) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, "POST", v1("/index"), nil, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	show := newProgress(a)
	var last api.V1IndexLine
	err = lines(resp.Body, func(l api.V1IndexLine) error {
		if l.Skip != "" {
			fmt.Fprintln(terminalWriter{a.Stderr}, "skipped:", l.Skip)
			return nil
		}
		last = l
		show.at(l)
		return nil
	})
	show.end()
	switch {
	case err != nil:
		return err
	case last.Error != "":
		return errors.New(last.Error)
	case !last.Done:
		return errors.New("bellbuoy stopped; run this again to continue")
	}
	fmt.Fprintf(a.Stdout, "repositories: %d, tags read: %d, skipped: %d\n", last.RepositoriesDone, last.Tags, last.Skipped)
	return nil
}

// progress is a progress bar on a terminal, and does nothing elsewhere.
type progress struct {
	all  *mpb.Progress
	bar  *mpb.Bar
	last atomic.Pointer[api.V1IndexLine] // the bar is drawn by its own goroutine
}

func newProgress(a *app) *progress {
	p := &progress{}
	p.last.Store(&api.V1IndexLine{})
	if !terminal(a.Stderr) {
		return p
	}
	p.all = mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(40))
	p.bar = p.all.AddBar(0,
		mpb.PrependDecorators(decor.CountersNoUnit("%d / %d repositories ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			l := p.last.Load()
			return fmt.Sprintf("%d tags, %.0f/s ", l.Tags, l.Rate)
		}), decor.AverageETA(decor.ET_STYLE_GO)))
	return p
}

func (p *progress) at(l api.V1IndexLine) {
	if p.bar == nil {
		return
	}
	p.last.Store(&l)
	p.bar.SetTotal(int64(l.Repositories), l.Done)
	p.bar.SetCurrent(int64(l.RepositoriesDone))
}

func (p *progress) end() {
	if p.bar == nil {
		return
	}
	p.bar.Abort(false)
	p.all.Wait()
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
