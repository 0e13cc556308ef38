package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// DefaultKeepOld is how long the database that was live before a swap is kept.
const DefaultKeepOld = 72 * time.Hour

// Options are what a restore works with.
type Options struct {
	Request       // Point is filled in from the recovery point
	Archive       *archive.Archive
	Reader        *archive.Reader
	Recovery      archive.Point       // the recovery point, with its manifest
	Server        Server              // nil where the database is not asked for
	Fillers       []Filler            // of the other parts, in this order
	Jobs          int                 // workers; 0: as many as CPUs
	Terminate     bool                // end the sessions on the live database
	Force         bool                // let a database go live in spite of serious findings
	ConfirmedDrop bool                // the operator agreed to drop the live database; mode in-place
	KeepOld       time.Duration       // 0: DefaultKeepOld
	Progress      func(jobs.Progress) // of the load; may be nil
	Log           *slog.Logger        // nil: none
	Now           func() time.Time    // nil: time.Now
}

// Job is a restore.
type Job struct {
	Options
	dump synapse.Database
	// partBytes is what a new run cuts parts by.
	partBytes int64
	damaged   damage   // found by the last Blueprint
	chosen    []string // tables, likewise; where some were asked for
	toc       []byte
}

// New returns the restore, or why the request or the recovery point can't be
// one.
func New(o Options) (*Job, error) {
	m := o.Recovery.Manifest
	switch {
	case o.Recovery.Err != nil:
		return nil, fmt.Errorf("restore of point %s: %w", o.Recovery.ID, o.Recovery.Err)
	case m == nil:
		return nil, fmt.Errorf("restore of point %s: its manifest was not read", o.Recovery.ID)
	}
	j := &Job{Options: o, partBytes: partBytes}
	j.Point = o.Recovery.ID
	if err := j.checkParts(); err != nil {
		return nil, err
	}
	if j.withDatabase() {
		if err := j.Request.check(); err != nil {
			return nil, &RequestError{err}
		}
		if err := json.Unmarshal(m.Database.Info, &j.dump); err != nil {
			return nil, fmt.Errorf("restore of point %s: its description of the database is unreadable: %w", j.Point, err)
		}
	} else {
		j.Mode, j.Live, j.Target = "", "", ""
	}
	if j.Jobs <= 0 {
		j.Jobs = max(2, runtime.NumCPU())
	}
	if j.KeepOld == 0 {
		j.KeepOld = DefaultKeepOld
	}
	if j.Log == nil {
		j.Log = slog.New(slog.DiscardHandler)
	}
	if j.Now == nil {
		j.Now = time.Now
	}
	return j, nil
}

// Name is the job's name in the journal.
func (j *Job) Name() string { return JobName }

// Plan reads only. It refuses what can't work before anything is touched, and
// otherwise returns the steps.
func (j *Job) Plan(ctx context.Context, run *jobs.Run) ([]jobs.Step, error) {
	if err := j.claim(run); err != nil {
		return nil, err
	}
	b, err := j.Blueprint(ctx, run)
	if err != nil {
		return nil, err
	}
	if err := b.Refusal(); err != nil {
		return nil, err
	}
	if b.deletes() && !j.ConfirmedDrop {
		return nil, errors.New("restore deletes media that the point does not have: confirm it")
	}
	if j.Mode == synapse.ModeInPlace && b.Server.LiveExists && !j.ConfirmedDrop && !has(run, vacate) {
		return nil, fmt.Errorf("restore in-place drops the live database %s before it loads: confirm it", j.Live)
	}
	for _, w := range b.Warnings {
		j.Log.Warn("restore", "warning", w)
	}
	return j.steps(run, b), nil
}

// claim writes the request into a new run, and refuses a run that was asked for
// something else or is closed.
func (j *Job) claim(run *jobs.Run) error {
	name := run.RunID.String()
	if has(run, dropped) {
		return fmt.Errorf("%s was dropped: begin a new one", name)
	}
	if has(run, undone) {
		return fmt.Errorf("%s was undone: begin a new one", name)
	}
	if len(run.Request) > 0 {
		asked, err := RequestOf(run)
		if err != nil {
			return err
		}
		if !asked.equal(j.Request) {
			return fmt.Errorf("%s was asked for something else (point %s, mode %s)", name, asked.Point, asked.Mode)
		}
	}
	request, err := json.Marshal(j.Request.canonical())
	if err != nil {
		return err
	}
	run.Request = request
	return nil
}

func (j *Job) homeserver() string {
	return j.Recovery.Manifest.Homeserver
}

func (j *Job) database() *archive.Database {
	return j.Recovery.Manifest.Database
}

// readTOC reads the table of contents once; a stream has none.
func (j *Job) readTOC(ctx context.Context) error {
	if !j.withDatabase() || j.toc != nil || len(j.database().TOC) == 0 {
		return nil
	}
	var toc []byte
	err := stream(ctx, j.Reader, "the table of contents", j.database().TOC, func(b []byte) error {
		toc = append(toc, b...)
		return nil
	})
	if errors.Is(err, archive.ErrCorrupt) {
		return fmt.Errorf("%w; without it this point can't be restored: choose another one", err)
	}
	if err != nil {
		return err
	}
	j.toc = toc
	return nil
}
