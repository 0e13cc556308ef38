// Package prune is the job that applies retention: it chooses the recovery
// points that no rule wants, drops them, and lets the archive remove, in its own
// time, what only they needed.
//
// It deletes nothing while backups fail, nothing when the clock looks wrong, and
// never the newest good point of any part, nor the newest that has more of it
// than those after it.
//
// It imports jobs, storage and storage/archive. Which object goes, and when, is
// the archive's to decide (storage/archive, FORMAT.md).
package prune

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// JobName is the job's name in the journal.
const JobName = "prune"

// Names of the steps. Stored data.
const (
	stepChoose = "choose"
	stepRemove = "remove"
)

// stale is how old the newest point may be: after that, either backups don't
// run, or the clock is wrong, and neither is a time to delete backups.
const stale = 7 * 24 * time.Hour

// Options are a prune's.
type Options struct {
	Archive *archive.Archive
	Journal jobs.Journal // to see whether backups fail
	Backup  string       // name of the backup job in it
	Policy  Policy
	// Drop are points of the future, by their IDs: only these go, whatever the
	// policy says.
	Drop []string
	// Agreed are the points that somebody has agreed to drop; nil: whatever the
	// policy says.
	Agreed []string
	// Despite lets it work although backups fail or are old: when they fail
	// because the store is full.
	Despite  bool
	Grace    time.Duration // 0: the archive's
	Retain   time.Duration // object lock on what is written
	Program  string
	Progress func(jobs.Progress) // may be nil
	Log      *slog.Logger        // nil: none
	Now      func() time.Time    // nil: time.Now
}

// Job is one prune. It implements [jobs.Job]. Use [New].
type Job struct{ opt Options }

// New returns a prune for one run.
func New(o Options) *Job {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(jobs.Progress) {}
	}
	return &Job{o}
}

// Name implements [jobs.Job].
func (*Job) Name() string { return JobName }

// Plan implements [jobs.Job].
func (j *Job) Plan(ctx context.Context, run *jobs.Run) ([]jobs.Step, error) {
	if err := j.refuse(ctx); err != nil {
		return nil, err
	}
	return []jobs.Step{
		{Name: stepChoose, Do: func(ctx context.Context) (any, error) { return j.choose(ctx) }},
		{Name: stepRemove, Do: func(ctx context.Context) (any, error) { return j.remove(ctx, run) }},
	}, nil
}

// Result is what a prune did, or would do. Stored data.
type Result struct {
	Policy string              `json:"policy"`
	Points []Choice            `json:"points"` // oldest first
	Report archive.PruneReport `json:"report"`
}

// ResultOf returns the result of a run that is done.
func ResultOf(run *jobs.Run) (Result, error) {
	var r Result
	if err := run.Note(stepChoose, &r); err != nil {
		return r, err
	}
	return r, run.Note(stepRemove, &r.Report)
}

// Preview says what a run would do.
func (j *Job) Preview(ctx context.Context) (Result, error) {
	if err := j.refuse(ctx); err != nil {
		return Result{}, err
	}
	r, err := j.choices(ctx)
	if err != nil {
		return r, err
	}
	o := j.options(dropped(r.Points))
	o.DryRun = true
	r.Report, err = j.opt.Archive.Prune(ctx, o)
	return r, err
}

// refuse says why nothing may be deleted now.
func (j *Job) refuse(ctx context.Context) error {
	if err := j.opt.Policy.Check(); err != nil && len(j.opt.Drop) == 0 {
		return err
	}
	points, err := j.opt.Archive.Points(ctx)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		if err := j.refuseByTime(points); err != nil {
			return err
		}
	}
	if j.opt.Journal == nil || j.opt.Despite {
		return nil
	}
	run, err := j.newestBackup(ctx)
	switch {
	case err != nil:
		return err
	case run == nil, run.State == jobs.Done, run.State == jobs.Running:
		return nil
	}
	return fmt.Errorf("nothing is pruned while backups fail: the newest, %s, is %s: %s (--despite-failures prunes all the same)", run, run.State, run.Error)
}

func (j *Job) newestBackup(ctx context.Context) (*jobs.Run, error) {
	for run, err := range j.opt.Journal.Runs(ctx, j.opt.Archive.Homeserver(), j.opt.Backup) {
		if err != nil {
			return nil, fmt.Errorf("look whether backups fail: %w", err)
		}
		return run, nil
	}
	return nil, nil
}

// choices checks the points and says what becomes of each.
func (j *Job) choices(ctx context.Context) (Result, error) {
	r := Result{Policy: j.opt.Policy.String()}
	points, err := j.opt.Archive.Points(ctx)
	if err != nil {
		return r, err
	}
	report, err := j.opt.Archive.Check(ctx, archive.CheckOptions{Program: j.opt.Program, Unrecorded: true})
	if err != nil {
		return r, err
	}
	// With no point in the list all packs are unused: after somebody's rm of points/,
	// a folder that was not brought back with the rest, a list that is stale.
	if len(points) == 0 && report.Packs > 0 {
		return r, errors.New("nothing is pruned: no recovery point is listed, but there are packs: bring back what was deleted below points/, or take a backup first")
	}
	good := map[string]bool{}
	for _, p := range report.Points {
		good[p.ID] = p.OK
	}
	if len(j.opt.Drop) > 0 {
		r.Policy = "only what --drop names"
	}
	var all []Candidate
	for _, p := range points {
		if p.Err != nil {
			return r, fmt.Errorf("nothing is pruned, since nobody knows what point %s needs: %w; copy it here from another store (synapse-maint copy), or delete its object points/%s from the store by hand", p.ID, p.Err, p.ID)
		}
		damaged := !p.Verified.Time.IsZero() && !p.Verified.OK
		all = append(all, candidate(p, good[p.ID] && !damaged))
	}
	if len(j.opt.Drop) > 0 {
		r.Points, err = chooseNamed(all, j.opt.Drop)
		return r, err
	}
	r.Points = Choose(all, j.opt.Policy)
	return r, nil
}

func (j *Job) choose(ctx context.Context) (any, error) {
	r, err := j.choices(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range dropped(r.Points) {
		if j.opt.Agreed != nil && !slices.Contains(j.opt.Agreed, id) {
			return nil, fmt.Errorf("point %s would go, too, since somebody looked: nothing was deleted; look again", id)
		}
	}
	return r, nil
}

func dropped(all []Choice) (ids []string) {
	for _, c := range all {
		if !c.Keep {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func (j *Job) options(drop []string) archive.PruneOptions {
	return archive.PruneOptions{
		Drop: drop, Grace: j.opt.Grace, Now: j.opt.Now, Program: j.opt.Program, Retain: j.opt.Retain,
		Progress: func(done, total int64) {
			j.opt.Progress(jobs.Progress{What: "looking what is needed", Done: done, Total: total})
		},
	}
}

func (j *Job) remove(ctx context.Context, run *jobs.Run) (any, error) {
	var chosen Result
	if err := run.Note(stepChoose, &chosen); err != nil {
		return nil, err
	}
	drop := dropped(chosen.Points)
	report, err := j.opt.Archive.Prune(ctx, j.options(drop))
	if err != nil {
		return nil, err
	}
	if len(report.Locked) > 0 {
		j.opt.Log.InfoContext(ctx, "object lock keeps what was to go", "objects", len(report.Locked))
	}
	if len(report.Locked) > 0 && len(report.Dropped) == 0 && report.Deleted == 0 {
		return report, fmt.Errorf("%w: the store let nothing be deleted (%s, …): it is locked, or the right to delete is missing", jobs.ErrIncomplete, report.Locked[0])
	}
	return report, nil
}
