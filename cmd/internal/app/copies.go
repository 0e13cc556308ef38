package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/copies"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// opening says what openCopy makes of a store that has no archive yet.
type opening int

const (
	look     opening = iota // nothing: the archive is nil
	existing                // an error: init makes those that are configured. A disk that is not mounted is no new store
	clone                   // an archive, in a bucket or folder that is there
	create                  // an archive, and its folder
)

// openCopy opens the homeserver's archive in another store.
func (a *App) openCopy(ctx context.Context, from *archive.Archive, c config.Store, how opening) (*archive.Archive, error) {
	p, err := a.open(ctx, c, how == create)
	switch {
	case how == look && errors.Is(err, storage.ErrNoStore):
		return nil, nil
	case how == clone && errors.Is(err, storage.ErrNoStore):
		return nil, fmt.Errorf("%s: %w: mount the disk it is on, or make the folder or bucket", shown(c.URL), storage.ErrNoStore)
	case err != nil:
		return nil, err
	}
	keys, err := a.identities(p.name)
	if err != nil {
		return nil, err
	}
	to, err := archive.Open(ctx, p.part, keys...)
	if how == clone || how == create {
		if errors.Is(err, archive.ErrNoArchive) {
			if err := keepsConditions(ctx, p.part); err != nil {
				return nil, fmt.Errorf("archive of %s in %s: %w", p.name, shown(c.URL), err)
			}
		}
		to, _, err = archive.Clone(ctx, from, p.part, p.retain(), keys...) // one that is half made is completed
	}
	switch {
	case errors.Is(err, archive.ErrNoArchive) && how == look:
		return nil, nil
	case errors.Is(err, archive.ErrNoArchive):
		return nil, fmt.Errorf("no archive of %s in %s: mount the disk it is on, or run init again, which makes those that are missing", p.name, shown(c.URL))
	case err != nil:
		return nil, fmt.Errorf("archive of %s in %s: %w", p.name, shown(c.URL), err)
	}
	return to, a.checkCopyKeys(from, to, c, how)
}

// checkCopyKeys refuses an archive in a store for copies that is encrypted to others
// than those who are configured, or else than the one that is copied from: whoever
// can write to that store could have put it there, to be sent each night what the
// keys here open. Where somebody copies by hand, to the store that he names, it is
// his choice.
func (a *App) checkCopyKeys(from, to *archive.Archive, c config.Store, how opening) error {
	asked := a.conf.Recipients
	if len(asked) == 0 {
		asked = from.Recipients()
	}
	has := to.Recipients()
	if len(asked) == 0 || sameSet(asked, has) {
		return nil
	}
	text := fmt.Sprintf("the archive of %s in %s is encrypted to %s, and should be to %s", to.Homeserver(), shown(c.URL), orNobody(has), orNobody(asked))
	if how == existing || how == create {
		return Usagef("%s: nothing is copied to it", text)
	}
	if !sameSet(from.Recipients(), has) { // as it is it tells them nothing new
		a.opt.Warn(text)
	}
	return nil
}

// copyTo copies to one of the configured stores after a backup. It implements
// [backup.Copy].
type copyTo struct {
	a    *Archive
	name string
	conf config.Store
}

// Name is the store's.
func (c copyTo) Name() string { return c.name }

// Copy copies every point that the other store lacks: one that failed
// yesterday is made good today.
func (c copyTo) Copy(ctx context.Context, point string, report func(jobs.Progress)) (backup.Copied, error) {
	done := backup.Copied{Store: c.name}
	r, err := copies.Copy(ctx, copies.Options{
		From: c.a.Archive, FromName: c.a.Store, ToName: c.name, Retain: c.conf.ObjectLock, Progress: report, Log: c.a.app.opt.Log,
		To: func(ctx context.Context) (*archive.Archive, error) {
			return c.a.app.openCopy(ctx, c.a.Archive, c.conf, existing)
		},
	})
	done.Packs, done.Bytes, done.Warnings = r.Packs, r.Bytes, r.Warnings
	there := false
	for _, p := range r.Points {
		if p.As != "" { // where the store failed, some were not come to
			done.Points = append(done.Points, p.As)
			there = there || p.ID == point
		}
	}
	if err == nil && !there {
		err = fmt.Errorf("copy to %s: point %s is not there", c.name, point)
	}
	if errors.Is(err, ErrUsage) || errors.Is(err, ErrNothing) {
		err = errors.New(err.Error()) // the point is taken: what the run is called is not up to a copy
	}
	return done, err
}

// CopyNames are the names of the stores that a backup copies to, but this one.
func (a *Archive) CopyNames() []string {
	return slices.DeleteFunc(slices.Clone(a.app.conf.Copies), func(name string) bool {
		conf, err := a.app.storeNamed(name)
		return err != nil || conf.URL == a.place.conf.URL
	})
}

// copies are the stores that a backup copies to.
func (a *Archive) copies() ([]backup.Copy, error) {
	var all []backup.Copy
	for _, name := range a.app.conf.Copies {
		conf, err := a.app.storeNamed(name)
		if err != nil {
			return nil, err
		}
		all = append(all, copyTo{a, name, conf})
	}
	return all, nil
}

// Elsewhere opens the archive in the first of the stores for copies that works:
// where a backup goes when the homeserver's own store fails. The journal and the
// lock are there as well, then.
func (a *App) Elsewhere(ctx context.Context) (*Archive, error) {
	var errs []error
	for _, name := range a.conf.Copies {
		conf, err := a.storeNamed(name)
		if err != nil {
			return nil, err
		}
		other := *a
		other.store, other.def = conf, false
		other.conf.Copies = slices.DeleteFunc(slices.Clone(a.conf.Copies), func(n string) bool { return n == name })
		found, err := other.Archive(ctx, "")
		if err == nil {
			err = other.checkElsewhere(found)
		}
		if err == nil {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return nil, errors.Join(errs...)
}

// checkElsewhere refuses an archive that is not encrypted where the homeserver's
// own is, as the job identity tells that init made with it: who can write to a
// store for copies could have put it there. One of a stranger's keys, and of the
// job's public one, which every archive has, only configured recipients tell from
// ours, see checkKeys.
func (a *App) checkElsewhere(found *Archive) error {
	job, _ := a.JobIdentityFile(found.Name)
	if _, err := os.Stat(job); err != nil || found.Encrypted() {
		return nil //nolint:nilerr // there is no job identity
	}
	return fmt.Errorf("the archive of %s in %s is not encrypted, and its own is (%s): nothing is written to it", found.Name, found.Store, job)
}

// CopyRequest is what a copy is asked for.
type CopyRequest struct {
	From, To string   // stores, names or URLs; From empty: the homeserver's
	Points   []string // IDs, their beginnings, times, latest
	All      bool     // every point
}

// Copying is a copy that can be looked at and carried out.
type Copying struct {
	From    *Archive
	options copies.Options
	to      config.Store
}

// Copy makes a copy of points to another store.
func (a *App) Copy(ctx context.Context, q CopyRequest) (*Copying, error) {
	from, err := a.Archive(ctx, q.From)
	if err != nil {
		return nil, err
	}
	conf, err := a.storeNamed(q.To)
	if err != nil {
		return nil, err
	}
	if conf.URL == from.place.conf.URL {
		return nil, Usagef("copy: %s is the store that is copied from", q.To)
	}
	c := &Copying{From: from, to: conf, options: copies.Options{
		From: from.Archive, FromName: from.Store, ToName: shown(conf.URL), Retain: conf.ObjectLock, Progress: a.opt.Progress, Log: a.opt.Log,
	}}
	how := clone
	if slices.Contains(a.conf.Copies, q.To) {
		how = existing
	}
	c.options.To = func(ctx context.Context) (*archive.Archive, error) {
		return a.openCopy(ctx, from.Archive, conf, how)
	}
	if q.All {
		return c, nil
	}
	for _, at := range q.Points {
		p, err := from.Point(ctx, at)
		if err != nil {
			return nil, err
		}
		c.options.Points = append(c.options.Points, p.ID)
	}
	return c, nil
}

// Preview says what it would do.
func (c *Copying) Preview(ctx context.Context) (copies.Result, error) {
	to, err := c.From.app.openCopy(ctx, c.From.Archive, c.to, look)
	if err != nil {
		return copies.Result{}, err
	}
	r, err := copies.Preview(ctx, c.options, to)
	return r, c.From.Keyed(err)
}

// Run carries it out, under the homeserver's lock.
func (c *Copying) Run(ctx context.Context) (copies.Result, error) {
	run, err := c.From.Run(ctx, copies.New(c.options), jobs.RunID{})
	if run == nil {
		return copies.Result{}, err
	}
	r, rerr := copies.ResultOf(run)
	if err == nil {
		err = rerr
	}
	return r, err
}
