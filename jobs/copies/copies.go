// Package copies is the job that copies recovery points from one of a
// homeserver's stores to another, so that the loss of one loses no point.
//
// It imports jobs and storage/archive. It reads the archive that it copies from
// and adds to the one that it copies to; it deletes nothing from either.
package copies

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// JobName is the job's name in the journal.
const JobName = "copy"

// stepCopy is the name of the only step. Stored data.
const stepCopy = "copy"

// Options are a copy's.
type Options struct {
	From     *archive.Archive
	FromName string // of the store, for texts and the journal
	// To opens the other archive, and makes it where there is none.
	To     func(ctx context.Context) (*archive.Archive, error)
	ToName string
	Points []string // IDs; none: all

	Retain   time.Duration       // object lock on what is written; 0: none
	Progress func(jobs.Progress) // may be nil
	Log      *slog.Logger        // nil: nothing is logged
}

// Result is what a copy did. Stored data (the note of its step).
type Result struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Points  []Point `json:"points"`            // oldest first
	Recoded bool    `json:"recoded,omitempty"` // the archives have different keys
	Packs   int     `json:"packs"`             // written; of a preview: to be written
	Bytes   int64   `json:"bytes"`             // of these
	Seconds float64 `json:"seconds"`
	DryRun  bool    `json:"dry_run,omitempty"`
	// Warnings are what did not keep the points away, and should be known.
	Warnings []string `json:"warnings,omitempty"`
}

// Point is a recovery point that was to be copied.
type Point struct {
	ID    string `json:"id"`
	As    string `json:"as,omitempty"` // its ID in the other archive
	There bool   `json:"there"`        // it was there before
	Error string `json:"error,omitempty"`
	// Left are parts that were left behind: secrets, where nothing is encrypted.
	Left []archive.Lack `json:"left,omitempty"`
}

// Job copies points. It implements [jobs.Job].
type Job struct{ opt Options }

// New returns the job for one run.
func New(o Options) *Job { return &Job{o} }

// Name implements [jobs.Job].
func (*Job) Name() string { return JobName }

// Plan implements [jobs.Job].
func (j *Job) Plan(context.Context, *jobs.Run) ([]jobs.Step, error) {
	return []jobs.Step{{Name: stepCopy, Do: func(ctx context.Context) (any, error) {
		r, err := Copy(ctx, j.opt)
		if r.Points == nil && err != nil {
			return nil, err
		}
		return r, err
	}}}, nil
}

// ResultOf returns the result of a run.
func ResultOf(run *jobs.Run) (Result, error) {
	var r Result
	return r, run.Note(stepCopy, &r)
}

// Copy copies the points. Some that are damaged make it jobs.ErrIncomplete.
func Copy(ctx context.Context, o Options) (Result, error) {
	begin := time.Now()
	to, err := o.To(ctx)
	if err != nil {
		return Result{From: o.FromName, To: o.ToName}, err
	}
	report, err := archive.Copy(ctx, o.From, to, o.options())
	r := o.result(report)
	r.Seconds = time.Since(begin).Seconds()
	if err != nil {
		return r, fmt.Errorf("copy from %s to %s: %w", o.FromName, o.ToName, err)
	}
	return r, o.left(ctx, report)
}

// Preview says what a copy would do. A nil archive is one that is not there yet.
func Preview(ctx context.Context, o Options, to *archive.Archive) (Result, error) {
	report, err := archive.PreviewCopy(ctx, o.From, to, o.options())
	r := o.result(report)
	r.DryRun = true
	if err != nil {
		return r, err
	}
	return r, o.left(ctx, report)
}

func (o Options) options() archive.CopyOptions {
	c := archive.CopyOptions{Points: o.Points, Retain: o.Retain}
	if o.Progress != nil {
		c.Progress = func(done, total int64) {
			o.Progress(jobs.Progress{What: "copy to " + o.ToName, Done: done, Total: total})
		}
	}
	if o.Log != nil {
		c.Warn = func(err error) { o.Log.Warn("an archive has damage", "error", err) }
	}
	return c
}

func (o Options) result(report archive.CopyReport) Result {
	r := Result{From: o.FromName, To: o.ToName, Recoded: report.Recoded, Packs: report.Packs, Bytes: report.Bytes}
	if report.Unlocked != nil {
		r.Warnings = append(r.Warnings, report.Unlocked.Error())
	}
	for _, p := range report.Points {
		point := Point{ID: p.ID, As: p.As, There: p.There, Left: p.Left}
		if p.Err != nil {
			point.Error = p.Err.Error()
		}
		r.Points = append(r.Points, point)
	}
	return r
}

// left is the error that names the points that were not copied.
func (o Options) left(ctx context.Context, report archive.CopyReport) error {
	var errs []error
	for _, p := range report.Points {
		if p.Err != nil {
			errs = append(errs, p.Err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	if o.Log != nil {
		o.Log.WarnContext(ctx, "points were not copied", "count", len(errs))
	}
	rest := ""
	if n := len(errs) - 1; n > 0 {
		rest = fmt.Sprintf(" (and %d more)", n)
	}
	return fmt.Errorf("%w: not copied to %s: %w%s", jobs.ErrIncomplete, o.ToName, errs[0], rest)
}
