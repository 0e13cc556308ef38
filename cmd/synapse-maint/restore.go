package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/restore"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

type restoreOptions struct {
	from, at, mode string
	request        restore.Request
	terminate      bool
	force          bool
	keepOld        time.Duration
	dryRun, yes    bool
}

const restoreHelp = `Brings a homeserver back from a recovery point: the database, the media files, and, to a
folder named by --secrets-path, signing key and configuration.

  swap      (default) loads beside the live database, checks what it loaded, and then renames;
            the database that was live before is kept, and restore undo brings it back
  in-place  drops the live database, then loads: for a server without room for two
  beside    loads into a database named by --target-database, and touches nothing else: media
            are restored where --media-path names a folder for them

Of the media, files that are missing or differ are written, before the database goes live;
nothing is deleted unless --delete-extra says so, and then only files of Synapse's classes
that the point has: what else lies in the folder stays. --media-only without --only restores
these media and nothing else.

The plan is printed first. What can't work is refused before anything is touched. Killed or
interrupted, the same command goes on where it stopped.`

func (p *program) restoreCommand() *cobra.Command {
	o := restoreOptions{at: "latest", mode: string(synapse.ModeSwap)}
	cmd := &cobra.Command{
		Use:   "restore [--from STORE] [--at latest|ID|TIME] [--mode swap|in-place|beside]",
		Short: "Recover the homeserver",
		Long:  restoreHelp,
		Args:  unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.keepOld < 0 || o.keepOld == 0 && cmd.Flags().Changed("keep-old") {
				return app.Usagef("restore: --keep-old %s: it is more than 0; restore drop --now removes the old database at once", o.keepOld)
			}
			return p.runRestore(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "`STORE` to restore from, name or URL (default: the homeserver's)")
	f.StringVar(&o.at, "at", o.at, "recovery point: latest, an `ID` or its beginning, or a time (the newest at or before it)")
	f.StringVar(&o.mode, "mode", o.mode, "swap, in-place or beside")
	f.StringVar(&o.request.Target, "target-database", "", "`NAME` of the database to load, for beside")
	f.StringSliceVar(&o.request.Tables, "tables", nil, "only these tables, for beside")
	f.StringVar(&o.request.Owner, "owner", "", "`ROLE` that owns the result (default: the live database's owner)")
	f.BoolVar(&o.request.SkipDamaged, "skip-damaged", false, "leave damaged tables empty instead of refusing")
	f.BoolVar(&o.request.KeepOTK, "keep-one-time-keys", false, "keep one-time keys that the recovery point has: messages may become unreadable")
	f.StringSliceVar(&o.request.Only, "only", nil, "only these `PARTS`: database, media, secrets")
	f.StringVar(&o.request.MediaPath, "media-path", "", "`DIR` to restore the media to (default: the configured media folder; for beside, none)")
	f.StringSliceVar(&o.request.MediaOnly, "media-only", nil, "of the media only these classes, folders or files (`PATHS` below the media folder), and without --only nothing else")
	f.BoolVar(&o.request.CheckAll, "check-all", false, "compare the bytes of media whose size and time are right, too")
	f.BoolVar(&o.request.DeleteExtra, "delete-extra", false, "delete media of Synapse's classes that the point does not have")
	f.StringVar(&o.request.SecretsPath, "secrets-path", "", "`DIR` to write the secrets to: new, or empty")
	f.BoolVar(&o.force, "force", false, "let the database go live in spite of serious findings")
	f.DurationVar(&o.keepOld, "keep-old", 0, "how long the database that was live is kept (default 72h)")
	p.closingFlags(cmd, &o.terminate, &o.yes, &o.dryRun)
	p.waitFlag(cmd)
	cmd.AddCommand(p.resumeCommand(), p.undoCommand(), p.dropCommand(), p.statusCommand())
	return cmd
}

// closingFlags are those of everything that takes databases away from their
// users.
func (*program) closingFlags(cmd *cobra.Command, terminate, yes, dryRun *bool) {
	cmd.Flags().BoolVar(terminate, "terminate-sessions", false, "end the sessions on the live database")
	askingFlags(cmd, yes, dryRun)
}

// askingFlags are those of what asks before it does anything.
func askingFlags(cmd *cobra.Command, yes, dryRun *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "don't ask")
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "only say what would be done")
}

func (p *program) runRestore(ctx context.Context, o restoreOptions) error {
	o.request.Mode, o.request.From = synapse.Mode(o.mode), o.from
	switch o.request.Mode {
	case synapse.ModeSwap, synapse.ModeInPlace, synapse.ModeBeside:
	default:
		return app.Usagef("--mode %s: it is swap, in-place or beside", o.mode)
	}
	if err := onlyMedia(&o.request); err != nil {
		return err
	}
	a, err := p.archive(ctx, o.from)
	if err != nil {
		return err
	}
	point, err := a.Point(ctx, o.at)
	if err != nil {
		return err
	}
	job, err := a.Restore(ctx, point, restore.Options{
		Request: o.request, Terminate: o.terminate, Force: o.force, KeepOld: o.keepOld,
	})
	if err != nil {
		return err
	}
	id, others, err := job.ID(ctx, a.Journal())
	if err != nil {
		return err
	}
	for _, run := range others {
		how := "unfinished"
		if a.Living(ctx, run).State == jobs.Running {
			how = "at work"
		}
		p.warn(fmt.Sprintf("%s is %s; see restore status %s", run, how, run))
	}
	return p.carryOut(ctx, a, job, id, o)
}

// onlyMedia lets --media-only stand for the media alone: who wants one picture
// back wants no other database. What else is asked for has to be named.
func onlyMedia(r *restore.Request) error {
	switch {
	case len(r.MediaOnly) == 0 || slices.Contains(r.Only, archive.PartMedia):
		return nil
	case len(r.Only) > 0:
		return app.Usagef("restore: --media-only is of the media, which --only %s leaves out", strings.Join(r.Only, ","))
	case r.Target != "" || len(r.Tables) > 0 || r.SecretsPath != "":
		return app.Usagef("restore: --media-only restores media and nothing else: name with --only what else is to come back")
	}
	r.Only = []string{archive.PartMedia}
	return nil
}

// restored is a restore in JSON.
type restored struct {
	Plan   *restore.Blueprint `json:"plan"`
	DryRun bool               `json:"dry_run,omitempty"`
	State  jobs.State         `json:"state,omitempty"`
	Error  string             `json:"error,omitempty"`
	Status *restore.Standing  `json:"status,omitempty"`
	Steps  []jobs.StepRecord  `json:"steps,omitempty"`
}

// carryOut shows the plan, asks, and runs it.
func (p *program) carryOut(ctx context.Context, a *app.Archive, job *restore.Job, id jobs.RunID, o restoreOptions) error {
	run, err := a.Journal().Open(ctx, id)
	if err != nil {
		return err
	}
	p.report.Start("restore, plan")
	plan, err := job.Blueprint(ctx, run)
	p.report.Stop()
	if err != nil {
		return a.Keyed(err)
	}
	refusal := plan.Refusal()
	if o.dryRun || refusal != nil {
		if perr := p.print(restored{Plan: plan, DryRun: o.dryRun}, progress.Fold(plan.String())); perr != nil {
			return perr
		}
		return refusal
	}
	p.aside(progress.Fold(plan.String()) + "\n")
	if what := plan.Destroys(); what != "" {
		if err := p.confirm(ctx, o.yes, a.Name, what); err != nil {
			return err
		}
		job.ConfirmedDrop = true
	}
	run, err = a.Run(ctx, job, id)
	if run == nil {
		return readOnly(err)
	}
	var found []synapse.Found
	if plan.Database != "" && ctx.Err() == nil {
		found = p.databases(ctx, a) // it has left the old one, or a half-loaded one
	}
	standing, serr := restore.Status(run, time.Now(), found)
	if serr != nil {
		return cmp.Or(err, serr)
	}
	if perr := p.print(restored{Plan: plan, State: run.State, Error: run.Error, Status: &standing, Steps: run.Steps}, progress.Fold(standing.String())); perr != nil {
		return perr
	}
	if err != nil {
		hint := standing.Says
		if len(standing.Next) > 0 {
			hint += "; next: synapse-maint " + standing.Next[0]
		}
		return hinted{err, hint}
	}
	return nil
}

// readOnly says what else there is where a store may only be read, as after an
// intrusion: without lock and journal a killed restore could not go on, and two
// would be in each other's way.
func readOnly(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; a restore keeps its lock and journal in a store: name one that can be written with --store (init makes it) and this one with --from; "+
		"export, and rescue.sh, need none", err)
}

// aside shows a plan: beside the result where that is JSON.
func (p *program) aside(text string) {
	if p.globals.output == "json" {
		fmt.Fprint(p.err, text)
		return
	}
	fmt.Fprint(p.out, text)
}
