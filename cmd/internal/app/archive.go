package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/cmd/internal/metrics"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Archive is a homeserver's archive in a store, opened with the identities at
// hand.
type Archive struct {
	*archive.Archive
	Name   string // the homeserver's
	Store  string // URL without parameters
	app    *App
	place  *place
	ledger storage.Store // where the homeserver's journal and lock are
}

// Archive opens the homeserver's archive: in its own store, or in the one that
// from names (name or URL). The journal and the lock stay in its own store
// while that has an archive: there the other runs look for them.
func (a *App) Archive(ctx context.Context, from string) (*Archive, error) {
	conf := a.store
	var own storage.Store
	if from != "" {
		var err error
		if conf, err = a.storeNamed(from); err != nil {
			return nil, err
		}
	}
	if conf.URL != a.store.URL && !a.def {
		var err error
		if own, err = a.ownLedger(ctx); err != nil {
			return nil, err
		}
	}
	p, err := a.open(ctx, conf, false)
	if err != nil {
		return nil, err
	}
	keys, err := a.identities(p.name)
	if err != nil {
		return nil, err
	}
	opened, err := archive.Open(ctx, p.part, keys...)
	switch {
	case errors.Is(err, archive.ErrNoArchive):
		return nil, p.noArchive(ctx)
	case err != nil:
		return nil, fmt.Errorf("archive of %s in %s: %w", p.name, shown(conf.URL), err)
	case opened.Homeserver() != p.name:
		return nil, fmt.Errorf("the archive under %s in %s is that of %s: it was copied or renamed", p.name, shown(conf.URL), opened.Homeserver())
	}
	found := &Archive{Archive: opened, Name: p.name, Store: shown(conf.URL), app: a, place: p, ledger: p.part}
	if own != nil {
		found.ledger = own
	}
	return found, nil
}

// ownLedger is the homeserver's part of its own store; nil where that has no
// archive.
func (a *App) ownLedger(ctx context.Context) (storage.Store, error) {
	p, err := a.open(ctx, a.store, false)
	if errors.Is(err, storage.ErrNoStore) {
		return nil, nil
	}
	if err == nil {
		_, err = archive.Open(ctx, p.part)
	}
	switch {
	case err == nil:
		return p.part, nil
	case errors.Is(err, archive.ErrNoArchive):
		return nil, nil
	default:
		return nil, fmt.Errorf("the homeserver's own store, which has its lock: %w; if that store is lost, give the other one as --store instead of --from", err)
	}
}

// identities reads the identity files and the job's. A job identity that is not
// there yet, or was lost with its machine, keeps nobody from restoring.
func (a *App) identities(name string) ([]age.Identity, error) {
	files := slices.Clone(a.conf.Identities)
	job, chosen := a.JobIdentityFile(name)
	switch _, err := os.Stat(job); {
	case errors.Is(err, fs.ErrNotExist) && chosen:
		a.opt.Warn(fmt.Sprintf("job identity %s: no such file: init makes it with the archive; if it is lost, a recipient's key does the same (--identity)", job))
	case err == nil || chosen:
		files = append(files, job)
	}
	for _, f := range files {
		a.warnOfReaders(f)
	}
	keys, err := archive.ReadIdentities(files...)
	return keys, usage(err)
}

// JobIdentityFile is where the job identity is; chosen says that somebody chose
// the place.
func (a *App) JobIdentityFile(name string) (path string, chosen bool) {
	if a.conf.JobIdentity != "" {
		return a.conf.JobIdentity, true
	}
	return filepath.Join(dataFolder(), name+".job.key"), false
}

// Point finds a recovery point, as [archive.Archive.Find] does. Where the newest
// is of the future, nobody can tell whether that is the latest: it has to be
// named, be it only because a wrong clock took it.
func (a *Archive) Point(ctx context.Context, at string) (archive.Point, error) {
	p, err := a.Lookup(ctx, at)
	if p.ID == "" {
		return p, err
	}
	now := time.Now()
	switch future := p.OfFuture(now); {
	case future && (at == "latest" || at == ""):
		return p, usage(a.unclear(ctx, p, now))
	case future:
		a.app.opt.Warn(fmt.Sprintf("it is %s here, and point %s is of the future: the clock here is wrong, or it was when that was taken", now.UTC().Format(time.RFC3339), p.ID))
	}
	return p, a.Keyed(err)
}

// Lookup finds a recovery point of whatever time. One that is not there is
// [ErrNothing].
func (a *Archive) Lookup(ctx context.Context, at string) (archive.Point, error) {
	p, err := a.Find(ctx, at)
	if errors.Is(err, fs.ErrNotExist) && p.ID == "" {
		err = nothing(fmt.Errorf("%s: %w", a.Name, short{err}))
	}
	return p, err
}

// unclear says why latest means nothing, and what to do: an older point taken in
// its place could be years old where it is the clock here that is wrong.
func (a *Archive) unclear(ctx context.Context, p archive.Point, now time.Time) error {
	text := fmt.Sprintf("which point is the latest is not clear: it is %s here, and point %s is of the future. If the clock here is wrong, set it. If it was wrong when that point was taken, ",
		now.UTC().Format(time.RFC3339), p.ID)
	if older, _ := a.Find(ctx, now.UTC().Format(time.RFC3339)); older.ID != "" { // what is wrong with it is said to who names it
		return errors.New(text + fmt.Sprintf("name the newest of those that are not, %s, or another of list; prune --drop %s removes that of the future", older.ID, p.ID))
	}
	return errors.New(text + "name it, or another of list; there is none that is not of the future: take a backup")
}

// Reader opens the archive for reading blobs.
func (a *Archive) Reader(ctx context.Context) (*archive.Reader, error) {
	r, err := a.Archive.Reader(ctx, archive.ReaderOptions{
		Warn: func(err error) { a.app.opt.Warn(err.Error()) },
	})
	return r, a.Keyed(err)
}

// Keyed marks the lack of a fitting identity as a fault of usage.
func (*Archive) Keyed(err error) error {
	if errors.Is(err, archive.ErrNoKey) {
		return usage(err)
	}
	return err
}

// Journal is the homeserver's.
func (a *Archive) Journal() *journal.Journal { return journal.New(a.ledger) }

// Run executes a job under the homeserver's lock. The zero ID is a new run, of
// this second.
func (a *Archive) Run(ctx context.Context, job jobs.Job, id jobs.RunID) (*jobs.Run, error) {
	r := a.runner()
	if u, ok := job.(interface{ Unlocked() bool }); ok && u.Unlocked() {
		r.Journal = readersJournal{r.Journal} // who only reads needs no right to write
	}
	if id.Job == "" {
		var err error
		if id, err = r.Fresh(ctx, a.Name, job.Name()); err != nil {
			return nil, err
		}
	}
	run, err := r.Run(ctx, job, id)
	a.measure(run)
	return run, a.Keyed(err)
}

// readersJournal lets a run that needs no lock go on where the store may only be
// read: its result says what was not kept.
type readersJournal struct{ jobs.Journal }

func (j readersJournal) Save(ctx context.Context, run *jobs.Run) error {
	err := j.Journal.Save(ctx, run)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// measure writes the metrics of a run that has ended. That they can't be
// written is no reason to call the run failed.
func (a *Archive) measure(run *jobs.Run) {
	if a.app.conf.MetricsDir == "" || run == nil || run.State == jobs.Running {
		return
	}
	if err := metrics.Write(a.app.conf.MetricsDir, run); err != nil {
		a.app.opt.Warn(err.Error())
	}
}

func (a *Archive) runner() *jobs.Runner {
	return &jobs.Runner{Journal: a.Journal(), Locker: a.locker(), Log: a.app.opt.Log, OnStep: a.app.opt.OnStep}
}

func (a *Archive) locker() *journal.Locker {
	o := a.app.opt
	return journal.NewLocker(a.ledger, journal.Options{Log: o.Log, Wait: o.Wait, Waiting: func(holder string) {
		o.Warn(fmt.Sprintf("locked by %s: waiting up to %.0f s for it", holder, o.Wait.Seconds()))
	}})
}

// Living returns a run of the journal as it is: one that says it is running is
// interrupted if its process is dead. Where that can't be found out, it is
// returned as the journal has it.
func (a *Archive) Living(ctx context.Context, run *jobs.Run) *jobs.Run {
	now, err := a.locker().Living(ctx, run)
	if err != nil {
		a.app.opt.Log.WarnContext(ctx, "whether a run lives is not known", "run", run.String(), "error", err)
		return run
	}
	return now
}

// short is an error without the standard library's words at its end, which say
// what its text has said already.
type short struct{ error }

func (s short) Unwrap() error { return s.error }

func (s short) Error() string { return trimWords(s.error.Error()) }
