package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/restore"
)

func (p *program) resumeCommand() *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use: "resume RUN", Short: "Go on with an unfinished restore", Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.runResume(cmd.Context(), args[0], o) },
	}
	cmd.Flags().StringVar(&o.from, "from", "", "`STORE` it restores from (default: the one it began with)")
	cmd.Flags().BoolVar(&o.force, "force", false, "let the database go live in spite of serious findings")
	p.closingFlags(cmd, &o.terminate, &o.yes, &o.dryRun)
	p.waitFlag(cmd)
	return cmd
}

func (p *program) runResume(ctx context.Context, name string, o restoreOptions) error {
	a, err := p.archive(ctx, o.from)
	if err != nil {
		return err
	}
	run, err := a.FindRestore(ctx, name)
	if err != nil {
		return err
	}
	if run.State == jobs.Done {
		return p.printStatus(ctx, a, run, nil)
	}
	asked, err := restore.RequestOf(run)
	if err != nil {
		return err
	}
	if o.from != "" {
		asked.From = o.from
	} else if asked.From != "" {
		if a, err = p.archive(ctx, asked.From); err != nil {
			return err
		}
	}
	point, err := a.Point(ctx, asked.Point)
	if err != nil {
		return err
	}
	job, err := a.Restore(ctx, point, restore.Options{Request: asked, Terminate: o.terminate, Force: o.force})
	if err != nil {
		return err
	}
	return p.carryOut(ctx, a, job, run.RunID, o)
}

// closing is what ends what can be done with a restore: undo, drop.
type closing struct {
	make        func(restore.Closing) jobs.Job
	would       func(restore.Closing, context.Context) ([]string, error)
	what        string // for the question
	yes, dryRun bool
}

func (p *program) undoCommand() *cobra.Command {
	terminate := false
	end := closing{what: "undo takes the restored database out of service", would: restore.Closing.WouldUndo}
	end.make = func(c restore.Closing) jobs.Job {
		c.Terminate = terminate
		return restore.NewUndo(c)
	}
	cmd := &cobra.Command{
		Use: "undo RUN", Short: "Bring back the database that was live before a restore", Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.close(cmd.Context(), args[0], end) },
	}
	p.closingFlags(cmd, &terminate, &end.yes, &end.dryRun)
	p.waitFlag(cmd)
	return cmd
}

func (p *program) dropCommand() *cobra.Command {
	now := false
	end := closing{what: "drop removes these databases for good", would: restore.Closing.WouldDrop}
	end.make = func(c restore.Closing) jobs.Job {
		c.Early = now
		return restore.NewDrop(c)
	}
	cmd := &cobra.Command{
		Use: "drop RUN", Short: "Remove what a restore left on the server", Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.close(cmd.Context(), args[0], end) },
	}
	cmd.Flags().BoolVar(&now, "now", false, "also the database that was live before, although it is to be kept longer")
	askingFlags(cmd, &end.yes, &end.dryRun)
	p.waitFlag(cmd)
	return cmd
}

// closed is an undo or drop that was only asked about, in JSON.
type closed struct {
	restore.Standing
	DryRun bool     `json:"dry_run"`
	Would  []string `json:"would"`
}

// close runs a job that ends what can be done with a restore.
func (p *program) close(ctx context.Context, name string, end closing) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	run, err := a.FindRestore(ctx, name)
	if err != nil {
		return err
	}
	c, err := a.Closing(run)
	if err != nil {
		return err
	}
	job := end.make(c)
	// Its plan reads only: what is refused is refused before anybody is asked.
	if _, err := job.Plan(ctx, &jobs.Run{}); err != nil {
		return err
	}
	found, err := c.Server.Databases(ctx)
	if err != nil {
		return err
	}
	before, err := standing(ctx, a, run, found)
	if err != nil {
		return err
	}
	if end.dryRun {
		would, err := end.would(c, ctx)
		if err != nil {
			return err
		}
		return p.print(closed{before, true, append([]string{}, would...)}, progress.Fold(before.String()+wouldText(would)))
	}
	p.aside(progress.Fold(before.String()) + "\n")
	if err := p.confirm(ctx, end.yes, a.Name, end.what); err != nil {
		return err
	}
	if _, err := a.Run(ctx, job, jobs.RunID{}); err != nil {
		return hinted{err, fmt.Sprintf("see restore status %s; the same command goes on", run)}
	}
	if run, err = a.FindRestore(ctx, run.String()); err != nil {
		return err
	}
	if found, err = c.Server.Databases(ctx); err != nil {
		return err
	}
	return p.printStatus(ctx, a, run, found)
}

// wouldText is what a dry run says below the standing.
func wouldText(lines []string) string {
	text := ""
	for _, l := range lines {
		text += fmt.Sprintf("  %-8s %s\n", "would", l)
	}
	return cmp.Or(text, fmt.Sprintf("  %-8s %s\n", "would", "do nothing: there is nothing left to do"))
}

// standing is where a restore stands, among those that came after it.
func standing(ctx context.Context, a *app.Archive, run *jobs.Run, found []synapse.Found) (restore.Standing, error) {
	later, err := restore.Later(ctx, a.Journal(), run)
	if err != nil {
		return restore.Standing{}, err
	}
	return restore.Status(a.Living(ctx, run), time.Now(), found, later...)
}

func (p *program) printStatus(ctx context.Context, a *app.Archive, run *jobs.Run, found []synapse.Found) error {
	s, err := standing(ctx, a, run, found)
	if err != nil {
		return err
	}
	return p.print(s, progress.Fold(s.String()))
}

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status [RUN]", Short: "Where a restore stands, and what to do", Args: between(0, 1),
		Long: `Where a restore stands, what it left on the server, and what to do. Without a name: the
newest, and all others that are unfinished or have left something.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return p.runStatus(cmd.Context(), name)
		},
	}
}

func (p *program) runStatus(ctx context.Context, name string) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	run, err := a.FindRestore(ctx, name)
	if err != nil {
		return err
	}
	found := p.databases(ctx, a)
	if name != "" {
		return p.printStatus(ctx, a, run, found)
	}
	return p.printAll(ctx, a, run, found)
}

// standings are those of the newest restore, and of others that are not over.
type standings struct {
	restore.Standing
	Others []restore.Standing `json:"others,omitempty"` // newest first
}

// printAll prints where the newest restore stands, and older ones that are
// unfinished or have left something: nobody else would remember them.
func (p *program) printAll(ctx context.Context, a *app.Archive, newest *jobs.Run, found []synapse.Found) (err error) {
	var all standings
	if all.Standing, err = standing(ctx, a, newest, found); err != nil {
		return err
	}
	text := progress.Fold(all.String())
	for run, err := range a.Journal().Runs(ctx, newest.Homeserver, restore.JobName) {
		if run == nil && err != nil {
			return err
		}
		if err != nil || run.RunID == newest.RunID {
			continue
		}
		s, err := standing(ctx, a, run, found)
		if err != nil {
			p.warn(err.Error())
			continue
		}
		if len(s.Leftovers) > 0 || s.Open {
			all.Others = append(all.Others, s)
			text += "\n" + progress.Fold(s.String())
		}
	}
	return p.print(all, text)
}

// databases are what the server has; nil where it can't be asked: the journal
// alone says much.
func (p *program) databases(ctx context.Context, a *app.Archive) []synapse.Found {
	c, err := a.Closing(nil)
	if err == nil {
		var found []synapse.Found
		if found, err = c.Server.Databases(ctx); err == nil {
			return found
		}
	}
	p.warn("the server can't be asked what is left there: " + err.Error())
	return nil
}
