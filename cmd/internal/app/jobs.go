package app

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/export"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/jobs/verify"
	"github.com/synapse-maint/synapse-maint/restore"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Backup makes the job that takes a recovery point.
func (a *Archive) Backup() (*backup.Job, error) {
	if err := a.checkKeys(); err != nil {
		return nil, err
	}
	db, err := a.app.Database()
	if err != nil {
		return nil, err
	}
	options := a.app.postgresOptions()
	return backup.New(backup.Options{
		Archive: a.Archive,
		Source: func(ctx context.Context) (backup.Snapshot, error) {
			s, err := postgres.Snap(ctx, db, options)
			if err != nil {
				return nil, err // not a nil pointer in an interface
			}
			return s, nil
		},
		Homeserver: a.Name, Jobs: a.app.conf.Jobs, Level: a.app.conf.Backup.CompressionLevel,
		Retain: a.place.retain(), Program: a.app.opt.Program, Progress: a.app.opt.Progress, Log: a.app.opt.Log,
	}), nil
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

// Export writes a recovery point to a folder.
func (a *Archive) Export(ctx context.Context, point archive.Point, dir string, o export.Options) (export.Result, error) {
	r, err := a.Reader(ctx)
	if err != nil {
		return export.Result{}, err
	}
	o.Jobs, o.Progress = a.app.conf.Jobs, a.app.opt.Progress
	result, err := export.Export(ctx, r, point, dir, o)
	return result, a.Keyed(err)
}

// Restore makes a restore of a recovery point. What the options leave open is
// the configuration's.
func (a *Archive) Restore(ctx context.Context, point archive.Point, o restore.Options) (*restore.Job, error) {
	server, name, err := a.app.Server()
	if err != nil {
		return nil, err
	}
	if o.Live == "" && o.Mode != synapse.ModeBeside {
		o.Live = name
	}
	if o.Reader, err = a.Reader(ctx); err != nil {
		return nil, err
	}
	if o.KeepOld == 0 {
		o.KeepOld = a.app.conf.Restore.KeepOld
	}
	o.Archive, o.Recovery, o.Server = a.Archive, point, server
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
	return []string{backup.JobName, verify.JobName, restore.JobName, "undo", "drop"}
}
