package backup

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// comparePrevious remembers the newest point that is not of the future.
// Whatever hinders that hinders no backup.
func (j *Job) comparePrevious(ctx context.Context) {
	point, err := j.opt.Archive.Find(ctx, "latest")
	if now := j.began; point.ID != "" && point.OfFuture(now) {
		j.warn("it is %s here, and point %s is of the future: a restore has to name its point, and prune refuses. If the clock here is wrong, set it; "+
			"if it was wrong when that point was taken, prune --drop %s removes it", shown(now), point.ID, point.ID)
		if older, oerr := j.opt.Archive.Find(ctx, now.UTC().Format(time.RFC3339)); oerr == nil {
			point, err = older, nil
		}
	}
	switch {
	case err == nil:
		j.previous = point.Manifest
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, archive.ErrNoKey), ctx.Err() != nil:
	default:
		j.warn("the newest recovery point can't be compared with: %v", err)
	}
}

// compareClocks warns where the clock here is not the store's. Tonight's point
// is taken all the same: it is worth more than its time.
func (j *Job) compareClocks(ctx context.Context) {
	now := time.Now()
	off, err := j.opt.Archive.ClockOff(ctx, now)
	switch {
	case off != 0:
		j.warn("it is %s for the store and %s here: set the clock. If it is this one that is wrong, this point has a wrong time",
			shown(now.Add(off)), shown(now))
	case err != nil && !errors.Is(err, fs.ErrPermission) && ctx.Err() == nil:
		j.warn("%v", err)
	}
}

// compareTimes warns of a point that is older than the one before, by its time:
// a restore takes that one for the latest.
func (j *Job) compareTimes(m *archive.Manifest) {
	if j.previous != nil && m.Taken.Before(j.previous.Taken) {
		j.warn("the last point says that it was taken at %s, after this one: it stays the latest. A clock is wrong, or was when that was taken", shown(j.previous.Taken))
	}
}

func shown(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
