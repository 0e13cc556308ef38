package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/copies"
)

func (p *program) copyCommand() *cobra.Command {
	var q app.CopyRequest
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "copy --to STORE [POINT…]",
		Short: "Copy recovery points to another store",
		Long: `Copies recovery points, the newest if none is named, to another store, and makes the archive
there if there is none. What is stored is copied as it is, checked against its names: that
needs no key that opens data. To an archive with other keys points are read and encrypted
anew, which takes an --identity that opens them. What is there already is not sent again.`,
		Args: between(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Points = args
			return p.runCopy(cmd.Context(), q, dryRun)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.From, "from", "", "`STORE` to copy from, name or URL (default: the homeserver's)")
	f.StringVar(&q.To, "to", "", "`STORE` to copy to, name or URL")
	f.BoolVar(&q.All, "all", false, "every point")
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be copied")
	p.waitFlag(cmd)
	return cmd
}

func (p *program) runCopy(ctx context.Context, q app.CopyRequest, dryRun bool) error {
	switch {
	case q.To == "":
		return app.Usagef("copy: where to? Name a store with --to")
	case q.All && len(q.Points) > 0:
		return app.Usagef("copy: --all is every point: name none beside it")
	case !q.All && len(q.Points) == 0:
		q.Points = []string{"latest"}
	}
	a, err := p.app()
	if err != nil {
		return err
	}
	c, err := a.Copy(ctx, q)
	if err != nil {
		return err
	}
	do := c.Run
	if dryRun {
		do = c.Preview
	}
	r, err := do(ctx)
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
		return hinted{err, "points that were copied are whole; run it again: what is there is not sent again"}
	}
	if perr := p.print(r, copyText(r)); perr != nil {
		return perr
	}
	return err
}

func copyText(r copies.Result) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	verb := "Copied"
	if r.DryRun {
		verb = "Would copy"
	}
	fmt.Fprintf(&b, "%s from %s to %s\n", verb, r.From, r.To)
	for _, pt := range r.Points {
		switch {
		case pt.Error != "":
			line("FAILED", "%s: %s", pt.ID, pt.Error)
		case pt.There:
			line("point", "%s was there already", pt.ID)
		case pt.As != "" && pt.As != pt.ID:
			line("point", "%s, there as %s", pt.ID, pt.As)
		default:
			line("point", "%s", pt.ID)
		}
	}
	for _, pt := range r.Points {
		for _, l := range pt.Left {
			line("without", "%s: %s (%s)", l.Part, l.Why, pt.ID)
		}
	}
	how := "as they are stored"
	if r.Recoded {
		how = "read, and stored under the keys of the other archive"
	}
	line("size", "%s, %s, %s", jobs.Count(int64(r.Packs), "pack"), jobs.Size(r.Bytes), how)
	for _, w := range r.Warnings {
		line("warning", "%s", w)
	}
	if !r.DryRun {
		line("time", "%s", progress.Duration(time.Duration(r.Seconds*float64(time.Second))))
	}
	return progress.Fold(b.String())
}
