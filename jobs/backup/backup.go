// Package backup is the job that takes a recovery point: it copies a snapshot
// of the database into an archive, then the other parts, media and secrets,
// and, when everything is stored and proved to be there, lists it. The database comes
// first, so that a restored row never names a file that was not there yet.
//
// A part beside the database that fails does not take the others with it: the
// point says what it lacks, and the run ends incomplete.
//
// Nothing is listed before the commit, which is one conditional put. A run that
// fails or is killed earlier leaves blobs that no point names; the next one
// finds and uses them.
//
// It imports jobs, jobs/synapse, storage and storage/archive, and reaches the
// database through the ports it declares. It never writes to the database and
// never deletes anything from the store.
package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// JobName is the backup's name in the journal.
const JobName = "backup"

// Names of the steps. Stored data.
const (
	stepCopy   = "copy"
	stepCommit = "commit"
)

// Contents is what a snapshot says of itself.
type Contents interface {
	Database() synapse.Database
	// TOC is the toc.dat of a directory archive of pg_dump; empty for a stream.
	TOC() []byte
	Tables() []synapse.Table
	// Ranges are what to copy, in the order to copy it.
	Ranges() []synapse.Range
	// StreamReason is empty where tables are copied range by range; else it
	// says why the database is one stream.
	StreamReason() string
}

// Snapshot is a database at one instant.
type Snapshot interface {
	Contents
	// CopyOut yields the rows of a range. It is called by several goroutines.
	CopyOut(ctx context.Context, r synapse.Range, emit func(synapse.Chunk) error) error
	// Stream yields a custom-format archive of pg_dump.
	Stream(ctx context.Context, emit func([]byte) error) error
	// MediaRows yields what the database knows of media files.
	MediaRows(ctx context.Context, yield func(synapse.MediaRow) error) error
	Close() error
}

// Part is a part of a recovery point beside the database: media, secrets.
type Part interface {
	// Name is stored data: media or secrets.
	Name() string
	// Consult reads what the part wants to know of the database, while the
	// snapshot is open. It is called once, before Take, and not at all where
	// there is no database.
	Consult(ctx context.Context, rows synapse.MediaRows) error
	// Take stores the part's bytes and fills in its member of the manifest m,
	// and m's Degraded. previous is the newest point that has the part; nil if
	// none. It may be called again after an attempt that failed.
	Take(ctx context.Context, w *archive.Writer, previous, m *archive.Manifest, report func(jobs.Progress)) (warnings []string, err error)
	// Preview says what Take would store.
	Preview(ctx context.Context) (PartPreview, error)
}

// PartPreview is what a part would store: counted, not read.
type PartPreview = synapse.PartPreview

// Options are a backup's.
type Options struct {
	Archive *archive.Archive
	// Source takes a snapshot of the database; nil: the point is to have none.
	Source func(ctx context.Context) (Snapshot, error)
	// Rows are the database's media tables, where the point has no database but
	// its media are to be compared with one. May be nil.
	Rows  synapse.MediaRows
	Parts []Part         // beside the database, in this order
	Lacks []archive.Lack // what the point is not to have, and why
	// Copies are other stores that the point is copied to once it is listed.
	Copies []Copy

	Homeserver string              // must be the archive's, where given
	Jobs       int                 // ranges copied at once; 0: as many as CPUs, at least 2
	Level      int                 // of zstd; 0: the archive's default
	Retain     time.Duration       // object lock on what is stored; 0: none
	Program    string              // name and version, for the manifest
	Progress   func(jobs.Progress) // may be nil
	Log        *slog.Logger        // nil: nothing is logged
}

// Job takes one recovery point. It implements [jobs.Job]. Use [New].
type Job struct {
	opt Options

	began    time.Time
	manifest *archive.Manifest // made by copy, in memory only
	previous *archive.Manifest // the point before; nil if unknown

	mu       sync.Mutex
	warnings []string
}

// New returns a backup for one run.
func New(o Options) *Job {
	if o.Jobs <= 0 {
		o.Jobs = max(2, runtime.NumCPU())
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(jobs.Progress) {}
	}
	return &Job{opt: o}
}

// Name implements [jobs.Job].
func (*Job) Name() string { return JobName }

// Plan implements [jobs.Job]. The copy lives in memory until it is committed,
// so a run that resumes copies again: what the first attempt stored is found.
func (j *Job) Plan(ctx context.Context, run *jobs.Run) ([]jobs.Step, error) {
	name := j.opt.Archive.Homeserver()
	if j.opt.Homeserver != "" && j.opt.Homeserver != name {
		return nil, fmt.Errorf("backup of %s refused: the archive is that of %s", j.opt.Homeserver, name)
	}
	if committed, err := j.committed(ctx, run); err != nil {
		return nil, err
	} else if committed != nil {
		commit := jobs.Step{Name: stepCommit, Do: func(context.Context) (any, error) { return *committed, nil }}
		return append([]jobs.Step{commit}, j.copies(run)...), nil
	}
	return append([]jobs.Step{
		{Name: stepCopy, Again: true, Do: func(ctx context.Context) (any, error) { return j.copy(ctx, run) }},
		{Name: stepCommit, Do: func(ctx context.Context) (any, error) { return j.commit(ctx, run) }},
	}, j.copies(run)...), nil
}

// committed returns the result of a run whose point is listed although its
// process was killed before the journal had it; nil if there is none.
func (j *Job) committed(ctx context.Context, run *jobs.Run) (*Result, error) {
	begun := false
	for _, s := range run.Steps {
		begun = begun || s.Name == stepCommit
	}
	if !begun {
		return nil, nil
	}
	points, err := j.opt.Archive.Points(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for the point of run %s: %w", run.RunID, err)
	}
	for _, p := range points {
		if p.Manifest != nil && p.Manifest.Run == run.String() {
			r := resultOf(p.ID, p.Manifest)
			return &r, nil
		}
	}
	return nil, nil
}

// copied is the note of the copy step: what was done until the commit. Stored
// data.
type copied struct {
	Taken   time.Time     `json:"taken"`
	Tables  int           `json:"tables"`
	Rows    int64         `json:"rows"`
	Sizes   archive.Sizes `json:"sizes"`
	Packs   int           `json:"packs"` // new ones
	Seconds float64       `json:"seconds"`
}

// copy stores the parts' bytes and makes the manifest that names them.
func (j *Job) copy(ctx context.Context, run *jobs.Run) (any, error) {
	j.began, j.manifest, j.warnings = time.Now(), nil, nil
	j.compareClocks(ctx)
	j.comparePrevious(ctx)
	w, err := j.opt.Archive.Writer(ctx, archive.WriterOptions{
		Level: j.opt.Level, Retain: j.opt.Retain, Workers: j.opt.Jobs,
		Warn: func(err error) { j.warn("the archive: %v (stored again where it still exists)", err) },
	})
	if err != nil {
		return nil, err
	}
	defer w.Abort() // after Close it does nothing
	m := j.newManifest(run)
	if j.opt.Source != nil {
		err = j.copyDatabase(ctx, w, m)
	} else if j.opt.Rows != nil {
		err = j.consult(ctx, j.opt.Rows)
	}
	if err != nil {
		return nil, err
	}
	if err := j.takeParts(ctx, w, m); err != nil {
		return nil, err
	}
	stats, err := w.Close(ctx)
	if err != nil {
		return nil, err
	}
	if stats.Unlocked != nil {
		j.warn("%v", stats.Unlocked)
	}
	m.Sizes = archive.Sizes{Logical: held(m), New: stats.NewBytes, Stored: stats.StoredBytes}
	m.Sizes.New = min(m.Sizes.New, m.Sizes.Logical) // listings are new, and nothing that is held
	j.manifest = m
	note := copied{Taken: m.Taken, Sizes: m.Sizes, Packs: stats.Packs, Seconds: time.Since(j.began).Seconds()}
	if m.Database != nil {
		note.Tables, note.Rows = len(m.Database.Tables), rows(m.Database)
	}
	return note, nil
}

// copyDatabase stores the database part, and lets the other parts ask it.
func (j *Job) copyDatabase(ctx context.Context, w *archive.Writer, m *archive.Manifest) error {
	snap, err := j.opt.Source(ctx)
	if err != nil {
		return err
	}
	end := sync.OnceFunc(func() { j.closeSnapshot(ctx, snap) })
	defer end()
	if err := describe(snap, m); err != nil {
		return err
	}
	c := copying{Snapshot: snap, writer: w, jobs: j.opt.Jobs, progress: j.opt.Progress}
	if err := c.into(ctx, m.Database); err != nil {
		return err
	}
	if err := crossCheck(snap, m.Database); err != nil {
		return err
	}
	if err := j.consult(ctx, snap.MediaRows); err != nil {
		return err
	}
	end() // an old snapshot keeps the server from cleaning up
	j.opt.Progress(jobs.Progress{What: "reading back what was stored", Done: c.done.Load(), Total: c.total})
	return nil
}

// closeSnapshot ends the snapshot. What it can't end is over with our
// connection, and no reason to throw away a good copy.
func (j *Job) closeSnapshot(ctx context.Context, snap Snapshot) {
	if err := snap.Close(); err != nil {
		j.opt.Log.WarnContext(ctx, "snapshot not closed in order", "error", err)
	}
}

func (j *Job) newManifest(run *jobs.Run) *archive.Manifest {
	return &archive.Manifest{
		Homeserver: j.opt.Archive.Homeserver(),
		Started:    j.began.UTC(),
		Taken:      j.began.UTC(),
		Program:    j.opt.Program,
		Run:        run.String(),
		Lacks:      slices.Clone(j.opt.Lacks),
	}
}

// describe begins the database part of the manifest.
func describe(snap Snapshot, m *archive.Manifest) error {
	db := snap.Database()
	info, err := json.Marshal(db)
	if err != nil {
		return fmt.Errorf("describe database %s: %w", db.Name, err)
	}
	if !db.Taken.IsZero() {
		m.Taken = db.Taken.UTC()
	}
	m.Database = &archive.Database{Info: info, Reason: snap.StreamReason()}
	return nil
}

// commit lists the point.
func (j *Job) commit(ctx context.Context, _ *jobs.Run) (any, error) {
	m := j.manifest
	m.Finished = time.Now().UTC()
	j.compare(m)
	j.compareTimes(m)
	point, err := j.opt.Archive.Commit(ctx, m)
	if err != nil {
		return nil, err
	}
	r := resultOf(point, m)
	r.Seconds = time.Since(j.began).Seconds()
	r.Warnings = j.warnings
	for _, w := range r.Warnings {
		j.opt.Log.WarnContext(ctx, "backup warns", "point", point, "warning", w)
	}
	return r, incomplete(m)
}

func (j *Job) warn(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.warnings = append(j.warnings, fmt.Sprintf(format, args...))
}
