// Package verify is the job that proves recovery points: all they need is in
// the store, and as it was put, as far as it is told to read.
//
// It imports jobs and storage/archive. It reads only, but for the record of
// what it found, and runs without the homeserver's lock: a check takes hours
// where a backup must not wait.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// JobName is the name of verify in the journal.
const JobName = "verify"

const stepCheck = "check"

// Options are a check's.
type Options struct {
	Archive  *archive.Archive
	Points   []string            // as [archive.Archive.Find] takes them; none: all
	ReadData float64             // share of the packs to read, 0 to 1
	Seed     uint64              // picks the packs to read
	Program  string              // name and version of who checks
	Progress func(jobs.Progress) // may be nil
	Log      *slog.Logger        // nil: nothing is logged
}

// Job checks recovery points. It implements [jobs.Job]. Use [New].
type Job struct{ opt Options }

// New returns a check.
func New(o Options) *Job {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Job{o}
}

// Name implements [jobs.Job].
func (*Job) Name() string { return JobName }

// Unlocked says that the job needs no lock.
func (*Job) Unlocked() bool { return true }

// Plan implements [jobs.Job]. It fails with [fs.ErrNotExist] where there is
// nothing to check.
func (j *Job) Plan(ctx context.Context, _ *jobs.Run) ([]jobs.Step, error) {
	ids, err := j.choose(ctx)
	if err != nil {
		return nil, err
	}
	return []jobs.Step{{Name: stepCheck, Do: func(ctx context.Context) (any, error) { return j.check(ctx, ids) }}}, nil
}

// choose returns the IDs of the points to check; none where all are.
func (j *Job) choose(ctx context.Context) ([]string, error) {
	if len(j.opt.Points) == 0 {
		_, err := j.find(ctx, "latest")
		return nil, err
	}
	var ids []string
	for _, at := range j.opt.Points {
		id, err := j.find(ctx, at)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// find returns the ID of a point. One that can't be read is what a check is
// for.
func (j *Job) find(ctx context.Context, at string) (string, error) {
	point, err := j.opt.Archive.Find(ctx, at)
	if err != nil && point.ID == "" {
		return "", err
	}
	return point.ID, nil
}

func (j *Job) check(ctx context.Context, ids []string) (any, error) {
	report, err := j.opt.Archive.Check(ctx, archive.CheckOptions{
		Points: ids, ReadData: j.opt.ReadData, Seed: j.opt.Seed, Program: j.opt.Program,
		Progress: func(done, total int64) {
			if j.opt.Progress != nil {
				j.opt.Progress(jobs.Progress{What: "reading packs", Done: done, Total: total})
			}
		},
	})
	r := resultOf(report)
	if err != nil {
		return r, err
	}
	if lost := report.Unrecorded; lost != nil {
		if !errors.Is(lost, fs.ErrPermission) {
			return r, lost
		}
		r.Unrecorded = lost.Error() // in a store that may only be read all can be checked
	}
	for _, d := range r.Damaged {
		j.opt.Log.ErrorContext(ctx, "damaged object", "key", d.Key, "problem", d.Problem, "since", d.Since)
	}
	return r, r.verdict()
}

// verdict is the error of a check that found something, in one line.
func (r *Result) verdict() error {
	var bad []string
	for _, p := range r.Points {
		if p.OK {
			continue
		}
		name := p.ID
		if len(p.Tables) > 0 {
			name += " (" + few(p.Tables) + ")"
		}
		bad = append(bad, name)
	}
	keys := make([]string, len(r.Damaged))
	for i, d := range r.Damaged {
		keys[i] = d.Key
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("%d of %d recovery points can't be restored in full: %s; %w objects: %s",
			len(bad), len(r.Points), few(bad), archive.ErrCorrupt, few(keys))
	case len(keys) > 0 && len(r.Points) == 0: // without a key no point can be judged
		return fmt.Errorf("%w objects: %s", archive.ErrCorrupt, few(keys))
	case len(keys) > 0:
		return fmt.Errorf("every recovery point checked can be restored, but there are %w objects: %s", archive.ErrCorrupt, few(keys))
	}
	return nil
}

// few names the first of many.
func few(names []string) string {
	const most = 4
	if len(names) == 0 {
		return "see the problems of each"
	}
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Result is what a check found. Stored data (the note of its step).
type Result struct {
	Finished time.Time     `json:"finished"`
	Seconds  float64       `json:"seconds"`
	Points   []PointResult `json:"points"` // oldest first
	Damaged  []Damage      `json:"damaged,omitempty"`
	Packs    int           `json:"packs"`            // that the index names
	Read     int           `json:"read"`             // packs read
	Bytes    int64         `json:"bytes"`            // of these
	Limits   string        `json:"limits,omitempty"` // what could not be looked at, and why
	// Unrecorded is why the store does not have the result, so that list does not
	// show it.
	Unrecorded string `json:"unrecorded,omitempty"`
}

// PointResult is what a check found of a recovery point.
type PointResult struct {
	ID       string   `json:"id"`
	OK       bool     `json:"ok"`
	Level    string   `json:"level"` // metadata or data
	Tables   []string `json:"tables,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// Damage is an object that is not what was put, or is missing.
type Damage struct {
	Key     string          `json:"key"`
	Problem string          `json:"problem"`
	Since   time.Time       `json:"since"`
	Touches []archive.Touch `json:"touches,omitempty"`
}

// ResultOf returns what a run found.
func ResultOf(run *jobs.Run) (Result, error) {
	var r Result
	err := run.Note(stepCheck, &r)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("nothing was checked: %w", err)
	}
	return r, err
}

func resultOf(c archive.CheckReport) *Result {
	r := &Result{
		Finished: c.Finished, Seconds: c.Finished.Sub(c.Started).Seconds(),
		Packs: c.Packs, Read: c.Read, Bytes: c.Bytes, Limits: c.Limits,
	}
	for _, p := range c.Points {
		r.Points = append(r.Points, PointResult{p.ID, p.OK, p.Level, p.Tables, p.Problems})
	}
	for _, d := range c.Damaged {
		r.Damaged = append(r.Damaged, Damage{d.Key, d.Problem, d.Since, d.Touches})
	}
	return r
}
