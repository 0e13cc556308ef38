package app

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/copies"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
	"github.com/synapse-maint/synapse-maint/jobs/prune"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/jobs/verify"
	"github.com/synapse-maint/synapse-maint/restore"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// BackupRequest is what a backup is asked for.
type BackupRequest struct {
	Only    []string // parts; empty: all that are configured
	ReadAll bool     // read files that look unchanged, too
	// AllowEmpty takes an empty media store for what it is: else it is a volume
	// that is not mounted.
	AllowEmpty bool
}

// Backup makes the job that takes a recovery point.
func (a *Archive) Backup(ctx context.Context, q BackupRequest) (*backup.Job, error) {
	if err := errors.Join(a.checkKeys(), checkOnly(q.Only), a.app.checkMediaFolder()); err != nil {
		return nil, err
	}
	p := &parts{only: q.Only}
	o := backup.Options{
		Archive:    a.Archive,
		Homeserver: a.Name, Jobs: a.app.conf.Jobs, Level: a.app.conf.Backup.CompressionLevel,
		Retain: a.place.retain(), Program: a.app.opt.Program, Progress: a.app.opt.Progress, Log: a.app.opt.Log,
	}
	if err := a.databasePart(p, &o); err != nil {
		return nil, err
	}
	files, err := a.mediaPart(ctx, p, q)
	if err != nil {
		return nil, err
	}
	private, err := a.secretsPart(p)
	if err != nil {
		return nil, err
	}
	for _, part := range []backup.Part{files, private} {
		if part != nil {
			o.Parts = append(o.Parts, part)
		}
	}
	o.Lacks = p.lacks
	if o.Copies, err = a.copies(); err != nil {
		return nil, err
	}
	return backup.New(o), nil
}

// databasePart adds the database, or, where it is not asked for, what the media
// are compared with.
func (a *Archive) databasePart(p *parts, o *backup.Options) error {
	db, err := a.app.Database()
	if !p.wants(archive.PartDatabase) {
		if err == nil {
			o.Rows = postgres.MediaRows(db)
		}
		return nil // one that is not configured is not needed
	}
	if err != nil {
		return err
	}
	options := a.app.postgresOptions()
	o.Source = func(ctx context.Context) (backup.Snapshot, error) {
		s, err := postgres.Snap(ctx, db, options)
		if err != nil {
			return nil, err // not a nil pointer in an interface
		}
		return s, nil
	}
	return nil
}

// checkKeys refuses an archive that is not encrypted to those who are
// configured: whoever can write to a store could have put his own key there.
func (a *Archive) checkKeys() error {
	asked := a.app.conf.Recipients
	if len(asked) > 0 && !sameSet(asked, a.Recipients()) {
		return Usagef("the archive of %s in %s is encrypted to %s, and the configuration says %s: nothing is written to it",
			a.Name, a.Store, orNobody(a.Recipients()), orNobody(asked))
	}
	return nil
}

// Verify makes the job that checks recovery points; none named is all of them.
func (a *Archive) Verify(points []string, readData float64) jobs.Job {
	return verify.New(verify.Options{
		Archive: a.Archive, Points: points, ReadData: readData, Seed: rand.Uint64(),
		Program: a.app.opt.Program, Progress: a.app.opt.Progress, Log: a.app.opt.Log,
	})
}

// Restore makes a restore of a recovery point. What the options leave open is
// the configuration's.
func (a *Archive) Restore(ctx context.Context, point archive.Point, o restore.Options) (*restore.Job, error) {
	if err := checkOnly(o.Only); err != nil {
		return nil, err
	}
	if o.WithDatabase(point.Manifest) {
		server, name, err := a.app.Server()
		if err != nil {
			return nil, err
		}
		if o.Live == "" && o.Mode != synapse.ModeBeside {
			o.Live = name
		}
		o.Server = server
	}
	var err error
	if o.Reader, err = a.Reader(ctx); err != nil {
		return nil, err
	}
	if o.Fillers, err = a.fillers(o.Reader, point, &o.Request); err != nil {
		return nil, err
	}
	if o.KeepOld == 0 {
		o.KeepOld = a.app.conf.Restore.KeepOld
	}
	o.Archive, o.Recovery = a.Archive, point
	o.Jobs, o.Progress, o.Log = a.app.conf.Jobs, a.app.opt.Progress, a.app.opt.Log
	job, err := restore.New(o)
	var asked *restore.RequestError
	if errors.As(err, &asked) {
		return nil, usage(err)
	}
	return job, err
}

// Server is the homeserver's PostgreSQL server, for restores, and the name of
// its live database.
func (a *App) Server() (server *postgres.Server, live string, err error) {
	db, err := a.Database()
	if err != nil {
		return nil, "", err
	}
	return postgres.NewServer(db, a.postgresOptions()), db.Database(), nil
}

// Closing is what undo and drop of a restore work with.
func (a *Archive) Closing(run *jobs.Run) (restore.Closing, error) {
	server, _, err := a.app.Server()
	if err != nil {
		return restore.Closing{}, err
	}
	return restore.Closing{Server: server, Journal: a.Journal(), Run: run}, nil
}

// FindRestore returns the restore that is called name; empty: the newest.
func (a *Archive) FindRestore(ctx context.Context, name string) (*jobs.Run, error) {
	run, err := restore.Find(ctx, a.Journal(), a.Name, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing(short{err})
	}
	return run, err
}

// JobNames are the jobs that the journal has runs of, as the command runs shows
// them.
func JobNames() []string {
	return []string{backup.JobName, verify.JobName, prune.JobName, copies.JobName, restore.JobName, "undo", "drop"}
}
